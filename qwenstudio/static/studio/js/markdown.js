// Markdown as DOM nodes, while it is still being written. A model's text is never markup: elements are made here, by
// name, and text goes into them as text (inline.js). Blocks that have not changed keep their nodes, so a long answer is
// not drawn anew with each word, and a selection in it stays.

import { inline } from "./inline.js";
import { say } from "./words.js";

const MAX_DEPTH = 8; // quotes and lists in one another
const MAX_COLUMNS = 40;
const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:[ \t]+(.*))?$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const DIVIDER = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/** Show a text in a box, which holds nothing else. */
export function render(box, text) {
  const blocks = parse(text.replaceAll("\r\n", "\n").replaceAll("\t", "    ").split("\n"), 0);
  const shown = (box.blocks ??= []);
  let same = 0;
  while (same < blocks.length && shown[same] === blocks[same].source) same += 1;
  while (box.childNodes.length > same) box.lastChild.remove();
  for (const block of blocks.slice(same)) box.append(block.make());
  box.blocks = blocks.map((block) => block.source);
}

/** Blocks: `source` tells whether one is still the same, `make` makes its node. */
function parse(lines, depth) {
  const blocks = [];
  for (let at = 0; at < lines.length; ) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const [end, make] = blockAt(lines, at, depth);
    blocks.push({ source: lines.slice(at, end).join("\n"), make });
    at = end;
  }
  return blocks;
}

function blockAt(lines, at, depth) {
  const line = lines[at];
  const nested = depth < MAX_DEPTH;
  if (FENCE.test(line)) return fence(lines, at);
  if (HEADING.test(line)) return [at + 1, heading(line)];
  if (RULE.test(line)) return [at + 1, () => document.createElement("hr")];
  if (nested && QUOTE.test(line)) return quote(lines, at, depth);
  if (nested && ITEM.test(line)) return list(lines, at, depth);
  if (isTable(lines, at)) return table(lines, at);
  return paragraph(lines, at);
}

function fence(lines, at) {
  const [, indent, marks, about] = FENCE.exec(lines[at]);
  const closes = new RegExp(`^ {0,3}${marks[0]}{${marks.length},}[ \\t]*$`);
  let end = at + 1;
  while (end < lines.length && !closes.test(lines[end])) end += 1;
  const inside = lines.slice(at + 1, end).map((line) => (line.startsWith(indent) ? line.slice(indent.length) : line));
  const language = about.trim().split(/\s/)[0].slice(0, 30);
  return [Math.min(end + 1, lines.length), () => codeBlock(inside.join("\n"), language)];
}

function codeBlock(text, language) {
  const box = make("div", "codeblock");
  const head = make("div", "codeblock-head");
  const name = make("span");
  name.textContent = language;
  const button = make("button", "ghost");
  button.type = "button";
  button.dataset.copyCode = "";
  button.textContent = say("copyCode");
  head.append(name, button);
  const pre = make("pre");
  pre.tabIndex = 0; // it scrolls, so the keyboard must get there
  const code = make("code");
  code.textContent = text;
  pre.append(code);
  box.append(head, pre);
  return box;
}

