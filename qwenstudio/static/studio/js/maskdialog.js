// The dialogue in which the part of a picture is marked that is drawn anew: with a pointer, a finger, or in numbers.

import { Mask } from "./mask.js";

export class MaskDialog {
  constructor(dialog) {
    this.dialog = dialog;
    this.image = dialog.querySelector("[data-mask-image]");
    this.canvas = dialog.querySelector("canvas");
    this.ring = dialog.querySelector("[data-mask-ring]");
    this.error = dialog.querySelector("#error-mask-dialog");
    this.part = (name) => dialog.querySelector(`[name=${name}]`);
    this.#wire();
  }

  /** Mark in a picture `{url, width, height}`, beginning with the mask at `maskUrl`; resolves to null, or to `{file}`: a PNG's promise. */
  open(picture, maskUrl) {
    this.image.src = picture.url;
    this.dialog.style.setProperty("--ratio", `${picture.width} / ${picture.height}`);
    this.dialog.style.setProperty("--share", String(picture.width / picture.height));
    this.mask = new Mask(this.canvas, picture);
    this.error.hidden = true;
    this.dialog.showModal();
    this.begun = maskUrl ? this.#take(maskUrl) : null;
    this.#show();
    this.canvas.focus();
    return new Promise((resolve) => {
      this.answer = resolve;
      this.dialog.addEventListener("close", () => resolve(null), { once: true });
    });
  }

  // Nobody waits for the earlier mask: it goes beneath what was painted meanwhile.
  async #take(url) {
    const { mask } = this;
    const image = new Image();
    image.src = url;
    try {
      await image.decode();
      mask.open(image);
      if (mask === this.mask) this.#show();
    } catch {
      // it has gone: one begins anew
    }
  }

  #wire() {
    const { canvas, dialog } = this;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => (this.drawing = false));
    canvas.addEventListener("pointerleave", () => (this.ring.hidden = true));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    const act = (name, run) =>
      dialog.querySelector(`[data-mask-${name}]`).addEventListener("click", () => {
        run();
        this.#show();
      });
    act("undo", () => this.mask.undo());
    act("clear", () => this.mask.clear());
    act("invert", () => this.mask.invert());
    act("box", () => this.#box());
    dialog.querySelector("[data-mask-use]").addEventListener("click", () => this.#use());
    dialog.querySelector("[data-mask-cancel]").addEventListener("click", () => dialog.close());
    dialog.addEventListener("input", () => this.#show());
    dialog.querySelector("[data-mask-numbers]").addEventListener("toggle", () => this.mask && this.#show());
  }

  get #erase() {
    return this.dialog.querySelector("[name=mask-tool]:checked").value === "erase";
  }

  /** The brush's width in the picture's pixels: a share of its shorter side. */
  get #size() {
    return (Number(this.part("mask-size").value) / 100) * Math.min(this.canvas.width, this.canvas.height);
  }

  #point(event) {
    const room = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / room.width;
    return [(event.clientX - room.left) * scale, (event.clientY - room.top) * scale];
  }

  #down(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    this.drawing = true;
    this.mask.begin(this.#point(event), { size: this.#size, erase: this.#erase });
    this.#show();
  }

  #move(event) {
    this.#showRing(event);
    if (!this.drawing) return;
    event.preventDefault();
    // All points between two frames, where the browser keeps them: a quick stroke stays round.
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) this.mask.extend(this.#point(one));
  }

  #showRing(event) {
    const room = this.canvas.getBoundingClientRect();
    const width = this.#size * (room.width / this.canvas.width);
    this.ring.hidden = event.pointerType === "touch";
    this.ring.style.width = this.ring.style.height = `${width}px`;
    this.ring.style.left = `${event.clientX - room.left}px`;
    this.ring.style.top = `${event.clientY - room.top}px`;
  }

  // The box of the numbers moves by arrow keys while the canvas has the focus; Enter paints it.
  #key(event) {
    const step = event.shiftKey ? 10 : 2;
    const move = { ArrowLeft: ["x", -step], ArrowRight: ["x", step], ArrowUp: ["y", -step], ArrowDown: ["y", step] }[event.key];
    if (move) {
      const field = this.part(`mask-${move[0]}`);
      const room = 100 - Number(this.part(move[0] === "x" ? "mask-width" : "mask-height").value);
      field.value = Math.max(0, Math.min(Math.max(0, room), Number(field.value) + move[1]));
    } else if (event.key === "Enter" || event.key === " ") this.#box();
    else if (event.key === "z" && (event.ctrlKey || event.metaKey)) this.mask.undo();
    else return;
    event.preventDefault();
    this.boxed = true;
    this.#show();
  }

  #share(name) {
    return Math.max(0, Math.min(100, Number(this.part(`mask-${name}`).value) || 0)) / 100;
  }

  #box() {
    const { width, height } = this.canvas;
    const [x, y] = [this.#share("x") * width, this.#share("y") * height];
    const size = [Math.min(width - x, this.#share("width") * width), Math.min(height - y, this.#share("height") * height)];
    this.mask.box(x, y, ...size, { erase: this.#erase });
  }

  #show() {
    this.error.hidden = true;
    this.dialog.querySelector("[data-mask-undo]").disabled = this.mask.steps.length === 0;
    const outline = this.dialog.querySelector("[data-mask-outline]");
    outline.hidden = !this.dialog.querySelector("[data-mask-numbers]").open && !this.boxed;
    for (const [property, name] of [["left", "x"], ["top", "y"], ["width", "width"], ["height", "height"]])
      outline.style[property] = `${this.#share(name) * 100}%`;
  }

  async #use() {
    await this.begun;
    if (!this.dialog.open) return;
    if (this.mask.isEmpty) {
      this.error.hidden = false;
      return;
    }
    // Told before anything else can be clicked: what is sent from here on waits for the mask.
    this.dialog.close();
    this.answer({ file: this.mask.toBlob() });
  }
}
