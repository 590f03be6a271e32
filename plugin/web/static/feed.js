// Follows a feed of Server-Sent Events while the page is visible, and says at most once a second that something came.
const PAUSE_MS = 1000;

export function followFeed(url, changed, told) {
  let source = null;
  let timer = 0;
  let isOver = false;

  open();
  document.addEventListener("visibilitychange", () => {
    // A hidden page must not hold one of the few places.
    if (document.visibilityState === "visible") open();
    else close();
  });

  function open() {
    if (source || isOver) return;
    source = new EventSource(url);
    source.addEventListener("open", () => told(true));
    source.addEventListener("message", soon);
    source.addEventListener("end", () => { isOver = true; close(); changed(); });
    source.addEventListener("error", () => {
      // Closed for good, as when all places are taken: the page asks by itself again. Else the browser comes back.
      if (source && source.readyState === EventSource.CLOSED) { close(); changed(); }
    });
  }

  function close() {
    source?.close();
    source = null;
    told(false);
  }

  function soon() {
    if (timer) return;
    timer = setTimeout(() => { timer = 0; changed(); }, PAUSE_MS);
  }
}
