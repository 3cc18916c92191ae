// The page of the organisation: the size of a logo before it is sent, the progress of an export.

import { call } from "./api.js";
import { say } from "./words.js";

const POLL_MS = 2000;

for (const field of document.querySelectorAll("[data-max-bytes]")) {
  const input = field.querySelector("input[type=file]");
  input.addEventListener("change", () => {
    const tooLarge = input.files[0]?.size > Number(field.dataset.maxBytes);
    input.setCustomValidity(tooLarge ? field.dataset.tooLarge : "");
    if (tooLarge) input.reportValidity();
  });
  // The form has `novalidate`, for the server's words beside each field; this one the server never gets to see.
  input.form.addEventListener("submit", (event) => {
    if (input.checkValidity()) return;
    event.preventDefault();
    input.reportValidity();
  });
}

async function follow(line) {
  const found = await call("GET", `/api/v1/exports/${line.dataset.export}`);
  if (found.status !== "waiting" && found.status !== "running") {
    location.reload();
    return;
  }
  const bar = line.querySelector("progress");
  bar.max = Math.max(1, found.total);
  bar.value = found.done;
  if (found.status === "running") {
    line.querySelector("[data-export-text]").textContent = say("exported", { done: found.done, total: found.total });
  }
  followSoon(line);
}

// What goes wrong ends it: the page says the same when it is loaded again.
const followSoon = (line) => setTimeout(() => follow(line).catch(() => {}), POLL_MS);

document.querySelectorAll("[data-export]").forEach(followSoon);
