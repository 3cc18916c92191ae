// The form: what is asked for, checked before it is sent, with the server's refusals beside their fields.

import { callPatiently, Problem } from "./api.js";
import { Estimate } from "./estimate.js";
import { Inputs } from "./inputs.js";
import { Loras } from "./loras.js";
import { fitSize, Sizes } from "./sizes.js";
import { Styles } from "./styles.js";
import { duration, number, say, sayCode } from "./words.js";

const MAX_SEED = 9223372036854775807n;
const SAMPLES_SHOWN = 4;
const FIELD_OF = { width: "size", height: "size", lora: "loras", scales: "loras" };

export class Composer {
  constructor(form, { models, styles, draft, api, estimates, onSent, onChange }) {
    this.form = form;
    this.models = new Map(models.map((model) => [model.slug, model]));
    this.api = api;
    this.estimate = new Estimate(form.querySelector("#estimate"), estimates, () => this.#toEstimate());
    this.onSent = onSent;
    this.onChange = onChange;
    this.fields = form.elements;
    this.prompt = this.fields.prompt;
    this.limit = Number(this.prompt.dataset.limit);
    this.loras = new Loras(form.querySelector("#loras"), { onWord: (word) => this.#addWord(word) });
    this.styles = new Styles(form.querySelector("#style"), styles);
    this.sizes = new Sizes(form.querySelector("#sizes"), this.fields);
    this.inputs = new Inputs(form.querySelector("#inputs"), { onChange: () => this.#picturesChanged() });
    this.#wire();
    this.#chooseModel();
    if (draft) this.fill(draft, draft);
    this.#grow();
  }

  get model() {
    return this.models.get(this.fields.model.value);
  }

  /** Take the settings of a generation; without `withSeed` the seed stays open. `asTyped`: a draft, not a generation. */
  fill(generation, { withSeed = true, asTyped = false } = {}) {
    if (this.models.has(generation.model)) this.fields.model.value = generation.model;
    this.#chooseModel();
    const fields = this.fields;
    const words = asTyped ? this.styles.choose(generation) : this.styles.fill(generation);
    fields.prompt.value = words.prompt;
    fields.negative_prompt.value = words.negative_prompt;
    fields.seed.value = withSeed && generation.seed != null ? String(generation.seed) : "";
    if (generation.n) fields.n.value = generation.n;
    this.inputs.fill(generation);
    this.sizes.offer(this.model, this.inputs.first);
    if (generation.width) this.sizes.set(generation.width, generation.height);
    if (generation.num_inference_steps) fields.num_inference_steps.value = generation.num_inference_steps;
    if (generation.true_cfg_scale) fields.true_cfg_scale.value = generation.true_cfg_scale;
    this.loras.fill(generation.loras);
    this.#showTask();
    this.#showValues();
    this.#promptChanged();
    this.#changed();
    document.body.dispatchEvent(new Event("words"));
    if (fields.negative_prompt.value || fields.seed.value) this.form.querySelector("#more").open = true;
  }

  /** Start from a picture of the studio's, with another model where the chosen one cannot. */
  startFrom(picture) {
    if (!Inputs.takes(this.model)) {
      this.fields.model.value = [...this.models.values()].find(Inputs.takes).slug;
      this.#chooseModel();
    }
    this.inputs.add(picture);
    this.form.querySelector("#inputs").scrollIntoView({ behavior: "smooth", block: "nearest" });
    this.prompt.focus({ preventScroll: true });
  }

  get takesPictures() {
    return Boolean(this.inputs.box);
  }

  /** What stands in the form, for a draft. */
  state() {
    const { seed, negative_prompt: negative } = this.fields;
    const body = { ...this.body(), seed: seed.value.trim() || null, negative_prompt: negative.value, asTyped: true };
    for (const name of ["image", "scales", "lora"]) delete body[name];
    return { ...body, ...this.inputs.state() };
  }

  /** The request as the API takes it. */
  body() {
    const fields = this.fields;
    const body = {
      model: fields.model.value,
      prompt: fields.prompt.value,
      width: Number(fields.width.value),
      height: Number(fields.height.value),
      num_inference_steps: Number(fields.num_inference_steps.value),
      true_cfg_scale: Number(fields.true_cfg_scale.value),
      n: Number(fields.n.value),
      ...this.loras.body(),
      ...this.styles.body(),
      ...this.inputs.body(),
    };
    if (fields.negative_prompt.value.trim()) body.negative_prompt = fields.negative_prompt.value;
    if (fields.seed.value.trim()) body.seed = fields.seed.value.trim();
    return body;
  }

  /** Send the request; true when it was taken. */
  async send() {
    this.#clearErrors();
    if (!(await this.inputs.settled())) return false; // its own line says why
    const body = this.body();
    const fault = this.#check(body);
    if (fault) {
      this.#showError(...fault);
      return false;
    }
    const button = this.form.querySelector("#draw");
    if (button.disabled) return false;
    button.disabled = true;
    try {
      const headers = { "Idempotency-Key": crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` };
      const sent = await callPatiently("POST", body.scales ? this.loras.path : this.api, { body, headers });
      for (const generation of sent.results ?? [sent]) this.onSent(generation);
      return true;
    } catch (error) {
      this.#showProblem(error);
      return false;
    } finally {
      button.disabled = false;
    }
  }

  showLeft(limits) {
    const line = this.form.querySelector("#left");
    // The tenant's limit or one's own budget: the smaller of what they leave.
    const least = (name) => {
      const found = limits.filter(({ limit, left }) => left != null && [name, `member_${name}`].includes(limit));
      return found.length ? Math.min(...found.map(({ left }) => left)) : null;
    };
    const day = least("images_per_day");
    const month = least("images_per_month");
    const gpu = least("gpu_ms_per_day");
    if (day != null && (month == null || day <= month)) line.textContent = say("leftToday", { n: number(day) });
    else if (month != null) line.textContent = say("leftMonth", { n: number(month) });
    else if (gpu != null) line.textContent = say("gpuLeft", { time: duration(gpu) });
    else line.textContent = "";
  }

  #wire() {
    const { form, prompt } = this;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
      event.preventDefault();
      this.send();
    });
    prompt.addEventListener("input", () => this.#promptChanged());
    this.fields.model.addEventListener("change", () => {
      this.#chooseModel();
      document.body.dispatchEvent(new Event("words"));
    });
    form.addEventListener("input", () => {
      this.#showValues();
      this.#changed();
    });
    form.querySelector("[data-dice]").addEventListener("click", () => {
      this.fields.seed.value = String(crypto.getRandomValues(new Uint32Array(1))[0]);
    });
    this.#wireStepper(form.querySelector("[data-stepper]"));
    this.#wireSamples(form.querySelector("[data-samples]"));
    for (const chip of form.querySelectorAll("[data-sample]"))
      chip.addEventListener("click", () => {
        prompt.value = chip.textContent.trim();
        this.#promptChanged();
        this.#clearErrors();
        this.#changed();
        document.body.dispatchEvent(new Event("words"));
        prompt.focus();
      });
    if (/Mac|iPhone|iPad/.test(navigator.platform)) for (const key of form.querySelectorAll("[data-mac]")) key.textContent = key.dataset.mac;
  }

  // A few samples at a time, so that the button stays in sight.
  #wireSamples(box) {
    const chips = [...box.querySelectorAll("[data-sample]")];
    let first = 0;
    const show = () => chips.forEach((chip, i) => (chip.hidden = (i - first + chips.length) % chips.length >= SAMPLES_SHOWN));
    box.querySelector("[data-others]").addEventListener("click", () => {
      first = (first + SAMPLES_SHOWN) % chips.length;
      show();
    });
    show();
  }

  #wireStepper(box) {
    const input = box.querySelector("input");
    const set = (value) => {
      input.value = Math.min(Number(input.max), Math.max(1, value || 1));
      input.dispatchEvent(new Event("input", { bubbles: true }));
    };
    box.querySelector("[data-less]").addEventListener("click", () => set(Number(input.value) - 1));
    box.querySelector("[data-plus]").addEventListener("click", () => set(Number(input.value) + 1));
    input.addEventListener("change", () => set(Math.round(Number(input.value))));
  }

  #chooseModel() {
    const { model, fields, form } = this;
    form.querySelector("#model-note").textContent = model.description;
    form.querySelector("[data-samples]").hidden = !model.demo;
    fields.num_inference_steps.min = model.min_steps;
    fields.num_inference_steps.max = model.max_steps;
    fields.num_inference_steps.value = model.default_steps;
    fields.true_cfg_scale.value = model.true_cfg_scale;
    fields.n.max = model.max_images;
    this.loras.choose(model);
    this.inputs.choose(model);
    this.#picturesChanged({ fit: true });
    this.#showValues();
    this.estimate.soon();
  }

  // A picture brings its own size along; when it goes, the model's own comes back.
  #picturesChanged({ fit = false } = {}) {
    const { model, inputs, sizes } = this;
    const picture = inputs.first;
    const isOffered = sizes.offer(model, picture);
    if (picture && (fit || picture !== this.sized)) sizes.set(...fitSize(picture, model));
    else if (fit || (!picture && !isOffered)) sizes.set(model.default_width, model.default_height);
    this.sized = picture;
    this.#showTask();
    this.#changed();
  }

  #showTask() {
    const { task } = this.inputs;
    const { dataset } = this.prompt;
    this.prompt.placeholder = (task === "edit" && dataset.placeholderEdit) || dataset.placeholder;
  }

  #changed() {
    this.estimate.soon();
    this.onChange?.();
  }

  #addWord(word) {
    const { prompt } = this;
    if (!prompt.value.toLowerCase().includes(word.toLowerCase()))
      prompt.value = prompt.value.trim() ? `${prompt.value.trim()}, ${word}` : word;
    this.#promptChanged();
    document.body.dispatchEvent(new Event("words"));
    prompt.focus();
  }

  #showValues() {
    this.form.querySelector("#steps-value").textContent = this.fields.num_inference_steps.value;
    this.form.querySelector("#cfg-value").textContent = this.fields.true_cfg_scale.value;
    const count = Number(this.fields.n.value);
    this.form.querySelector("[data-less]").disabled = count <= 1;
    this.form.querySelector("[data-plus]").disabled = count >= Number(this.fields.n.max);
  }

  #promptChanged() {
    this.#grow();
    // Python counts characters, JavaScript UTF-16 units: an emoji is one, not two.
    const length = [...this.prompt.value].length;
    const left = this.limit - length;
    const line = this.form.querySelector("#prompt-count");
    line.textContent = left < Math.max(500, this.limit * 0.05) ? say("charsLeft", { n: number(left) }) : "";
    line.classList.toggle("over", left < 0);
    if (left >= 0) this.#clearError("prompt");
  }

  #grow() {
    const { prompt } = this;
    prompt.style.height = "auto";
    prompt.style.height = `${prompt.scrollHeight + 2}px`;
  }

  #check(body) {
    if (!body.prompt.trim()) return ["prompt", say("noPrompt")];
    const over = [...body.prompt].length - this.limit;
    if (over > 0) return ["prompt", say("tooLong", { over: number(over), limit: number(this.limit) })];
    if (body.seed !== undefined && !(/^\d{1,19}$/.test(body.seed) && BigInt(body.seed) <= MAX_SEED)) return ["seed", say("badSeed")];
    const fault = this.loras.check();
    return fault ? ["loras", fault] : this.inputs.check();
  }

  #showProblem(error) {
    const entries = error instanceof Problem ? Object.entries(error.errors) : [];
    for (const [field, texts] of entries) this.#showError(field, sayCode(error.code, [].concat(texts).join(" ")));
    if (entries.length) return;
    if (!(error instanceof Problem)) return this.#showError("form", say("offline"));
    if (error.status === 401) return this.#showError("form", say("signedOut"));
    const later = error.retryAfter ? ` ${say("retryAfter", { time: duration(error.retryAfter * 1000) })}` : "";
    this.#showError("form", error.message + later);
  }

  #showError(field, text) {
    const line = this.form.querySelector(`#error-${FIELD_OF[field] || field}`) || this.form.querySelector("#error-form");
    // Two fields share one line: say which of them it is.
    const label = ["width", "height"].includes(field) ? `${this.form.querySelector(`label[for=${field}]`).textContent}: ` : "";
    line.textContent = label + text;
    line.hidden = false;
    const input = this.fields[field];
    if (!(input instanceof HTMLElement)) return;
    input.setAttribute("aria-invalid", "true");
    if (input.closest("#more")) this.form.querySelector("#more").open = true;
    input.focus();
  }

  #clearErrors() {
    for (const line of this.form.querySelectorAll(".field-error")) line.hidden = true;
    for (const input of this.form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  }

  #clearError(field) {
    this.form.querySelector(`#error-${field}`).hidden = true;
    this.fields[field].removeAttribute("aria-invalid");
  }

  #toEstimate() {
    const { width, height } = this.fields;
    if (!width.checkValidity() || !height.checkValidity()) return null;
    const body = this.body();
    return { body, lora: body.lora, rows: this.loras.rows };
  }
}
