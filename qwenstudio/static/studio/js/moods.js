// The page of moods: sends the texts, one a line, and shows what the model makes of each.

import { call } from "./api.js";
import { say } from "./words.js";

const MOODS = ["positive", "neutral", "negative"];
const AT_FAULT = new Set([400, 413]); // statuses of what is wrong with the texts
const form = document.getElementById("moods");
const field = form.elements.texts;
const error = document.getElementById("mood-error");
const failed = document.getElementById("mood-failed");
const results = document.getElementById("mood-results");
const template = document.getElementById("mood-template");
const button = form.querySelector("[data-judge]");
const percent = new Intl.NumberFormat(document.documentElement.lang || "en", { style: "percent", maximumFractionDigits: 1 });

function refuse(text) {
  error.textContent = text;
  error.hidden = !text;
  field.setAttribute("aria-invalid", String(Boolean(text)));
  if (text) field.focus();
}

/** It is not the texts' fault. */
function tellOfFailure(text) {
  failed.textContent = text;
  failed.hidden = false;
}

/** The texts, or nothing where the page itself can say what is wrong with them. */
function read() {
  const texts = field.value.split("\n").map((line) => line.trim()).filter(Boolean);
  const { maxTexts, maxChars } = form.dataset;
  if (!texts.length) refuse(error.dataset.empty);
  else if (texts.length > Number(maxTexts)) refuse(error.dataset.many);
  else if (texts.some((text) => [...text].length > Number(maxChars))) refuse(error.dataset.long);
  else return texts;
  return null;
}

function show(text, mood) {
  const item = template.content.cloneNode(true);
  item.querySelector("[data-text]").textContent = text;
  const label = item.querySelector("[data-label]");
  label.textContent = template.dataset[mood.label];
  label.dataset.mood = mood.label;
  if (mood.scores) {
    const list = item.querySelector("[data-scores]");
    for (const name of MOODS) {
      const [word, share, bar, done] = ["dt", "dd", "span", "i"].map((tag) => document.createElement(tag));
      word.textContent = template.dataset[name];
      bar.className = "bar";
      bar.dataset.mood = name;
      bar.setAttribute("aria-hidden", "true");
      bar.style.setProperty("--done", `${100 * mood.scores[name]}%`);
      bar.append(done);
      share.append(bar, percent.format(mood.scores[name]));
      list.append(word, share);
    }
    list.hidden = false;
  }
  return item;
}

async function judge() {
  if (button.disabled) return; // it is being asked
  const texts = read();
  if (!texts) return;
  refuse("");
  failed.hidden = true;
  results.hidden = true; // what another model said, or of other texts
  button.disabled = true;
  try {
    const answer = await call("POST", form.dataset.url, { body: { texts, model: form.elements.model.value } });
    results.querySelector("ol").replaceChildren(...answer.results.map((mood, at) => show(texts[at], mood)));
    results.hidden = false;
  } catch (problem) {
    if (AT_FAULT.has(problem.status)) refuse(problem.message);
    else tellOfFailure(problem instanceof TypeError ? say("againFailed") : problem.message);
  } finally {
    button.disabled = false;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  judge();
});
field.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
  event.preventDefault();
  judge();
});
for (const sample of form.querySelectorAll("[data-sample]")) {
  sample.addEventListener("click", () => {
    field.value = [field.value.trimEnd(), sample.textContent].filter(Boolean).join("\n");
    field.focus();
  });
}

const demo = form.querySelector("[data-demo]");
const tellOfDemo = () => demo && (demo.hidden = form.elements.model.value !== demo.dataset.demo);
form.elements.model.addEventListener("change", tellOfDemo);
tellOfDemo();
