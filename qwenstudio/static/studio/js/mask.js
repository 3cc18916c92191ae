// A mask as a list of what was done to it: painted strokes and boxes, erased ones, turned over, cleared. The canvas is
// painted from the list, so that taking back is leaving out the last. What is opaque here is drawn anew.

const INK = [112, 92, 255]; // shown only: what counts is where it is opaque
const STYLE = `rgb(${INK.join(" ")})`;

export class Mask {
  /** `width`, `height`: of the picture, in pixels; the canvas gets that size. */
  constructor(canvas, { width, height }) {
    this.canvas = canvas;
    canvas.width = width;
    canvas.height = height;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.steps = [];
  }

  get isEmpty() {
    const { data } = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    for (let i = 3; i < data.length; i += 4) if (data[i] > 127) return false;
    return true;
  }

  /** Begin with a mask that is there: white on black, of the picture's size; what is painted already stays above it. */
  open(image) {
    this.steps.unshift({ kind: "image", image });
    this.#repaint();
  }

  /** A stroke begins; give further points to `extend`. Points are in the picture's pixels. */
  begin(point, { size, erase }) {
    this.#add({ kind: "stroke", size, erase, points: [point] });
  }

  extend(point) {
    const stroke = this.steps.at(-1);
    stroke.points.push(point);
    this.#paintStroke({ ...stroke, points: stroke.points.slice(-2) });
  }

  box(x, y, width, height, { erase }) {
    this.#add({ kind: "box", erase, box: [x, y, width, height] });
  }

  clear() {
    this.#add({ kind: "clear" });
  }

  invert() {
    this.#add({ kind: "invert" });
  }

  undo() {
    this.steps.pop();
    this.#repaint();
  }

  /** As a PNG: white is drawn anew, black stays. */
  toBlob() {
    const { width, height } = this.canvas;
    const out = Object.assign(document.createElement("canvas"), { width, height });
    const context = out.getContext("2d");
    const { data } = this.context.getImageData(0, 0, width, height);
    for (let i = 0; i < data.length; i += 4) {
      const value = data[i + 3] > 127 ? 255 : 0;
      data[i] = data[i + 1] = data[i + 2] = value;
      data[i + 3] = 255;
    }
    context.putImageData(new ImageData(data, width, height), 0, 0);
    return new Promise((resolve) => out.toBlob(resolve, "image/png"));
  }

  #repaint() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (const step of this.steps) this.#paint(step);
  }

  #add(step) {
    this.steps.push(step);
    this.#paint(step);
  }

  #paint(step) {
    if (step.kind === "stroke") this.#paintStroke(step);
    else if (step.kind === "box") this.#with(step.erase, () => this.context.fillRect(...step.box));
    else if (step.kind === "clear") this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    else if (step.kind === "invert") this.#invert();
    else this.#paintImage(step.image);
  }

  #paintStroke({ points, size, erase }) {
    this.#with(erase, () => {
      const { context } = this;
      Object.assign(context, { lineCap: "round", lineJoin: "round", lineWidth: size, strokeStyle: STYLE });
      context.beginPath();
      context.moveTo(...points[0]);
      for (const point of points) context.lineTo(...point);
      context.stroke();
    });
  }

  // The brightness of each pixel becomes how opaque it is.
  #paintImage(image) {
    const { context, canvas } = this;
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    const found = context.getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < found.data.length; i += 4) {
      found.data[i + 3] = found.data[i] > 127 ? 255 : 0;
      found.data.set(INK, i);
    }
    context.putImageData(found, 0, 0);
  }

  #invert() {
    const { context, canvas } = this;
    context.save();
    context.globalCompositeOperation = "xor";
    context.fillStyle = STYLE;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.restore();
  }

  #with(erase, paint) {
    const { context } = this;
    context.save();
    context.globalCompositeOperation = erase ? "destination-out" : "source-over";
    context.fillStyle = STYLE;
    paint();
    context.restore();
  }
}
