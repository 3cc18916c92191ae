// The gallery and the page of one picture: stars without a reload, which picture of several is shown.

import { call } from "./api.js";
import { toast } from "./common.js";
import { say } from "./words.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-star]");
  if (!button) return;
  const starred = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(starred));
  try {
    // Whoever leaves the page at once has starred it all the same.
    await call("PATCH", button.dataset.star, { body: { starred }, keepalive: true });
  } catch (error) {
    button.setAttribute("aria-pressed", String(!starred));
    toast(error.message || say("againFailed"));
  }
});

// How many filters are set, on the button that they are behind.
const filters = document.querySelector(".filter-more");
filters?.closest("form").addEventListener("input", () => {
  const set = [...filters.querySelectorAll("input, select")].filter((field) => field.value).length;
  const summary = filters.querySelector("summary");
  if (set) summary.dataset.count = String(set);
  else delete summary.dataset.count;
});

// The image page of several pictures shows the one that its address names.
function show() {
  const wanted = location.hash.slice(1);
  const links = [...document.querySelectorAll("[data-image]")];
  const link = links.find((one) => one.dataset.image === wanted) ?? links[0];
  if (!link) return;
  for (const one of links) one.toggleAttribute("aria-current", one === link);
  const frame = document.getElementById("frame");
  frame.src = link.dataset.url;
  document.getElementById("download").href = `${link.dataset.url}?download=1`;
  document.getElementById("receipt").href = `${link.dataset.url}/receipt`;
  const same = document.getElementById("same"); // a viewer has none
  if (same) same.search = new URLSearchParams({ again: new URLSearchParams(same.search).get("again"), image: link.dataset.index });
  const start = document.getElementById("start");
  if (start) start.search = new URLSearchParams({ start: link.dataset.image });
  for (const cell of document.querySelectorAll("[data-fact]")) cell.textContent = link.dataset[cell.dataset.fact];
}

// What of a picture was drawn anew: the mask lies over it.
for (const cover of document.querySelectorAll("[data-cover]"))
  cover.style.setProperty("--mask", `url("${new URL(cover.dataset.cover).href}")`);

addEventListener("hashchange", show);
if (document.getElementById("frame")) show();
