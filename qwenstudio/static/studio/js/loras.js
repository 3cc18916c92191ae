// The LoRAs of the form: which fit the chosen model, how strong each is, and the grid that compares strengths.

import { say } from "./words.js";

export class Loras {
  /** `box` is the fieldset; null where there are none on offer. `onWord` takes a trigger word into the prompt. */
  constructor(box, { onWord }) {
    this.box = box;
    if (!box) return;
    this.items = [...box.querySelectorAll("[data-lora]")];
    this.grid = box.querySelector("#lora-grid");
    this.vary = box.querySelector("#grid-lora");
    for (const word of box.querySelectorAll("[data-word]"))
      word.addEventListener("click", () => onWord(word.textContent.trim()));
    box.addEventListener("input", () => this.show());
    this.vary.addEventListener("change", () => this.#proposeRange());
  }

  /** Show those that fit a model, and drop what was chosen for another one. */
  choose(model) {
    if (!this.box) return;
    this.model = model;
    for (const item of this.items) {
      item.hidden = !item.dataset.models.split(" ").includes(model.slug) || model.max_loras === 0;
      if (item.hidden) this.#part(item, "lora").checked = false;
    }
    this.box.hidden = this.items.every((item) => item.hidden);
    this.show();
  }

  /** Take the LoRAs of a generation. */
  fill(loras = []) {
    if (!this.box) return;
    for (const item of this.items) {
      const use = loras.find(({ name }) => name === item.dataset.lora);
      this.#part(item, "lora").checked = Boolean(use) && !item.hidden;
      const range = this.#range(item);
      range.value = use?.scale ?? range.dataset.usual;
    }
    this.#gridBox().checked = false;
    this.show();
  }

  show() {
    if (!this.box) return;
    const chosen = this.#chosen();
    for (const item of this.items) item.querySelector("output").textContent = Number(this.#range(item).value).toFixed(2);
    this.grid.hidden = chosen.length === 0;
    if (chosen.length === 0) this.#gridBox().checked = false;
    this.#offerToVary(chosen);
  }

  /** What the API is told, and where: `{loras}` for pictures, or `{loras, lora, scales}` for a grid. */
  body() {
    if (!this.box) return {};
    const uses = this.#chosen().map((item) => ({ name: item.dataset.lora, scale: Number(this.#range(item).value) }));
    if (!this.isGrid) return uses.length ? { loras: uses } : {};
    const lora = this.vary.value;
    const others = uses.filter(({ name }) => name !== lora);
    return { ...(others.length ? { loras: others } : {}), lora, scales: this.scales };
  }

  /** A fault in words, or null. */
  check() {
    if (!this.box) return null;
    if (this.#chosen().length > this.model.max_loras) return say("tooManyLoras", { n: this.model.max_loras });
    if (!this.isGrid) return null;
    const { min, max } = this.#range(this.#varied());
    const { scales } = this;
    const outside = scales.some((scale) => !(scale >= Number(min) && scale <= Number(max)));
    return outside || new Set(scales).size < 2 ? say("badScales", { min, max }) : null;
  }

  get isGrid() {
    return Boolean(this.box) && this.#gridBox().checked;
  }

  /** How many times the cost of one request. */
  get rows() {
    return this.isGrid ? this.scales.length : 1;
  }

  get path() {
    return this.box.dataset.grids;
  }

  get scales() {
    const field = (name) => Number(this.box.querySelector(`#grid-${name}`).value);
    const count = Math.max(2, Math.min(Number(this.box.querySelector("#grid-count").max), Math.round(field("count")) || 2));
    const step = (field("to") - field("from")) / (count - 1);
    return [...Array(count).keys()].map((k) => Number((field("from") + k * step).toFixed(3)));
  }

  #chosen() {
    return this.items.filter((item) => this.#part(item, "lora").checked);
  }

  #varied() {
    return this.items.find((item) => item.dataset.lora === this.vary.value);
  }

  #offerToVary(chosen) {
    const names = chosen.map((item) => item.dataset.lora);
    const known = [...this.vary.options].map((option) => option.value);
    if (names.join() !== known.join()) {
      const before = this.vary.value;
      const title = (item) => item.querySelector(".lora-name span").textContent;
      this.vary.replaceChildren(...chosen.map((item) => new Option(title(item), item.dataset.lora)));
      if (names.includes(before)) this.vary.value = before;
      else if (names.length) this.#proposeRange();
    }
    this.grid.querySelector("[data-vary]").hidden = names.length < 2;
  }

  // From nothing, or the least that it takes, to its usual strength.
  #proposeRange() {
    const { min, dataset } = this.#range(this.#varied());
    this.box.querySelector("#grid-from").value = Math.max(0, Number(min));
    this.box.querySelector("#grid-to").value = dataset.usual;
  }

  #part(item, name) {
    return item.querySelector(`[name=${name}]`);
  }

  #range(item) {
    return item.querySelector("input[type=range]");
  }

  #gridBox() {
    return this.grid.querySelector("[name=grid]");
  }
}
