// The dialogue for what a model is told before all else: presets that come with the page, one's own, and free words.

import { call } from "./api.js";
import { ask, toast } from "./common.js";
import { say } from "./words.js";

export class Instructions {
  /** `use(text)` takes the words; what it throws is shown. */
  constructor(dialog, { given, own, api, use }) {
    this.dialog = dialog;
    this.given = given;
    this.own = own;
    this.api = api;
    this.use = use;
    this.form = dialog.querySelector("form");
    this.select = dialog.querySelector("#preset");
    this.words = dialog.querySelector("#system");
    this.name = dialog.querySelector("#preset-name");
    this.error = dialog.querySelector(".field-error");
    this.select.addEventListener("change", () => this.#choose());
    this.words.addEventListener("input", () => this.#match());
    dialog.querySelector("[data-keep]").addEventListener("click", () => this.#try(() => this.#keep()));
    dialog.querySelector("[data-forget]").addEventListener("click", () => this.#try(() => this.#forget()));
    this.name.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault(); // it keeps the preset, and does not close the dialogue
      this.#try(() => this.#keep());
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#try(async () => {
        await this.use(this.words.value);
        dialog.close();
      });
    });
  }

  open(text) {
    this.words.value = text;
    this.name.value = "";
    this.error.hidden = true;
    this.#fill();
    this.dialog.showModal();
    this.words.focus();
  }

  async #try(work) {
    this.error.hidden = true;
    try {
      await work();
    } catch (error) {
      this.error.textContent = Object.values(error.errors ?? {}).flat()[0] ?? (error.status ? error.message : say("againFailed"));
      this.error.hidden = false;
    }
  }

  get #chosen() {
    return this.own.find((preset) => preset.id === this.select.value);
  }

  #fill() {
    const option = (value, name) => Object.assign(document.createElement("option"), { value, textContent: name });
    this.select.replaceChildren(option("", say("presetNone")));
    const group = (label, presets, valueOf) => {
      if (!presets.length) return;
      const box = Object.assign(document.createElement("optgroup"), { label });
      box.append(...presets.map((preset, place) => option(valueOf(preset, place), preset.name)));
      this.select.append(box);
    };
    group(say("presetOwn"), this.own, (preset) => preset.id);
    group(say("presetGiven"), this.given, (_, place) => String(place));
    this.#match();
  }

  #choose() {
    const preset = this.#chosen ?? this.given[Number(this.select.value || -1)];
    this.words.value = preset?.text ?? "";
    this.#showForget();
  }

  /** The preset whose words these are. */
  #match() {
    const text = this.words.value.trim();
    const own = this.own.find((preset) => preset.text === text);
    const given = this.given.findIndex((preset) => preset.text === text);
    this.select.value = own?.id ?? (given < 0 ? "" : String(given));
    this.#showForget();
  }

  #showForget() {
    this.dialog.querySelector("[data-forget]").hidden = !this.#chosen;
  }

  async #keep() {
    const made = await call("POST", this.api, { body: { name: this.name.value, text: this.words.value } });
    this.own.push(made);
    this.name.value = "";
    this.#fill();
    toast(say("presetKept", { name: made.name }));
  }

  async #forget() {
    const preset = this.#chosen;
    const sure = { title: say("presetAsk", { name: preset.name }), text: say("presetAskText"), yes: say("askDeleteYes") };
    if (!(await ask(sure))) return;
    await call("DELETE", `${this.api}/${preset.id}`);
    this.own.splice(this.own.indexOf(preset), 1);
    this.#fill();
  }
}
