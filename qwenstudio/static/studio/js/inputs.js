// The pictures that a drawing starts from: chosen, dropped, pasted, or taken from the history; how much of them stays,
// and which part of one is drawn anew. Files are sent at once and kept by the studio, so a draft holds only their ids.

import { call, Problem } from "./api.js";
import { MaskDialog } from "./maskdialog.js";
import { say, sayCode, sayOf } from "./words.js";

const TYPES = ["image/png", "image/jpeg", "image/webp"];
const TASK = { image: "image-to-image", inpaint: "inpaint", edit: "edit" };
const MOST = 3; // of a model that edits

export class Inputs {
  /** `box` is the fieldset, null where no model takes pictures. `onChange` hears that pictures came or went. */
  constructor(box, { onChange }) {
    this.box = box;
    this.pictures = [];
    this.mask = null;
    if (!box) return;
    this.onChange = onChange;
    this.path = box.dataset.path;
    this.part = (name) => box.querySelector(`[data-${name}]`);
    this.strength = box.querySelector("[name=strength]");
    this.file = box.querySelector("[type=file]");
    this.item = box.querySelector("template");
    this.dialog = new MaskDialog(document.getElementById("mask-dialog"));
    this.#wire();
  }

  /** Whether a model starts from pictures at all. */
  static takes(model) {
    return model.tasks.some((task) => Object.values(TASK).includes(task));
  }

  choose(model) {
    this.model = model;
    this.#show();
  }

  /** Take a picture `{id, url, width, height}` of the studio's. */
  add(picture) {
    const { id, url, width, height } = picture;
    const kept = this.#most === 1 ? [] : this.pictures.slice(0, this.#most - 1);
    this.#change([...kept, { id, url, width, height }]);
  }

  /** Take those of a generation, or of a draft. */
  fill({ inputs, mask, strength }) {
    if (!this.box) return;
    this.pictures = [...(inputs ?? [])];
    this.mask = mask ?? null;
    this.strength.value = strength ?? this.strength.defaultValue;
    this.#show();
  }

  get first() {
    return this.#isOn ? this.pictures[0] : undefined;
  }

  /** Which task it is, as the server finds it; undefined for text to image. */
  get task() {
    if (!this.#isOn || !this.pictures.length) return undefined;
    if (this.mask && this.#can("inpaint")) return TASK.inpaint;
    if (this.#can("edit") && (this.pictures.length > 1 || !this.#can("image"))) return TASK.edit;
    return this.#can("image") ? TASK.image : undefined;
  }

  /** For the API. */
  body() {
    const { task } = this;
    if (!this.#isOn || !this.pictures.length) return {};
    const ids = this.pictures.slice(0, this.#most).map(({ id }) => id);
    const image = ids.length === 1 ? ids[0] : ids;
    if (task === TASK.edit) return { image };
    return { image, ...(task === TASK.inpaint ? { mask: this.mask.id } : {}), strength: Number(this.strength.value) };
  }

  /** For a draft. */
  state() {
    return this.box ? { inputs: this.pictures, mask: this.mask, strength: Number(this.strength.value) } : {};
  }

  /** A fault in words by its field, or null. */
  check() {
    if (!this.box || !this.#isOn) return null;
    return this.pictures.length && !this.task ? ["image", say("pictureNeedsMask")] : null;
  }

  get #isOn() {
    return Boolean(this.box) && Boolean(this.model) && Inputs.takes(this.model);
  }

  get #most() {
    return this.#can("edit") ? MOST : 1;
  }

  #can(name) {
    return Boolean(this.model?.tasks.includes(TASK[name]));
  }

  #wire() {
    const { box } = this;
    this.file.addEventListener("change", () => {
      this.#takeFiles([...this.file.files]);
      this.file.value = "";
    });
    const form = box.closest("form");
    form.addEventListener("dragover", (event) => {
      if (!this.#isOn || !event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      box.classList.add("dropping");
    });
    form.addEventListener("dragleave", (event) => {
      if (!form.contains(event.relatedTarget)) box.classList.remove("dropping");
    });
    form.addEventListener("drop", (event) => {
      box.classList.remove("dropping");
      if (!this.#isOn || !event.dataTransfer.files.length) return;
      event.preventDefault();
      this.#takeFiles([...event.dataTransfer.files]);
    });
    document.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (!this.#isOn || !files.length || document.querySelector("dialog:modal")) return;
      event.preventDefault();
      this.#takeFiles(files);
    });
    this.part("mark").addEventListener("click", () => this.#mark());
    this.part("unmark").addEventListener("click", () => {
      this.mask = null;
      this.#change(this.pictures);
      this.part("mark").focus();
    });
    this.strength.addEventListener("input", () => this.#show());
  }

  /** Wait for what is on its way; false where it did not arrive, which its own line says. */
  async settled() {
    return this.work ? this.work : true;
  }

  /** `work` resolves to whether all went well. */
  async #run(work) {
    this.work = work();
    this.#show();
    await this.work;
    this.work = null;
    this.#show();
  }

  #takeFiles(files) {
    this.#fault("image", "");
    const room = this.#most === 1 ? 1 : this.#most - this.pictures.length;
    const most = Number(this.box.dataset.maxBytes);
    const wrong = files.slice(0, room).map((file) => {
      if (!TYPES.includes(file.type)) return say("pictureType");
      return file.size > most ? say("pictureTooLarge", { n: Math.floor(most / 1e6) }) : "";
    });
    if (files.length > room) wrong.push(say("tooManyPictures", { n: this.#most }));
    this.#fault("image", wrong.find(Boolean) ?? "");
    const good = files.slice(0, room).filter((_, i) => !wrong[i]);
    if (!good.length) return null;
    return this.#run(async () => {
      for (const file of good) {
        const stored = await this.#store("image", file);
        if (!stored) return false;
        this.add(stored);
      }
      return true;
    });
  }

  async #mark() {
    const [picture] = this.pictures;
    const marked = await this.dialog.open(picture, this.mask?.url);
    this.part("mark").focus();
    if (!marked || this.pictures[0] !== picture) return null;
    this.#fault("mask", "");
    return this.#run(async () => {
      const stored = await this.#store("mask", await marked.file);
      if (!stored) return false;
      this.mask = { id: stored.id, url: stored.url };
      this.#change(this.pictures);
      return true;
    });
  }

  /** Have a file stored; null where it was not, which is said beside its field. */
  async #store(field, file) {
    try {
      const form = new FormData();
      form.append(field, file, file.name || "picture.png");
      return await call("POST", this.path, { form });
    } catch (error) {
      const texts = error instanceof Problem ? error.errors[field] : null;
      const words = texts ? sayCode(error.code, [].concat(texts).join(" ")) : error.message;
      this.#fault(field, error instanceof Problem ? words : say("offline"));
      return null;
    }
  }

