// The styles of the form: prompt templates. A row keeps the words that were drawn, so the person's own are found again
// by taking the template off them; a style that has changed since no longer fits, and the words stay whole.

const SLOT = "{prompt}";

export class Styles {
  /** `select` is null where there are none. */
  constructor(select, styles) {
    this.select = select;
    this.note = select?.parentElement.querySelector("#style-note");
    this.styles = new Map((styles ?? []).map((style) => [style.name, style]));
    select?.addEventListener("change", () => this.#show());
  }

  /** Choose the style of a generation; returns its words without it, or as they are where that cannot be. */
  fill({ style, prompt = "", negative_prompt: negative = "" }) {
    const words = { prompt: prompt ?? "", negative_prompt: negative ?? "" };
    if (!this.select) return words;
    const found = this.styles.get(style);
    const own = found && takeOff(found, words);
    this.select.value = own ? style : "";
    this.#show();
    return own || words;
  }

  /** Choose the style of a draft, whose words are the person's own. */
  choose({ style, prompt = "", negative_prompt: negative = "" }) {
    if (this.select) {
      this.select.value = this.styles.has(style) ? style : "";
      this.#show();
    }
    return { prompt, negative_prompt: negative };
  }

  body() {
    return this.select?.value ? { style: this.select.value } : {};
  }

  #show() {
    const style = this.styles.get(this.select.value);
    this.note.textContent = style?.prompt ?? "";
    this.note.hidden = !style;
  }
}

function takeOff(style, { prompt, negative_prompt: negative }) {
  const [before, after] = style.prompt.split(SLOT);
  const fits = prompt.startsWith(before) && prompt.endsWith(after) && prompt.length > before.length + after.length;
  if (!fits) return null;
  const own = prompt.slice(before.length, prompt.length - after.length);
  const added = style.negative_prompt;
  if (!added || negative === added) return { prompt: own, negative_prompt: added ? "" : negative };
  return negative.endsWith(`, ${added}`) ? { prompt: own, negative_prompt: negative.slice(0, -added.length - 2) } : null;
}
