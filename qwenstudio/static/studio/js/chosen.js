// What is selected in the gallery, and what is done with it. What is selected stays so while the wall goes on or is
// searched anew; the page's own checkboxes follow.

import { call } from "./api.js";
import { ask, toast } from "./common.js";
import { number, say } from "./words.js";

const chosen = new Set();
let last = null; // the checkbox that was changed last: with Shift everything from there

const picks = () => [...document.querySelectorAll("[data-pick]")];
const bar = () => document.getElementById("chosen-bar");

function show() {
  for (const pick of picks()) pick.checked = chosen.has(pick.value);
  document.body.classList.toggle("choosing", chosen.size > 0);
  const here = bar();
  if (!here) return;
  here.toggleAttribute("data-open", chosen.size > 0);
  document.getElementById("chosen-count").textContent = chosen.size ? say("chosen", { n: number(chosen.size) }) : "";
  here.querySelector("[data-do=compare]").disabled = chosen.size !== 2;
}

function choose(value, on) {
  if (!on) {
    chosen.delete(value);
    return;
  }
  const most = Number(bar()?.dataset.most);
  if (chosen.size < most) chosen.add(value);
  else toast(say("tooMany", { n: number(most) }));
}

document.addEventListener("click", (event) => {
  const pick = event.target.closest?.("[data-pick]");
  if (!pick) return;
  const all = picks();
  const [from, to] = [all.indexOf(last), all.indexOf(pick)].sort((one, other) => one - other);
  const range = event.shiftKey && last && from >= 0 ? all.slice(from, to + 1) : [pick];
  for (const one of range) choose(one.value, pick.checked);
  last = pick;
  show();
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !chosen.size || document.querySelector("dialog:modal")) return;
  chosen.clear();
  show();
});

const acts = {
  async zip() {
    await call("POST", bar().dataset.zips, { body: { ids: [...chosen] } });
    chosen.clear();
    toast(say("zipAsked"));
    document.body.dispatchEvent(new Event("selections"));
  },

  compare() {
    if (chosen.size !== 2) return toast(say("chooseTwo"));
    const [left, right] = chosen;
    location.assign(`${bar().dataset.compare}?${new URLSearchParams({ left, right })}`);
  },

  async delete() {
    const n = number(chosen.size);
    const sure = { title: say("askDelete", { n }), text: say("askDeleteText"), yes: say("askDeleteYes") };
    if (!(await ask(sure))) return;
    const asked = await call("POST", bar().dataset.deletions, { body: { ids: [...chosen] } });
    if (asked.left) toast(say("deletedLeft", { n: number(asked.done), left: number(asked.left) }));
    else toast(say(asked.status === "done" ? "deleted" : "deleting", { n: number(asked.total) }));
    // What was left comes back when the page is loaded again; what is gone takes no room.
    if (!asked.left) for (const pick of picks()) if (chosen.has(pick.value)) pick.closest(".shot").remove();
    chosen.clear();
    document.body.dispatchEvent(new Event("selections"));
    if (asked.left) location.reload();
  },

  async all() {
    const found = await call("GET", bar().dataset.ids);
    chosen.clear();
    for (const id of found.ids) chosen.add(id);
    if (found.more) toast(say("onlyNewest", { n: number(found.ids.length) }));
  },

  none() {
    chosen.clear();
  },
};

document.addEventListener("click", async (event) => {
  const button = event.target.closest("#chosen-bar [data-do]");
  if (!button) return;
  event.preventDefault();
  button.disabled = true;
  try {
    await acts[button.dataset.do]();
  } catch (error) {
    toast(error.message || say("againFailed"));
  }
  button.disabled = false;
  show();
});

// The wall was searched anew, or went on.
document.body.addEventListener("htmx:afterSwap", show);
show();
