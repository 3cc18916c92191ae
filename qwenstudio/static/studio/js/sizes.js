// The sizes on offer, as small shapes; with a picture to start from also the picture's own, as far as the model can.

/** The size of what is drawn from a picture, as the server fits it: never larger, in the model's multiples. */
export function fitSize({ width, height }, model) {
  const { max_width: mostWide, max_height: mostHigh, max_pixels: mostPixels, size_multiple: multiple } = model;
  const share = Math.min(1, mostWide / width, mostHigh / height, Math.sqrt(mostPixels / (width * height)));
  const round = (length, most) => Math.max(multiple, Math.min(Math.floor(most / multiple), Math.round(length / multiple)) * multiple);
  let size = [round(width * share, mostWide), round(height * share, mostHigh)];
  const off = ([wide, high]) => Math.abs(Math.log((wide / high) * (height / width)));
  while (size[0] * size[1] > mostPixels && Math.max(...size) > multiple) {
    const smaller = [[size[0] - multiple, size[1]], [size[0], size[1] - multiple]].filter((one) => Math.min(...one) > 0);
    size = smaller.length > 1 && off(smaller[1]) < off(smaller[0]) ? smaller[1] : smaller[0];
  }
  return size;
}

export class Sizes {
  constructor(box, { width, height }) {
    this.box = box;
    this.fields = { width, height };
    for (const field of [width, height]) field.addEventListener("change", () => this.set(Number(width.value), Number(height.value)));
    box.addEventListener("change", (event) => this.set(...event.target.value.split("x").map(Number)));
  }

  /** Offer a model's sizes, and that of a picture where there is one; returns whether the chosen one is among them. */
  offer(model, picture) {
    const own = picture ? fitSize(picture, model) : null;
    const sizes = [...model.sizes];
    if (own && !sizes.some((size) => `${size}` === `${own}`)) sizes.unshift(own);
    const longest = Math.max(...sizes.flat());
    this.box.replaceChildren(...sizes.map((size) => choice(size, longest)));
    for (const side of ["width", "height"]) {
      const field = this.fields[side];
      field.step = field.min = model.size_multiple;
      field.max = model[`max_${side}`];
    }
    this.set(Number(this.fields.width.value), Number(this.fields.height.value));
    return Boolean(this.box.querySelector("input:checked"));
  }

  set(width, height) {
    this.fields.width.value = width;
    this.fields.height.value = height;
    for (const input of this.box.querySelectorAll("input")) input.checked = input.value === `${width}x${height}`;
  }
}

function choice([width, height], longest) {
  const label = document.createElement("label");
  label.className = "size";
  const input = document.createElement("input");
  Object.assign(input, { type: "radio", name: "size", value: `${width}x${height}` });
  const text = document.createElement("span");
  const shape = document.createElement("i");
  shape.style.width = `${(width / longest) * 16}px`;
  shape.style.height = `${(height / longest) * 16}px`;
  text.append(shape, `${width} × ${height}`);
  label.append(input, text);
  return label;
}
