// One generation on the page: a card that follows its status.

import { about, duration, number, say, sayCode, sayOf, sayReason } from "./words.js";

export const FINAL = new Set(["succeeded", "failed", "canceled"]);
const template = document.getElementById("work-template");
const links = document.getElementById("tile-links-template");

/** A card. `on` has the handlers cancel, again and same, each given the card, and start, given an image. */
export class Work {
  constructor(generation, { page, on }) {
    this.page = page;
    this.element = template.content.firstElementChild.cloneNode(true);
    this.element.id = `work-${generation.id}`;
    this.part = (name) => this.element.querySelector(`[data-${name}]`);
    this.part("cancel").addEventListener("click", () => on.cancel(this));
    this.part("again").addEventListener("click", () => on.again(this));
    this.part("same").addEventListener("click", () => on.same(this));
    this.onStart = on.start;
    this.part("start").addEventListener("click", () => on.start(this.generation.images[0]));
    this.tiles = [];
    this.update(generation);
  }

  /** Take a newer state. A final one stays: late events cannot bring a finished card back to life. */
  update(generation) {
    if (this.generation && FINAL.has(this.generation.status) && !FINAL.has(generation.status)) return;
    this.generation = { ...this.generation, ...generation };
    this.#render();
  }

  progress({ step, steps, images }) {
    if (FINAL.has(this.generation.status)) return;
    this.update({
      status: "running",
      queue: null,
      progress: { step: step ?? this.generation.progress?.step ?? 0, steps: steps ?? this.generation.num_inference_steps },
      ...(images ? { images } : {}),
    });
  }

  preview({ data, index = 0 }) {
    if (FINAL.has(this.generation.status) || !this.tiles[index] || this.tiles[index].dataset.drawn === "yes") return;
    if (this.generation.status === "queued") this.progress({});
    const tile = this.tiles[index];
    let image = tile.querySelector(".tile-preview");
    if (!image) {
      image = document.createElement("img");
      image.className = "tile-preview";
      image.alt = say("preview", { prompt: this.generation.prompt });
      tile.classList.remove("tile-wait");
      tile.append(image);
    }
    image.src = data;
    tile.dataset.drawn = "preview";
    this.#sharpen();
  }

