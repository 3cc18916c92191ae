// One event stream for all of the person's work. It opens with the truth and resumes by itself (Last-Event-ID); where
// the browser gives up (a pass that ran out while the machine slept), the state is asked for and the stream opened anew.

const KINDS = ["queued", "progress", "preview", "succeeded", "failed", "canceled", "notice"];

/**
 * @param {string} url the stream
 * @param {{onEvent: (kind: string, data: object) => void, onLost: () => Promise<boolean>, onOpen: () => void,
 *          read: (text: string) => object}} hooks `onLost` renews what is needed and says whether to go on
 */
export function follow(url, { onEvent, onLost, onOpen, read }) {
  let source = null;
  let pause = 1000;

  function open() {
    source = new EventSource(url);
    source.addEventListener("open", () => {
      pause = 1000;
      onOpen();
    });
    for (const kind of KINDS) source.addEventListener(kind, (event) => onEvent(kind, read(event.data)));
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      setTimeout(reopen, pause);
      pause = Math.min(pause * 2, 15000);
    });
  }

  async function reopen() {
    if (await onLost()) open();
    else setTimeout(reopen, (pause = Math.min(pause * 2, 15000)));
  }

  open();
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => {
    if (event.persisted) reopen(); // back from the browser's page cache
  });
}
