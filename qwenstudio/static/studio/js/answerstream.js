// The events of one conversation's answer. The browser resumes by itself with Last-Event-ID, so nothing is lost; where it
// gives up (a pass that ran out while the machine slept), the page asks whether it may go on, and the stream is opened anew.

const KINDS = ["answer", "piece", "end", "idle"];
const LAST = new Set(["end", "idle"]);

export class AnswerStream {
  /** `onLost` resolves to whether to open it again, `null` for never. */
  constructor({ onEvent, onLost }) {
    this.onEvent = onEvent;
    this.onLost = onLost;
    this.source = null;
    this.timer = 0;
    addEventListener("pagehide", () => this.close());
  }

  open(url) {
    this.close();
    this.url = url;
    this.pause = 1000;
    this.#connect();
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  #connect() {
    const source = (this.source = new EventSource(this.url));
    source.addEventListener("open", () => (this.pause = 1000));
    for (const kind of KINDS)
      source.addEventListener(kind, (event) => {
        if (LAST.has(kind)) source.close();
        if (this.source === source) this.onEvent(kind, JSON.parse(event.data));
      });
    source.addEventListener("error", () => {
      if (this.source === source && source.readyState === EventSource.CLOSED) this.#later();
    });
  }

  #later() {
    const source = this.source;
    this.timer = setTimeout(async () => {
      const goesOn = await this.onLost();
      if (this.source !== source || goesOn === null) return;
      if (goesOn) this.#connect();
      else this.#later();
    }, this.pause);
    this.pause = Math.min(this.pause * 2, 15000);
  }
}
