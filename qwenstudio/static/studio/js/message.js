// One message on the page: what a person said, or an answer that may still be growing.

import { render } from "./markdown.js";
import { duration, number, say, sayCode } from "./words.js";

const UNDER_WAY = new Set(["waiting", "running"]);

export class MessageView {
  /** `titles`: what the chat models are called. */
  constructor(message, { titles }) {
    this.message = message;
    this.titles = titles;
    this.frame = 0;
    const isAnswer = message.role === "assistant";
    const source = document.getElementById(isAnswer ? "answer-template" : "said-template");
    this.element = source.content.firstElementChild.cloneNode(true);
    this.element.id = `message-${message.id}`;
    this.element.view = this;
    this.show();
  }

  get isAnswer() {
    return this.message.role === "assistant";
  }

  get isUnderWay() {
    return UNDER_WAY.has(this.message.status);
  }

  update(message) {
    this.message = { ...this.message, ...message };
    this.show();
  }

  /** What comes after what there is. It is shown with the next frame: words come faster than a screen does. */
  grow({ text, reasoning }) {
    this.message.text += text;
    this.message.reasoning += reasoning;
    this.message.status = "running";
    return new Promise((resolve) => {
      if (this.frame) return resolve(false);
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        resolve(true);
      });
      return undefined;
    });
  }

  show() {
    const words = this.#part("text");
    if (!this.isAnswer) {
      words.textContent = this.message.text;
      return;
    }
    const { message } = this;
    const reasoning = message.reasoning.trim();
    this.element.dataset.status = message.status;
    this.#part("who").textContent = this.title;
    this.element.querySelector(".thinking").hidden = !reasoning;
    this.#part("reasoning").textContent = reasoning;
    render(words, message.text);
    this.#part("wait").hidden = !this.isUnderWay || Boolean(message.text);
    this.element.querySelector(".message-foot").hidden = this.isUnderWay;
    this.#part("draw")?.toggleAttribute("hidden", !message.text.trim());
    this.element.querySelector("[data-copy-text]").hidden = !message.text;
    this.#showEnd();
  }

  get title() {
    return this.titles.get(this.message.model) ?? this.message.model;
  }

  #showEnd() {
    const { message } = this;
    const notes = [];
    if (message.left_out) notes.push(say("leftOut", { n: number(message.left_out) }));
    if (!this.isUnderWay) notes.push(...ends(message));
    const note = this.#part("note");
    note.textContent = notes.join(" ");
    note.hidden = !notes.length;
    note.classList.toggle("answer-bad", message.status === "failed" || message.status === "broken");
    const facts = [this.title];
    if (message.total_ms !== null) facts.push(duration(message.total_ms));
    if (message.tokens) facts.push(say("tokens", { n: number(message.tokens.answer) }));
    this.#part("meta").textContent = facts.join(" · ");
  }

  /** The words as a prompt: what is selected in them, or all of it without its marks. */
  get prompt() {
    const selection = getSelection();
    const words = this.#part("text");
    const chosen = !selection.isCollapsed && words.contains(selection.anchorNode) && words.contains(selection.focusNode);
    return (chosen ? selection.toString() : words.innerText).trim();
  }

  #part(name) {
    return this.element.querySelector(`[data-${name}]`);
  }
}

/** How an answer ended, where it did not simply end. */
function ends({ status, finish, error }) {
  if (error) return [say(status === "broken" ? "answerBroken" : "answerFailed", { reason: sayCode(error.code, error.message) })];
  if (finish === "unwatched") return [say("answerUnwatched")];
  if (status === "stopped") return [say("answerStopped")];
  if (finish === "length") return [say("answerLength")];
  return finish === "content_filter" ? [say("answerFiltered")] : [];
}
