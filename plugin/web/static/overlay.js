// One switch and one opacity for every picture on the page: as the --overlay property, and as an event for the viewer.
export function startOverlay(root) {
  const on = root.querySelector("[data-overlay-on]");
  const opacity = root.querySelector("[data-overlay-opacity]");
  if (!on) return;

  function apply() {
    const value = on.checked ? Number(opacity.value) / 100 : 0;
    opacity.disabled = !on.checked;
    root.style.setProperty("--overlay", value);
    root.dispatchEvent(new CustomEvent("overlaychange", { detail: value }));
  }

  on.addEventListener("change", apply);
  opacity.addEventListener("input", apply);
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "o" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("textarea, input:not([type=range], [type=radio], [type=checkbox])")) return;
    on.checked = !on.checked;
    apply();
  });
  queueMicrotask(apply);
}
