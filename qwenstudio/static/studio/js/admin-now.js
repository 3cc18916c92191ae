// Keeps the now page true: every few seconds the parts that have changed are put in place of the old ones. What somebody
// types in, has opened or marks is left alone, and the focus stays where it was. Without this script the page is a page.

const EVERY_MS = 4000;
const parts = document.getElementById("qs-parts");
const live = document.getElementById("qs-live");
const lost = document.getElementById("qs-lost");

live.parentElement.hidden = false;

/** Whether somebody is at work in a part: types, marks text, or is about to press a button of an opened question. */
function isBusy(part) {
  const marked = getSelection();
  if (marked && !marked.isCollapsed && part.contains(marked.anchorNode)) return true;
  const typed = [...part.querySelectorAll("input")].some((input) => input.value !== input.defaultValue);
  return typed || (part.contains(document.activeElement) && document.activeElement.matches("input"));
}

function replace(old, fresh) {
  const open = [...old.querySelectorAll("details[open]")].map((details) => details.id);
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  // A summary has no id of its own: its details has.
  const focus = focused && (focused.id || (focused.matches("summary") && `${focused.parentElement.id}>`));
  const scrolled = [...old.querySelectorAll(".qs-scroll")].map((box) => box.scrollLeft);
  for (const id of open) fresh.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", "");
  old.replaceWith(fresh);
  fresh.querySelectorAll(".qs-scroll").forEach((box, place) => (box.scrollLeft = scrolled[place] || 0));
  if (!focus) return;
  const target = document.getElementById(focus.replace(/>$/, ""));
  (focus.endsWith(">") ? target?.querySelector("summary") : target)?.focus({ preventScroll: true });
}

async function refresh() {
  const answer = await fetch(parts.dataset.part, { headers: { Accept: "text/html" }, cache: "no-store" });
  if (answer.redirected) {
    live.checked = false;
    lost.textContent = lost.dataset.signedOut;
    return;
  }
  if (!answer.ok) throw new Error(String(answer.status));
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of fresh.querySelectorAll("body > section")) {
    const old = document.getElementById(part.id);
    if (!old || isBusy(old) || old.dataset.seen === part.innerHTML) continue;
    part.dataset.seen = part.innerHTML;
    replace(old, document.importNode(part, true));
  }
  lost.textContent = "";
}

async function tick() {
  if (live.checked && !document.hidden) {
    try {
      await refresh();
    } catch {
      lost.textContent = lost.dataset.lost;
    }
  }
  parts.dataset.ticks = String(Number(parts.dataset.ticks || 0) + 1); // the test of the page waits for this
  setTimeout(tick, EVERY_MS);
}

setTimeout(tick, EVERY_MS);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && live.checked) refresh().catch(() => {});
});
