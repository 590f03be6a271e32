// Keeps parts of a page up to date: asks for them again while the page is visible, and replaces what changed.
import { followFeed } from "./feed.js";
import { localiseTimes } from "./times.js";

const INTERVAL_MS = 2000;
const MAX_INTERVAL_MS = 30000;

export function startLive(root) {
  const url = root.dataset.liveUrl;
  const message = document.getElementById("live-message");
  const shown = new Map(partsOf(root).map((part) => [part.dataset.livePart, part.outerHTML]));
  let timer = 0;
  let asked = 0;
  let idleMs = INTERVAL_MS;
  let waitMs = idleMs;

  if (!isLive(root)) return;
  schedule();
  // Where there is a feed it says when to look; the timer stays, more slowly, in case it says nothing.
  if (root.dataset.liveFeed) {
    followFeed(root.dataset.liveFeed, refresh, (isFed) => { idleMs = isFed ? MAX_INTERVAL_MS : INTERVAL_MS; });
  }
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") refresh();
    else clearTimeout(timer);
  });

  function schedule() {
    clearTimeout(timer);
    timer = setTimeout(refresh, waitMs);
  }

  async function refresh() {
    clearTimeout(timer);
    if (document.visibilityState !== "visible") return;
    const mine = ++asked;
    try {
      const response = await fetch(url, { headers: { "X-Requested-With": "fetch" }, cache: "no-store" });
      if (response.status === 401) {
        tell("Your session has ended. Reload the page to sign in again.");
        return;
      }
      if (!response.ok) throw new Error(`status ${response.status}`);
      const text = await response.text();
      if (mine !== asked) return; // a later answer is on its way
      apply(new DOMParser().parseFromString(text, "text/html"));
      message.hidden = true;
      waitMs = idleMs;
      if (!isLive(root)) return;
    } catch {
      tell("This page is not up to date: the server does not answer. Trying again…");
      waitMs = Math.min(waitMs * 2, MAX_INTERVAL_MS);
    }
    schedule();
  }

  function apply(fresh) {
    const before = statesIn(root);
    for (const part of partsOf(fresh)) {
      const name = part.dataset.livePart;
      if (shown.get(name) === part.outerHTML) continue;
      shown.set(name, part.outerHTML);
      replacePart(root, name, part);
    }
    announce(before, statesIn(root));
  }

  function announce(before, after) {
    const changes = [...after].filter(([id, { state }]) => before.has(id) && before.get(id).state !== state);
    const added = [...after.keys()].filter((id) => !before.has(id)).length;
    const lines = changes.map(([, { name, state }]) => (name ? `${name}: ${state}` : state));
    if (added) lines.push(added === 1 ? "One new analysis" : `${added} new analyses`);
    if (!lines.length) return;
    document.getElementById("live-status").textContent = `${lines.join(". ")}.`;
    // Another state has other forms and sections than this page was built with.
    if ("liveReload" in root.dataset && changes.length) location.reload();
  }

  function tell(text) {
    if (message.textContent !== text) message.textContent = text;
    message.hidden = false;
  }
}

function partsOf(root) {
  return [...root.querySelectorAll("[data-live-part]")];
}

function isLive(root) {
  return root.querySelector('[data-live="on"]') !== null;
}

function statesIn(root) {
  const rows = [...root.querySelectorAll("[data-state]")];
  return new Map(rows.map((row) => [
    row.dataset.row ?? "page",
    { state: row.dataset.state, name: row.querySelector(".row-link")?.textContent.trim() },
  ]));
}

function replacePart(root, name, part) {
  const old = root.querySelector(`[data-live-part="${name}"]`);
  const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
  const scrolled = [...old.querySelectorAll(".table-scroll")].map((box) => box.scrollLeft);
  const copy = document.importNode(part, true);
  localiseTimes(copy);
  old.replaceWith(copy);
  [...copy.querySelectorAll(".table-scroll")].forEach((box, index) => { box.scrollLeft = scrolled[index] ?? 0; });
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}
