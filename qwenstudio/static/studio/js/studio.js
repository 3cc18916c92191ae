// The studio page: the form, the cards, and the stream that keeps them true.

import { call, Problem, read, readElement } from "./api.js";
import { toast } from "./common.js";
import { Composer } from "./composer.js";
import { Draft } from "./draft.js";
import { follow } from "./stream.js";
import { say } from "./words.js";
import { FINAL, Work } from "./work.js";

const SHOWN = 30;
const FEW = 6; // so many may be all there is
const studio = document.getElementById("studio");
const { api, stream, state, estimates, page } = studio.dataset;
const feed = document.getElementById("feed");
const works = new Map();

const form = document.getElementById("composer");
const draft = new Draft(studio.dataset.who);
const wanted = readElement("draft"); // what the address asks for comes before what was typed
let composer = null;
let keeping = 0;
if (form) {
  composer = new Composer(form, {
    models: readElement("models"),
    styles: readElement("styles"),
    draft: wanted ?? draft.read(),
    api,
    estimates,
    onSent: sent,
    onChange: keepSoon,
  });
  const picture = readElement("start");
  if (picture && composer.takesPictures) composer.startFrom(picture);
  if (wanted || picture) history.replaceState(null, "", location.pathname); // a reload brings the draft
}

function keepSoon() {
  clearTimeout(keeping);
  keeping = setTimeout(keep, 300);
}
function keep() {
  if (composer) draft.write(composer.state());
}
addEventListener("pagehide", keep);
document.querySelector("[data-sign-out]")?.addEventListener("submit", () => (composer = null)); // it stays forgotten

function sent(generation) {
  put(generation);
  const card = works.get(generation.id).element;
  const room = card.getBoundingClientRect();
  // On a phone the cards stand below the form: show what was just asked for.
  if (room.top > innerHeight * 0.8) card.scrollIntoView({ behavior: "smooth", block: "start" });
}

function put(generation) {
  const known = works.get(generation.id);
  if (known) return known.update(generation);
  const work = new Work(generation, { page, on: { cancel, again, same, ...(composer?.takesPictures ? { start } : {}) } });
  works.set(generation.id, work);
  feed.insertBefore(work.element, firstOlder(generation));
  while (works.size > SHOWN) {
    const oldest = [...feed.children].findLast((element) => FINAL.has(element.dataset.status));
    if (!oldest) break;
    oldest.remove();
    works.delete(oldest.id.replace("work-", ""));
  }
  refreshEnds();
}

// The rows of a grid stand together, the first strength above: their ids grow with the strengths' order.
function firstOlder({ id, grid, created_at: born }) {
  const of = (element) => works.get(element.id.replace("work-", "")).generation;
  const rows = grid ? [...feed.children].filter((element) => of(element).grid === grid) : [];
  if (rows.length) return rows.find((element) => of(element).id > id) ?? rows.at(-1).nextElementSibling;
  return [...feed.children].find((element) => of(element).created_at < born) ?? null;
}

function refreshEnds() {
  document.getElementById("empty").hidden = works.size > 0;
  document.getElementById("feed-end").hidden = works.size < FEW;
}

async function cancel(work) {
  work.update({ cancelling: true });
  try {
    work.update(await call("POST", `${api}/${work.generation.id}/cancel`));
  } catch (error) {
    if (error instanceof Problem && error.status === 409) return refresh(work.generation.id); // it was faster
    work.update({ cancelling: false });
    toast(error instanceof Problem ? error.message : say("againFailed"));
  }
}

function again(work) {
  if (!composer) return;
  composer.fill(work.generation, { withSeed: false });
  composer.send();
}

function same(work) {
  if (!composer) return;
  composer.fill(work.generation);
  form.scrollIntoView({ behavior: "smooth", block: "nearest" });
  document.getElementById("prompt").focus({ preventScroll: true });
  toast(say("taken"));
}

function start(image) {
  composer.startFrom(image);
  toast(say("pictureTaken"));
}

async function refresh(id) {
  try {
    put(await call("GET", `${api}/${id}`));
  } catch (error) {
    if (error.status === 404) drop(id);
  }
}

function drop(id) {
  works.get(id)?.element.remove();
  works.delete(id);
  refreshEnds();
}

const asked = new Set();

function onEvent(kind, data) {
  if (kind === "notice") return renewSoon(Math.random() * 1500); // every open page hears it at once
  const work = works.get(data.id);
  if (kind === "progress" || kind === "preview") {
    if (work) return work[kind](data);
    if (asked.has(data.id)) return null;
    asked.add(data.id); // begun on another device: ask for the whole of it once
    return refresh(data.id);
  }
  const before = work?.generation.status;
  put(data);
  if (FINAL.has(kind) && before !== kind) ended(data);
  return null;
}

function ended(generation) {
  if (generation.status === "succeeded") announce(say("finished", { prompt: generation.prompt }));
  renewSoon();
}

function announce(text) {
  document.getElementById("announce").textContent = text;
}

let renewal = 0;
function renewSoon(pause = 300) {
  clearTimeout(renewal);
  renewal = setTimeout(renew, pause);
}

/** Ask the page's own view for the truth: what runs, what is left. It renews the stream's pass on the way. */
async function renew() {
  try {
    const found = await call("GET", state);
    for (const generation of found.generations) put(generation);
    composer?.showLeft(found.limits);
    showNotice(found.notices.join(" "));
    const active = new Set(found.generations.map((generation) => generation.id));
    for (const work of works.values())
      if (!FINAL.has(work.generation.status) && !active.has(work.generation.id)) refresh(work.generation.id);
    return true;
  } catch (error) {
    showNotice(error.status === 401 ? say("signedOut") : say("offline"));
    return false;
  }
}

function showNotice(text) {
  const line = document.getElementById("notice");
  line.textContent = text;
  line.hidden = !text;
}

const snapshot = readElement("snapshot");
for (const generation of [...snapshot.generations].reverse()) put(generation);
composer?.showLeft(snapshot.limits);
showNotice(snapshot.notices.join(" "));
refreshEnds();
follow(stream, { onEvent, onLost: renew, onOpen: () => {}, read });
// A worker that starts or goes away changes the line above; quiet pages ask rarely.
setInterval(() => {
  if (!document.hidden) renew();
}, 60000);
// The test of the page waits for this.
studio.dataset.ready = "1";