  #render() {
    const { generation, element } = this;
    element.dataset.status = generation.status;
    if (generation.grid) element.dataset.grid = generation.grid;
    this.part("prompt").textContent = generation.prompt;
    this.part("meta").textContent = this.#meta();
    const over = FINAL.has(generation.status);
    this.part("cancel").hidden = over;
    this.part("cancel").disabled = Boolean(generation.cancelling);
    this.part("actions").hidden = !over;
    this.part("state").textContent = this.#state();
    this.#renderBar(over);
    this.#renderTiles();
    const warning = this.part("warning");
    warning.textContent = (generation.warnings || []).map((one) => one.detail).join(" ");
    warning.hidden = !warning.textContent;
    const first = (generation.images || [])[0];
    const download = this.part("download");
    download.hidden = !first || generation.n > 1;
    if (first) download.href = `${first.url}?download=1`;
    this.part("start").hidden = download.hidden || !this.onStart;
  }

  #meta() {
    const { model, width, height, num_inference_steps: steps, seed, style, task, strength, loras = [] } = this.generation;
    const adapters = loras.map(({ name, scale }) => say("lora", { name, scale }));
    const from = task && task !== "text-to-image" ? [sayOf("task", task)] : [];
    if (strength != null) from.push(say("strength", { strength }));
    const words = [...from, ...(style ? [style] : []), ...adapters, model, `${width} × ${height}`, steps === 1 ? say("oneStep") : say("steps", { n: steps })];
    return [...words, say("seed", { seed })].join(" · ");
  }

  #state() {
    const { status, queue, progress, error, timings, n, images, cancelling } = this.generation;
    if (cancelling && !FINAL.has(status)) return say("cancelling");
    if (status === "queued") return waitingWords(queue);
    if (status === "running") {
      const words = !progress?.step
        ? say("starting")
        : progress.step >= progress.steps
          ? say("finishing")
          : say("step", progress);
      return n > 1 && images?.length ? `${words} · ${say("soFar", { done: images.length, n })}` : words;
    }
    if (status === "succeeded") return timings?.run_ms ? say("drawnIn", { time: duration(timings.run_ms) }) : say("drawn");
    if (status === "canceled") return say("cancelled");
    return error?.message ? say("failed", { reason: sayCode(error.code, error.message) }) : say("failedPlain");
  }

  #renderBar(over) {
    const bar = this.part("bar");
    bar.hidden = over;
    const { progress, images, n } = this.generation;
    const steps = progress?.steps || this.generation.num_inference_steps;
    // Images that are done count whole, the pass under way counts its steps.
    const done = images?.length || 0;
    const inPass = this.generation.status === "running" ? (progress?.step || 0) / steps : 0;
    const share = Math.min(1, (done + inPass * Math.max(1, n - done)) / n);
    bar.setAttribute("aria-valuemax", String(steps));
    bar.setAttribute("aria-valuenow", String(progress?.step || 0));
    bar.style.setProperty("--done", `${Math.round(share * 100)}%`);
  }

  #renderTiles() {
    const { n, width, height, images = [], status } = this.generation;
    const box = this.part("tiles");
    box.dataset.count = String(n);
    this.element.classList.toggle("work-single", n === 1);
    while (this.tiles.length < n) {
      const tile = document.createElement("a");
      tile.className = "tile tile-wait";
      tile.style.aspectRatio = `${width} / ${height}`;
      box.append(tile);
      this.tiles.push(tile);
    }
    for (const image of images) this.#finishTile(this.tiles[image.index ?? images.indexOf(image)], image);
    if (!FINAL.has(status)) return;
    // What was never drawn takes no room once all is over.
    for (const tile of this.tiles) tile.hidden = tile.dataset.drawn !== "yes";
    box.hidden = images.length === 0;
  }

  #finishTile(tile, image) {
    if (!tile || tile.dataset.drawn === "yes") return;
    tile.dataset.drawn = "yes";
    tile.classList.remove("tile-wait");
    tile.href = `${this.page}${this.generation.id}/#${image.id}`;
    const picture = document.createElement("img");
    picture.className = "tile-final";
    picture.alt = say("picture", { i: (image.index ?? 0) + 1, n: this.generation.n, prompt: this.generation.prompt });
    picture.addEventListener("load", () => tile.querySelector(".tile-preview")?.remove(), { once: true });
    picture.src = image.url;
    tile.append(picture);
    if (this.generation.n === 1) return;
    const more = links.content.firstElementChild.cloneNode(true);
    more.querySelector("[data-save]").href = `${image.url}?download=1`;
    const start = more.querySelector("[data-start]");
    start.hidden = !this.onStart;
    start.addEventListener("click", () => this.onStart(image));
    const frame = document.createElement("div");
    frame.className = "tile-frame";
    tile.replaceWith(frame);
    frame.append(tile, more);
  }

  #sharpen() {
    const { step = 0, steps = 1 } = this.generation.progress || {};
    const blur = Math.max(0, 9 * (1 - step / steps));
    for (const tile of this.tiles) tile.style.setProperty("--blur", `${blur.toFixed(1)}px`);
  }
}

/** The place in the queue in words: "2 ahead of you, about 12 s". */
function waitingWords(queue) {
  if (!queue) return say("waiting");
  const ahead = queue.ahead ? queue.ahead.own + queue.ahead.others : Math.max(0, (queue.position || 1) - 1);
  const place = ahead ? say("ahead", { n: number(ahead) }) : say("next");
  const reason = queue.reason && (sayReason(queue.reason.code) || queue.reason.detail);
  const eta = queue.eta_ms ? etaWords(queue) : "";
  return [place, eta, reason].filter(Boolean).join(" · ");
}

/** "about 12 s (between 6 s and 40 s)"; the range only where it says more than the guess. */
function etaWords({ eta_ms: eta, eta_range_ms: range }) {
  if (!range || eta < 3000) return about(eta);
  const [from, to] = range.map(duration);
  return from === to ? about(eta) : `${about(eta)} (${say("etaRange", { from, to })})`;
}