  #change(pictures) {
    if (pictures[0]?.id !== this.pictures[0]?.id || pictures.length > 1) this.mask = null;
    this.pictures = pictures;
    this.#show();
    this.onChange();
  }

  #show() {
    const { box, pictures, task, mask } = this;
    box.hidden = !this.#isOn;
    if (!this.#isOn) return;
    const shown = pictures.slice(0, this.#most);
    this.part("pictures").replaceChildren(...shown.map((picture, i) => this.#thumb(picture, i)));
    this.part("pictures").hidden = !shown.length;
    this.part("choose").textContent = say(!shown.length ? "pictureChoose" : this.#most > 1 ? "pictureMore" : "pictureOther");
    this.part("drop").hidden = this.#most > 1 && shown.length >= this.#most;
    this.part("sending").hidden = !this.work;
    this.part("note").textContent = task ? sayOf("note", task) : "";
    this.part("strength").hidden = !(task === TASK.image || task === TASK.inpaint);
    this.part("strength").querySelector("output").textContent = Number(this.strength.value).toFixed(2);
    this.part("mask").hidden = !(shown.length === 1 && this.#can("inpaint"));
    this.part("mark").querySelector("span").textContent = say(mask ? "maskChange" : "maskMake");
    this.part("unmark").hidden = !mask;
  }

  #thumb(picture, i) {
    const item = this.item.content.firstElementChild.cloneNode(true);
    const image = item.querySelector("img");
    image.src = picture.url;
    image.alt = say("pictureNumber", { i: i + 1 });
    item.querySelector("[data-size]").textContent = `${picture.width} × ${picture.height}`;
    const cover = item.querySelector("[data-cover]");
    cover.hidden = !(i === 0 && this.task === TASK.inpaint);
    if (!cover.hidden) cover.style.setProperty("--mask", `url("${this.mask.url}")`);
    const remove = item.querySelector("[data-remove]");
    remove.setAttribute("aria-label", say("pictureRemove", { i: i + 1 }));
    remove.addEventListener("click", () => {
      this.#fault("image", "");
      this.#change(this.pictures.filter((one) => one !== picture));
      this.file.focus();
    });
    return item;
  }

  #fault(field, text) {
    const line = this.box.querySelector(`#error-${field}`);
    line.textContent = text;
    line.hidden = !text;
  }
}
