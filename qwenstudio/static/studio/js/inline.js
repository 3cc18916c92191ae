// The inside of a line of Markdown, as DOM nodes. Text only ever becomes text: nothing here parses HTML. Addresses are
// links where they are http or https; pictures are links too, so that no text of a model makes a browser fetch anything.

const MAX_DEPTH = 10;
const LABEL_CHARS = 500;
const ADDRESS_CHARS = 2000;
const SPECIAL = /[\\`*_~[!<\n]|https?:\/\//g;
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const WORD = /[\p{L}\p{N}]/u;
const BARE = /https?:\/\/[^\s<>"`]{1,2000}/y;
const BRACKETED = /<(https?:\/\/[^\s<>]{1,2000})>/y;
const BREAK = /<br ?\/?>/iy;
const TRAILING = /[.,;:!?'"*_~)\]}。，、；：！？）】》」』”’]+$/u;
const TAGS = { "**": "strong", __: "strong", "~~": "del", "*": "em", _: "em" };

/** Append a line's nodes to a box. Time is proportional to the text, whatever stands in it. */
export function inline(box, text, depth = 0) {
  new Line(box, text, depth).run();
  return box;
}

class Line {
  constructor(box, text, depth) {
    this.box = box;
    this.text = text;
    this.depth = depth;
    this.plain = "";
    this.dead = new Set(); // what has no end from here on, and so none further on either
  }

  run() {
    const { text } = this;
    for (let at = 0; at < text.length; ) {
      SPECIAL.lastIndex = at;
      const found = SPECIAL.exec(text);
      this.plain += text.slice(at, found ? found.index : text.length);
      if (!found) break;
      at = this.#take(found.index);
    }
    this.#flush();
  }

  /** What begins at a place; returns where it ends. */
  #take(at) {
    const char = this.text[at];
    if (char === "\\") return this.#escape(at);
    if (char === "\n") return this.#break(at + 1);
    if (char === "`") return this.#code(at);
    if (char === "[") return this.#link(at, at);
    if (char === "!") return this.text[at + 1] === "[" ? this.#link(at, at + 1) : this.#literal(at, 1);
    if (char === "<") return this.#bracketed(at);
    if (char === "h") return this.#bare(at);
    return this.#emphasis(at, char);
  }

  #literal(at, length) {
    this.plain += this.text.slice(at, at + length);
    return at + length;
  }

  #put(node, end) {
    this.#flush();
    this.box.append(node);
    return end;
  }

  #flush() {
    if (this.plain) this.box.append(this.plain);
    this.plain = "";
  }

  #escape(at) {
    const next = this.text[at + 1];
    if (next === "\n") return this.#break(at + 2);
    return next && ESCAPABLE.test(next) ? this.#literal(at + 1, 1) : this.#literal(at, 1);
  }

  #break(end) {
    this.plain = this.plain.trimEnd();
    return this.#put(document.createElement("br"), end);
  }

  #code(at) {
    const { text } = this;
    const length = sameFrom(text, at);
    const ticks = "`".repeat(length);
    if (this.dead.has(ticks)) return this.#literal(at, length);
    for (let end = text.indexOf(ticks, at + length); end >= 0; ) {
      const run = sameFrom(text, end);
      if (run !== length) {
        end = text.indexOf(ticks, end + run);
        continue;
      }
      const code = document.createElement("code");
      const inside = text.slice(at + length, end).replaceAll("\n", " ");
      const framed = inside.startsWith(" ") && inside.endsWith(" ") && inside.trim();
      code.textContent = framed ? inside.slice(1, -1) : inside;
      return this.#put(code, end + length);
    }
    this.dead.add(ticks);
    return this.#literal(at, length);
  }

  #emphasis(at, char) {
    const double = this.text[at + 1] === char;
    if (char === "~" && !double) return this.#literal(at, 1);
    const mark = double ? char + char : char;
    const end = this.#closing(at, mark);
    if (end < 0) return this.#literal(at, mark.length);
    const node = document.createElement(TAGS[mark]);
    inline(node, this.text.slice(at + mark.length, end), this.depth + 1);
    return this.#put(node, end + mark.length);
  }

  /** Where the emphasis that begins here ends, or -1. */
  #closing(at, mark) {
    const { text, dead } = this;
    const inside = at + mark.length;
    if (dead.has(mark) || this.depth >= MAX_DEPTH || !text[inside] || /\s/.test(text[inside])) return -1;
    if (mark[0] === "_" && at > 0 && WORD.test(text[at - 1])) return -1; // snake_case
    for (let end = text.indexOf(mark, inside + 1); end >= 0; ) {
      const run = sameFrom(text, end);
      if (mark.length === 1 && run === 2) {
        end = text.indexOf(mark, end + 2); // the inner one of `*a **b** c*`
        continue;
      }
      const last = end + run - mark.length; // the outer one of `***a***`
      const ends = !/\s/.test(text[end - 1]) && !(mark[0] === "_" && WORD.test(text[end + run] ?? ""));
      if (ends && last > at) return last;
      end = text.indexOf(mark, end + run);
    }
    dead.add(mark);
    return -1;
  }

  /** `[label](address "title")`; `![…](…)` begins a character earlier and is a link as well. */
  #link(at, bracket) {
    const literal = bracket + 1 - at;
    if (this.dead.has("[") || this.depth >= MAX_DEPTH) return this.#literal(at, literal);
    if (this.text.indexOf("](", bracket) < 0) this.dead.add("[");
    const close = closingBracket(this.text, bracket, "[", "]", LABEL_CHARS);
    if (close < 0 || this.text[close + 1] !== "(") return this.#literal(at, literal);
    const end = closingBracket(this.text, close + 1, "(", ")", ADDRESS_CHARS);
    if (end < 0) return this.#literal(at, literal);
    const label = this.text.slice(bracket + 1, close);
    const [, address] = /^\s*<?([^\s<>]*)>?(?:\s+["'(].*)?\s*$/s.exec(this.text.slice(close + 2, end)) ?? [];
    const href = address ? safeAddress(address) : null;
    const node = href ? anchor(href) : document.createElement("span");
    inline(node, label || address || "", this.depth + 1);
    for (const inner of node.querySelectorAll("a")) inner.replaceWith(...inner.childNodes); // no link in a link
    return this.#put(node, end + 1);
  }

  #bracketed(at) {
    BRACKETED.lastIndex = BREAK.lastIndex = at;
    if (BREAK.test(this.text)) return this.#break(BREAK.lastIndex);
    const [whole, address] = BRACKETED.exec(this.text) ?? [];
    const href = address ? safeAddress(address) : null;
    if (!href) return this.#literal(at, 1);
    const node = anchor(href);
    node.textContent = address;
    return this.#put(node, at + whole.length);
  }

  #bare(at) {
    BARE.lastIndex = at;
    const [found = ""] = BARE.exec(this.text) ?? [];
    const address = withoutTrailing(found);
    const href = at > 0 && WORD.test(this.text[at - 1]) ? null : safeAddress(address);
    if (!href) return this.#literal(at, "http".length);
    const node = anchor(href);
    node.textContent = address;
    return this.#put(node, at + address.length);
  }
}

/** An address that may be a link, or null: http and https alone, and none that hides a host behind a user's name. */
export function safeAddress(text) {
  try {
    const url = new URL(text);
    return /^https?:$/.test(url.protocol) && !url.username && !url.password ? url.href : null;
  } catch {
    return null; // of this page's own too: a model has nothing to link to in the studio
  }
}

function anchor(href) {
  const node = document.createElement("a");
  node.href = href;
  node.target = "_blank";
  node.rel = "noopener noreferrer nofollow";
  return node;
}

// A sentence's end is none of the address's, but `…_(disambiguation)` is.
function withoutTrailing(address) {
  const bare = address.replace(TRAILING, "");
  return address[bare.length] === ")" && bare.includes("(") && !bare.includes(")") ? `${bare})` : bare;
}

function closingBracket(text, at, open, close, most) {
  for (let place = at, level = 0; place < text.length && place - at <= most; place += 1) {
    if (text[place] === "\\") place += 1;
    else if (text[place] === open) level += 1;
    else if (text[place] === close && (level -= 1) === 0) return place;
  }
  return -1;
}

// How often the character at a place follows itself.
function sameFrom(text, at) {
  let end = at + 1;
  while (text[end] === text[at]) end += 1;
  return end - at;
}
