// The box at the bottom: what one is about to say, kept for this tab, and whether it can be sent or the answer stopped.

import { Draft } from "./draft.js";

// On a phone the key for a new line is the only one there is for it.
const hasKeyboard = () => !matchMedia("(pointer: coarse)").matches;

export class ChatBox {
  constructor(form, { who, onSend, onStop, onEditLast }) {
    this.form = form;
    this.who = who;
    this.text = form.elements.text;
    this.model = form.elements.model;
    this.sendButton = form.querySelector("[data-send]");
    this.stopButton = form.querySelector("[data-stop]");
    this.error = form.querySelector("#say-error");
    this.isBusy = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.isBusy && this.text.value.trim()) onSend(this.text.value);
    });
    this.stopButton.addEventListener("click", onStop);
    this.text.addEventListener("input", () => this.#changed());
    this.text.addEventListener("keydown", (event) => {
      if (event.isComposing || event.keyCode === 229) return; // Enter chooses a Chinese word here
      if (event.key === "Enter" && !event.shiftKey && (hasKeyboard() || event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        form.requestSubmit();
      }
      if (event.key === "ArrowUp" && !this.text.value) onEditLast(event);
    });
  }

  /** The conversation that one speaks in; none: a new one. */
  open(conversation) {
    this.draft = new Draft(`${this.who}:chat:${conversation ?? "new"}`);
    this.text.value ||= this.draft.read() ?? "";
    this.#changed();
  }

  /** It was sent. */
  clear() {
    this.text.value = "";
    this.#changed();
  }

  put(text) {
    this.text.value = text;
    this.#changed();
    this.text.focus();
  }

  set busy(isBusy) {
    this.isBusy = isBusy;
    const hadFocus = this.form.contains(document.activeElement);
    this.sendButton.hidden = isBusy;
    this.stopButton.hidden = !isBusy;
    this.stopButton.disabled = false;
    if (hadFocus && document.activeElement === document.body) this.text.focus();
  }

  complain(text) {
    this.error.textContent = text;
    this.error.hidden = !text;
    this.text.setAttribute("aria-invalid", String(Boolean(text)));
  }

  #changed() {
    this.draft?.write(this.text.value);
    this.sendButton.disabled = !this.text.value.trim();
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(this.text.scrollHeight + 2, innerHeight * 0.4)}px`;
  }
}
