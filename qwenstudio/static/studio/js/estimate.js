// What a request will cost, asked a moment after the form has changed. A courtesy: whatever goes wrong here, the line
// stays empty and nothing else changes.

import { call } from "./api.js";
import { about, say } from "./words.js";

const LEFT_OUT = ["negative_prompt", "seed", "lora", "scales"];

export class Estimate {
  /** `ask`: `{body, lora, rows}` of the request as it stands, or null while it cannot be sent. */
  constructor(line, url, ask) {
    Object.assign(this, { line, url, ask });
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#show(), 400);
  }

  async #show() {
    this.line.textContent = "";
    const wanted = this.ask();
    if (!wanted) return;
    const body = { ...wanted.body, prompt: "x" };
    for (const name of LEFT_OUT) delete body[name];
    if (wanted.lora) body.loras = [...(body.loras ?? []), { name: wanted.lora }];
    try {
      const found = await call("POST", this.url, { body });
      const time = about(found.gpu_ms * wanted.rows);
      const wait = found.wait_ms ?? 0;
      this.line.textContent = wait > 1500 ? say("estimateWait", { time, wait: about(wait) }) : say("estimate", { time });
    } catch {
      this.line.textContent = "";
    }
  }
}