// The page's own headings are the first two levels.
function heading(line) {
  const [, marks, text = ""] = HEADING.exec(line);
  return () => worded(`h${Math.min(6, marks.length + 2)}`, text.replace(/(^|[ \t])#+[ \t]*$/, ""));
}

function quote(lines, at, depth) {
  const inside = [];
  let end = at;
  for (; end < lines.length; end += 1) {
    const found = QUOTE.exec(lines[end]);
    if (found) inside.push(found[1]);
    else if (lines[end].trim() && inside.at(-1)?.trim() && !startsBlock(lines, end)) inside.push(lines[end]);
    else break;
  }
  return [end, () => filled(make("blockquote"), parse(inside, depth + 1))];
}

function list(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  const base = first[1].length;
  const ordered = /\d/.test(first[2]);
  const items = [];
  let end = at;
  let gap = false; // after an empty line, words without an indent are no longer the item's
  for (; end < lines.length; end += 1) {
    const line = lines[end];
    const indent = line.length - line.trimStart().length;
    const item = indent < base + 2 ? ITEM.exec(line) : null;
    if (!line.trim()) {
      gap = true;
      items.at(-1).push("");
    } else if (item && !RULE.test(line) && /\d/.test(item[2]) === ordered) {
      items.push([item[3] ?? ""]);
      gap = false;
    } else if (indent >= base + 2) {
      items.at(-1).push(line.slice(Math.min(indent, base + first[2].length + 1)));
      gap = false;
    } else if (!gap && !startsBlock(lines, end)) {
      items.at(-1).push(line.trimStart());
    } else {
      break;
    }
  }
  const loose = items.some((item) => item.slice(0, -1).some((line, place) => !line && item.slice(place).some(Boolean)));
  const start = ordered ? Number.parseInt(first[2], 10) : 1;
  return [end, () => listNode(items, { ordered, start, loose, depth })];
}

function listNode(items, { ordered, start, loose, depth }) {
  const node = make(ordered ? "ol" : "ul");
  if (start !== 1) node.start = start;
  for (const item of items) {
    const box = make("li");
    box.dir = "auto";
    for (const block of parse(item, depth + 1)) {
      const made = block.make();
      // The words of a tight list stand in its items without a paragraph around them.
      if (!loose && made.tagName === "P") box.append(...made.childNodes);
      else box.append(made);
    }
    node.append(box);
  }
  return node;
}

function isTable(lines, at) {
  const next = lines[at + 1] ?? "";
  return lines[at].includes("|") && next.includes("-") && DIVIDER.test(next) && cellsOf(lines[at]).length === cellsOf(next).length;
}

function table(lines, at) {
  const head = cellsOf(lines[at]).slice(0, MAX_COLUMNS);
  const sides = cellsOf(lines[at + 1]).map(sideOf);
  const rows = [];
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|") && lines[end].trim()) rows.push(cellsOf(lines[end++]));
  return [end, () => tableNode(head, sides, rows)];
}

function tableNode(head, sides, rows) {
  const box = make("div", "table-box");
  box.tabIndex = 0;
  const node = make("table");
  const row = (cells, tag) => {
    const line = make("tr");
    head.forEach((_, place) => {
      const cell = worded(tag, cells[place] ?? "");
      if (sides[place]) cell.className = `side-${sides[place]}`;
      line.append(cell);
    });
    return line;
  };
  const top = make("thead");
  top.append(row(head, "th"));
  const body = make("tbody");
  body.append(...rows.map((cells) => row(cells, "td")));
  node.append(top, body);
  box.append(node);
  return box;
}

const sideOf = (cell) => (cell.endsWith(":") ? (cell.startsWith(":") ? "middle" : "end") : "");

function cellsOf(line) {
  const inside = line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  const cells = [""];
  for (let at = 0; at < inside.length; at += 1) {
    if (inside[at] === "\\" && inside[at + 1] === "|") {
      cells[cells.length - 1] += "|";
      at += 1;
    } else if (inside[at] === "|") cells.push("");
    else cells[cells.length - 1] += inside[at];
  }
  return cells.map((cell) => cell.trim());
}

function paragraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !startsBlock(lines, end)) end += 1;
  const text = lines.slice(at, end).map((line) => line.trimStart()).join("\n").trimEnd();
  return [end, () => worded("p", text)];
}

/** Whether a line ends the paragraph before it; of numbers only the first of a list does. */
function startsBlock(lines, at) {
  const line = lines[at];
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line)) return true;
  const item = ITEM.exec(line);
  return Boolean(item?.[3] && (!/\d/.test(item[2]) || /^1[.)]$/.test(item[2]))) || isTable(lines, at);
}

function filled(box, blocks) {
  box.append(...blocks.map((block) => block.make()));
  return box;
}

function worded(tag, text) {
  const node = inline(make(tag), text);
  node.dir = "auto";
  return node;
}

function make(tag, className = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  return node;
}
