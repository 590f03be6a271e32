// Starts what a page has use for. Every page also works without scripts, except the slice viewer.
import { startLive } from "./live.js";
import { startOverlay } from "./overlay.js";
import { startReview } from "./review.js";
import { localiseTimes } from "./times.js";
import { startViewer } from "./viewer.js";

localiseTimes(document);
for (const root of document.querySelectorAll("[data-live-url]")) startLive(root);
for (const root of document.querySelectorAll("[data-images]")) startOverlay(root);
for (const root of document.querySelectorAll("[data-viewer]")) startViewer(root);
for (const form of document.querySelectorAll("[data-review]")) startReview(form);
