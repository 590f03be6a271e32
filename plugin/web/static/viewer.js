// Shows one slice of an atlas: a picture per contrast that holds all slices as tiles, row by row from feet to head.
const SVG = "http://www.w3.org/2000/svg";

export function startViewer(root) {
  const atlas = JSON.parse(root.dataset.atlas);
  const canvas = root.querySelector("[data-viewer-canvas]");
  const slider = root.querySelector("[data-viewer-slice]");
  const number = root.querySelector("[data-viewer-number]");
  const message = root.querySelector("[data-viewer-message]");
  const contrasts = [...root.querySelectorAll("[name=contrast]")];
  const pictures = new Map();
  let slice = atlas.first_slice;
  let overlay = 0.8;
  let wheel = 0;

  drawProfile(root.querySelector("[data-viewer-profile]"), atlas.tumour_area_mm2);
  load("overlay");
  load(shownContrast());
  new ResizeObserver(draw).observe(canvas);

  slider.addEventListener("input", () => show(Number(slider.value)));
  for (const input of contrasts) input.addEventListener("change", () => { load(input.value); draw(); });
  root.closest("[data-images]").addEventListener("overlaychange", (event) => { overlay = event.detail; draw(); });
  canvas.addEventListener("wheel", onWheel, { passive: false });
  canvas.addEventListener("keydown", onKey);
  root.addEventListener("keydown", onDigit);
  canvas.addEventListener("pointerdown", () => canvas.focus());

  function shownContrast() {
    return contrasts.find((input) => input.checked).value;
  }

  function load(name) {
    if (pictures.has(name)) return;
    const picture = new Image();
    pictures.set(name, picture);
    picture.addEventListener("load", () => {
      if (name === shownContrast()) loadOthers();
      draw();
    });
    picture.addEventListener("error", () => {
      pictures.delete(name);
      message.textContent = "The images could not be loaded. Reload the page to try again.";
      message.hidden = false;
    });
    picture.src = `${root.dataset.files}atlas-${name}.png`;
  }

  // What is looked at comes first; the rest is there by the time somebody asks for it.
  function loadOthers() {
    for (const input of contrasts) load(input.value);
  }

  function show(wanted) {
    slice = Math.max(0, Math.min(atlas.count - 1, wanted));
    slider.value = slice;
    draw();
  }

  function draw() {
    const base = pictures.get(shownContrast());
    const isReady = Boolean(base?.complete && base.naturalWidth);
    number.value = `${slice + 1} / ${atlas.count}`;
    slider.setAttribute("aria-valuetext", `Slice ${slice + 1} of ${atlas.count}`);
    if (!isReady) return;
    message.hidden = true;
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * scale);
    canvas.height = Math.round(canvas.clientHeight * scale);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    // A border all around, for the orientation letters.
    const border = 2 * 26 * scale;
    const fit = Math.min((canvas.width - border) / atlas.tile_width, (canvas.height - border) / atlas.tile_height);
    const place = placeTile(fit);
    drawTile(context, base, place);
    const marks = pictures.get("overlay");
    if (overlay > 0 && marks?.complete && marks.naturalWidth) {
      context.globalAlpha = overlay;
      drawTile(context, marks, place);
      context.globalAlpha = 1;
    }
    drawScaleBar(context, fit / atlas.mm_per_px, scale);
  }

  function placeTile(fit) {
    const width = atlas.tile_width * fit;
    const height = atlas.tile_height * fit;
    return [(canvas.width - width) / 2, (canvas.height - height) / 2, width, height];
  }

  function drawTile(context, picture, place) {
    const left = (slice % atlas.columns) * atlas.tile_width;
    const top = Math.floor(slice / atlas.columns) * atlas.tile_height;
    context.drawImage(picture, left, top, atlas.tile_width, atlas.tile_height, ...place);
  }

  // Five centimetres, in the lower right corner.
  function drawScaleBar(context, pxPerMm, scale) {
    const right = canvas.width - 16 * scale;
    const bottom = canvas.height - 14 * scale;
    const left = right - 50 * pxPerMm;
    context.strokeStyle = context.fillStyle = "#d7dee4";
    context.lineWidth = 1.5 * scale;
    context.beginPath();
    for (const x of [left, right]) {
      context.moveTo(x, bottom - 5 * scale);
      context.lineTo(x, bottom);
    }
    context.moveTo(left, bottom);
    context.lineTo(right, bottom);
    context.stroke();
    context.font = `${12 * scale}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.fillText("50 mm", (left + right) / 2, bottom - 7 * scale);
  }

  function onWheel(event) {
    if (event.ctrlKey) return;
    event.preventDefault();
    wheel += event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY / 100 : event.deltaY;
    const steps = Math.trunc(wheel);
    if (!steps) return;
    wheel -= steps;
    show(slice - Math.sign(steps) * Math.min(Math.abs(steps), 3));
  }

  function onKey(event) {
    const moves = {
      ArrowUp: slice + 1, ArrowRight: slice + 1, ArrowDown: slice - 1, ArrowLeft: slice - 1,
      PageUp: slice + 10, PageDown: slice - 10, Home: 0, End: atlas.count - 1,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(moves[event.key]);
  }

  function onDigit(event) {
    const input = contrasts[Number(event.key) - 1];
    if (!input) return;
    input.checked = true;
    load(input.value);
    draw();
  }
}

function drawProfile(svg, areas) {
  const largest = Math.max(...areas, 1);
  areas.forEach((area, index) => {
    if (!area) return;
    const bar = document.createElementNS(SVG, "rect");
    const height = Math.max(area / largest, 0.06);
    for (const [name, value] of Object.entries({ x: index, y: 1 - height, width: 1, height })) bar.setAttribute(name, value);
    svg.append(bar);
  });
}
