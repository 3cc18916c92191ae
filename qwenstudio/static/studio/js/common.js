// What every page does: theme, menus, copying, asking before something is deleted.

import { say } from "./words.js";

const root = document.documentElement;
root.classList.remove("no-js");

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

document.querySelector("[data-theme-toggle]")?.addEventListener("click", () => {
  const theme = isDark() ? "light" : "dark";
  root.dataset.theme = theme;
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // without storage the choice lasts as long as the page
  }
});

// A menu closes on a click elsewhere and on Escape.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("[data-menu][open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("[data-menu][open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

/** A short message at the bottom of the page, read out too. */
export function toast(text) {
  const line = document.createElement("p");
  line.className = "toast";
  line.textContent = text;
  const toasts = document.getElementById("toasts");
  // What stands outside of a modal dialogue is hidden behind it, and not read out.
  (document.querySelector("dialog:modal") || document.body).append(toasts);
  toasts.append(line);
  setTimeout(() => line.remove(), 3500);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast(say("copied"));
  } catch {
    toast(say("copyFailed")); // a page without https has no clipboard
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(document.getElementById(button.dataset.copy).textContent.trim());
});

/** Ask in the page's dialogue; resolves to whether the answer is yes. */
export function ask({ title, text, yes }) {
  const dialog = document.getElementById("confirm");
  dialog.querySelector("[data-confirm-title]").textContent = title;
  dialog.querySelector("[data-confirm-text]").textContent = text;
  dialog.querySelector("[data-confirm-yes]").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// Forms that delete ask first, in a dialogue of the page; sent without this script they are asked by the server (ask.py).
const ASK_FIELDS = ["ask", "ask-text", "ask-yes", "ask-back"];
document.addEventListener("submit", async (event) => {
  const form = event.target;
  const question = form.elements.namedItem("ask");
  if (!form.matches("[data-confirm]") || !question || question.disabled) return;
  event.preventDefault();
  const said = (name) => form.elements.namedItem(name).value;
  if (!(await ask({ title: question.value, text: said("ask-text"), yes: said("ask-yes") }))) return;
  const fields = ASK_FIELDS.map((name) => form.elements.namedItem(name));
  for (const field of fields) field.disabled = true; // sent without them it is done
  form.requestSubmit();
  for (const field of fields) field.disabled = false; // who comes back is asked again
});

// Who signs out takes their drafts along.
document.querySelector("[data-sign-out]")?.addEventListener("submit", () => {
  try {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith("draft:")) sessionStorage.removeItem(key);
  } catch {
    // no storage, no drafts
  }
});

// Tabs: one button per panel.
for (const tabs of document.querySelectorAll("[role=tablist]")) {
  const buttons = [...tabs.querySelectorAll("[role=tab]")];
  const choose = (chosen) => {
    for (const button of buttons) {
      button.setAttribute("aria-selected", String(button === chosen));
      button.tabIndex = button === chosen ? 0 : -1;
      document.getElementById(button.getAttribute("aria-controls")).hidden = button !== chosen;
    }
  };
  tabs.addEventListener("click", (event) => {
    const button = event.target.closest("[role=tab]");
    if (button) choose(button);
  });
  tabs.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
    choose(next);
    next.focus();
  });
}

// "/" goes to the search box, as in many places.
document.addEventListener("keydown", (event) => {
  const search = document.querySelector("[data-search]");
  if (event.key !== "/" || !search || event.target.closest("input, textarea, select")) return;
  event.preventDefault();
  search.focus();
});
