// The sentences that scripts write, translated by the server (parts/words.html), and numbers in the page's language.

const source = document.getElementById("words").dataset;
const language = document.documentElement.lang || "en";

/** A sentence by its name, with {placeholders} filled in. */
export function say(name, values = {}) {
  const text = source[name] ?? name;
  return text.replace(/\{(\w+)\}/g, (whole, key) => (key in values ? String(values[key]) : whole));
}

/** Why something waits, by the code of the API; nothing for a code that this page does not know. */
export const sayReason = (code) => source[nameOf("reason", code)];

/** A sentence about one of several: `sayOf("task", "image-to-image")` is `data-task-image-to-image`. */
export const sayOf = (prefix, word) => say(nameOf(prefix, word));

const nameOf = (prefix, word) => prefix + word.replace(/(^|[-_])(\w)/g, (_, __, letter) => letter.toUpperCase());

const codes = JSON.parse(source.codes || "{}");

/** A refusal in the page's language; its detail, which is English, stays where it says more than the sentence. */
export function sayCode(code, detail = "") {
  const [sentence, whole] = codes[code] || [];
  if (!sentence) return detail;
  return whole || !detail ? sentence : `${sentence} (${detail})`;
}

const QUICK_MS = 950;
const whole = new Intl.NumberFormat(language);
const short = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });

export const number = (value) => whole.format(value);

/** Milliseconds in words: "1.4 s", "12 s", "3 min". */
export function duration(ms) {
  const seconds = ms / 1000;
  if (ms < QUICK_MS) return say("underSecond");
  if (seconds < 10) return say("seconds", { n: short.format(seconds) });
  if (seconds < 90) return say("seconds", { n: Math.round(seconds) });
  if (seconds < 5400) return say("minutes", { n: Math.round(seconds / 60) });
  return say("hours", { n: short.format(seconds / 3600) });
}

/** The same for a guess: "about 12 s", but never "about under a second". */
export const about = (ms) => (ms < QUICK_MS ? duration(ms) : say("about", { time: duration(ms) }));
