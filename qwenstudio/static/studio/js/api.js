// Calls of the API with the session: CSRF header, problem answers, and seeds that JavaScript's numbers cannot hold.

import { say, sayCode } from "./words.js";

/** A refusal: `status`, `code`, `detail`, `errors` by field, `retryAfter` in seconds. */
export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super(sayCode(body.code, body.detail) || say("againFailed"));
    this.status = status;
    this.code = body.code || "";
    this.errors = body.errors || {};
    this.retryAfter = retryAfter;
  }
}

/** JSON with seeds as strings: they go up to 2^63, numbers here only to 2^53. */
export function read(text) {
  return JSON.parse(text.replace(/"seed":\s*(\d+)/g, '"seed":"$1"'));
}

/** JSON of a request; a seed given as a string of digits becomes a number of any size. */
export function write(body) {
  if (body.seed === undefined || body.seed === null) return JSON.stringify(body);
  const { seed, ...rest } = body;
  return JSON.stringify(rest).replace(/\}$/, `,"seed":${/^\d+$/.test(seed) ? seed : JSON.stringify(seed)}}`);
}

export const readElement = (id) => read(document.getElementById(id)?.textContent || "null");

/** Call the API, with JSON (`body`) or files (`form`). Throws `Problem` for a refusal, `TypeError` where there is no connection. */
export async function call(method, url, { body, form, headers = {}, keepalive = false } = {}) {
  const answer = await fetch(url, {
    method,
    credentials: "same-origin",
    keepalive,
    headers: {
      Accept: "application/json",
      "X-CSRFToken": document.body.dataset.csrf,
      // A tab of another organisation than the one that one works in now is told so.
      ...(document.body.dataset.tenant ? { "X-Studio-Tenant": document.body.dataset.tenant } : {}),
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...headers,
    },
    body: form ?? (body === undefined ? undefined : write(body)),
  });
  const text = await answer.text();
  const isJson = (answer.headers.get("Content-Type") || "").includes("json");
  if (!answer.ok) throw new Problem(answer.status, isJson ? read(text) : {}, Number(answer.headers.get("Retry-After")) || 0);
  return isJson ? read(text) : null;
}

/** Call again while there is no connection or the server says so (503); the idempotency key makes that safe. */
export async function callPatiently(method, url, options, { tries = 4 } = {}) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await call(method, url, options);
    } catch (error) {
      const passing = error instanceof TypeError || error.status === 503 || error.status === 409;
      if (!passing || attempt >= tries) throw error;
      await new Promise((resolve) => setTimeout(resolve, Math.min(error.retryAfter || attempt, 5) * 1000));
    }
  }
}
