// The page: takes photos, the camera and a square drawn by hand, shows boxes and bars, and gives the table.

import { analyse, classify, decode, open, pixelsOf } from "./model.js";

const TIMELINE_S = 30;
const at = (id) => document.getElementById(id);
const rows = []; // of the table, one for each face
let model, stopCamera = null;

function say(text) {
  at("status").textContent = text;
}

function make(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

function percent(value) {
  return `${(100 * value).toFixed(1)} %`;
}

function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

// The bars of a face: a description list, so that a screen reader says label and number.
function bars(face) {
  const list = make("dl", { className: "bars" });
  for (const [label, prob] of Object.entries(face.probs).sort((a, b) => b[1] - a[1])) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    svg.setAttribute("aria-hidden", "true");
    bar.setAttribute("width", `${100 * prob}%`);
    bar.setAttribute("height", "100%");
    bar.setAttribute("fill", model.facts.colours[label]);
    svg.append(bar);
    list.append(make("dt", { textContent: label }), make("dd", {}, svg, make("span", { textContent: percent(prob) })));
  }
  return list;
}

function faceNode(face, number) {
  const title = `Face ${number}: ${face.label}, ${percent(face.probs[face.label])}`;
  return make("section", { className: "face" }, make("h4", { textContent: title }), bars(face));
}

// Draw boxes with their numbers over a picture of that size.
function drawBoxes(canvas, width, height, faces) {
  const line = Math.max(2, Math.round(Math.max(width, height) / 250));
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.font = `600 ${7 * line}px system-ui, sans-serif`;
  context.textBaseline = "top";
  faces.forEach((face, index) => {
    const [x0, y0, x1, y1] = face.box;
    for (const [ink, thick] of [["#000a", line + 2], [model.facts.colours[face.label], line]]) {
      context.strokeStyle = ink;
      context.lineWidth = thick;
      context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
    const text = `${index + 1} ${face.label}`, wide = context.measureText(text).width + 3 * line;
    const top = y0 > 9 * line ? y0 - 9 * line : y1, left = Math.min(Math.max(0, x0), Math.max(0, width - wide));
    context.fillStyle = "#000c";
    context.fillRect(left, top, wide, 9 * line);
    context.fillStyle = "#fff";
    context.fillText(text, left + 1.5 * line, top + line);
  });
}

async function addPhoto(file) {
  const card = make("article", { className: "card" }, make("h3", { textContent: file.name }));
  at("results").prepend(card);
  let picture;
  try {
    picture = await decode(file);
  } catch (error) {
    card.append(make("p", { textContent: `Error: ${error.message}` }));
    rows.push({ source: file.name, error: error.message });
    throw error;
  }
  const { width, height } = picture.rgba;
  const canvas = make("canvas", { width, height }), overlay = make("canvas");
  canvas.getContext("2d").drawImage(picture.source, 0, 0);
  canvas.setAttribute("role", "img");
  const side = make("div"), entry = { source: file.name, width, height, faces: [] };
  card.append(make("div", { className: "picture" }, canvas, overlay), side);
  rows.push(entry);
  const show = (faces) => {
    entry.faces = faces;
    canvas.setAttribute("aria-label", `${file.name}: ${count(faces.length, "face")}. ${faces.map((f) => f.label).join(", ")}`);
    drawBoxes(overlay, width, height, faces);
    side.replaceChildren(...faces.map((face, index) => faceNode(face, index + 1)));
    if (!faces.length) side.append(make("p", { textContent: "No face found." }));
    side.append(make("p", { className: "hint", textContent: "Another face: drag a square on the picture, or focus it, move the square with the arrow keys, size it with + and -, and press Enter." }));
  };
  try {
    show(await analyse(model, picture));
  } catch (error) {
    entry.error = error.message;
    side.append(make("p", { textContent: `Error: ${error.message}` }));
    throw error;
  }
  byHand(overlay, picture, async (box) => {
    const [face] = await classify(model, picture.rgba, [{ box, score: null, by: "hand" }]);
    show([...entry.faces, face]);
    say(`Face ${entry.faces.length}: ${face.label}, ${percent(face.probs[face.label])}`);
  }, () => entry.faces);
  return entry.faces.length;
}

// Let a square be drawn with the pointer, or placed with the keyboard.
function byHand(overlay, { rgba }, done, faces) {
  const { width, height } = rgba;
  let side = Math.min(width, height) / 3, box = null, from = null;
  overlay.tabIndex = 0;
  overlay.setAttribute("role", "application");
  overlay.setAttribute("aria-label", "Square of a face: arrow keys move it, plus and minus size it, Enter classifies it");
  const place = (x, y) => {
    box = [x - side / 2, y - side / 2, x + side / 2, y + side / 2];
    drawBoxes(overlay, width, height, faces());
    const context = overlay.getContext("2d");
    context.setLineDash([8, 8]);
    context.lineWidth = Math.max(2, width / 300);
    context.strokeStyle = "#fff";
    context.strokeRect(box[0], box[1], side, side);
  };
  const point = (event) => {
    const on = overlay.getBoundingClientRect();
    return [((event.clientX - on.left) * width) / on.width, ((event.clientY - on.top) * height) / on.height];
  };
  overlay.addEventListener("pointerdown", (event) => { from = point(event); overlay.setPointerCapture(event.pointerId); });
  overlay.addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = point(event);
    side = Math.max(8, Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]));
    place((from[0] + to[0]) / 2, (from[1] + to[1]) / 2);
  });
  overlay.addEventListener("pointerup", () => { if (box && from) done(box); from = box = null; });
  overlay.addEventListener("keydown", (event) => {
    const step = side / 8, [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    const x = box ? (box[0] + box[2]) / 2 : width / 2, y = box ? (box[1] + box[3]) / 2 : height / 2;
    if (event.key === "Enter" && box) { done(box); box = null; } 
    else if (event.key === "+" || event.key === "=") { side *= 1.1; place(x, y); }
    else if (event.key === "-") { side = Math.max(8, side / 1.1); place(x, y); }
    else if (dx || dy) place(x + dx * step, y + dy * step);
    else return;
    event.preventDefault();
  });
}

async function addPhotos(files) {
  let faces = 0, done = 0, failed = 0;
  const begun = performance.now();
  for (const file of files) {
    say(`Working on ${file.name} (${++done} of ${files.length})…`);
    try {
      faces += await addPhoto(file);
    } catch (error) {
      failed += 1;
      say(`Error: ${error.message}`);
    }
  }
  at("table").disabled = at("clear").disabled = !rows.length;
  const lost = failed ? `, ${count(failed, "error")}` : "";
  say(`${count(files.length, "photo")}, ${count(faces, "face")}${lost}, ${((performance.now() - begun) / 1000).toFixed(1)} s.`);
}

// The table: the columns of `mien predict --csv`.
export function table() {
  const { labels } = model.facts.model;
  const header = ["source", "width", "height", "error", "face", "x0_px", "y0_px", "x1_px", "y1_px", "label", "confidence", ...labels.map((one) => `prob_${one}`)];
  const lines = rows.flatMap((entry) => {
    const start = [entry.source, entry.width, entry.height, entry.error];
    if (!entry.faces?.length) return [start];
    return entry.faces.map((face, index) => [...start, index + 1, ...face.box.map((side) => side.toFixed(1)), face.label, face.probs[face.label].toFixed(6), ...labels.map((one) => face.probs[one].toFixed(6))]);
  });
  return [header, ...lines].map((line) => header.map((_, i) => cell(line[i])).join(",")).join("\r\n") + "\r\n";
}

// A name that begins like a formula is quoted with an apostrophe, so that no spreadsheet runs it.
function cell(value) {
  const text = String(value ?? ""), safe = /^'*[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function download() {
  const url = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
  make("a", { href: url, download: "expressions.csv" }).click();
  URL.revokeObjectURL(url);
}

async function startCamera() {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 640 } } });
  const video = at("video"), past = [];
  let going = true;
  video.srcObject = stream;
  await video.play();
  at("live").hidden = false;
  (async () => {
    while (going) {
      const { videoWidth: width, videoHeight: height } = video, begun = performance.now();
      const faces = await analyse(model, pixelsOf(video, width, height));
      drawBoxes(at("overlay"), width, height, faces);
      at("live-faces").replaceChildren(...faces.map((face, index) => faceNode(face, index + 1)));
      const largest = [...faces].sort((a, b) => b.box[2] - b.box[0] - (a.box[2] - a.box[0]))[0];
      past.push({ time: begun, probs: largest?.probs ?? null });
      while (begun - past[0].time > 1000 * TIMELINE_S) past.shift();
      drawTimeline(past, begun);
      at("live").dataset.frames = String(Number(at("live").dataset.frames ?? 0) + 1);
      await new Promise((resolve) => { requestAnimationFrame(resolve); });
    }
  })().catch((error) => say(`Error: ${error.message}`));
  return () => {
    going = false;
    stream.getTracks().forEach((track) => track.stop());
    at("live").hidden = true;
  };
}

function drawTimeline(past, now) {
  const canvas = at("timeline"), context = canvas.getContext("2d"), { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  context.lineWidth = 2;
  for (const label of model.facts.model.labels) {
    context.strokeStyle = model.facts.colours[label];
    context.beginPath();
    let pen = false;
    for (const { time, probs } of past) {
      if (!probs) { pen = false; continue; }
      const x = width - ((now - time) / (1000 * TIMELINE_S)) * width, y = height - 4 - probs[label] * (height - 8);
      if (pen) context.lineTo(x, y); else context.moveTo(x, y);
      pen = true;
    }
    context.stroke();
  }
}

async function toggleCamera() {
  const button = at("camera");
  button.disabled = true;
  try {
    if (stopCamera) {
      stopCamera();
      stopCamera = null;
    } else {
      stopCamera = await startCamera();
    }
    say(stopCamera ? "The camera runs. Its pictures stay on this device." : "The camera is off.");
  } catch (error) {
    say(`The camera cannot be used: ${error.message}`);
  }
  button.disabled = false;
  button.setAttribute("aria-pressed", String(Boolean(stopCamera)));
  button.textContent = stopCamera ? "Stop the camera" : "Use the camera";
}

function listen() {
  const drop = at("drop");
  at("files").addEventListener("change", (event) => addPhotos([...event.target.files]).then(() => { event.target.value = ""; }));
  at("camera").addEventListener("click", toggleCamera);
  at("table").addEventListener("click", download);
  at("clear").addEventListener("click", () => {
    rows.length = 0;
    at("results").replaceChildren();
    at("table").disabled = at("clear").disabled = true;
    say("All results are removed.");
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
    });
  }
  document.addEventListener("drop", (event) => addPhotos([...event.dataTransfer.files]));
}

async function main() {
  try {
    const begun = performance.now();
    model = await open();
    listen();
    document.body.dataset.ready = "yes";
    const { facts } = model, found = facts.detector ? "" : " It has no face detector: draw a square around each face.";
    say(`Ready after ${((performance.now() - begun) / 1000).toFixed(1)} s.${found}`);
    at("model").textContent = `Model ${facts.model.name} (${facts.backend}, ${facts.model.sha256.slice(0, 12)}), detector ${facts.detector?.name ?? "none"}, mien ${facts.version}.`;
  } catch (error) {
    say(`The page cannot start: ${error.message}`);
  }
}

main();
