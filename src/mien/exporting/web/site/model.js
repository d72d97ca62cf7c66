// The model in the browser: open it, find faces, classify crops. Nothing is sent anywhere.

import * as ort from "./ort.wasm.bundle.min.mjs";
import { detect } from "./detect.js";
import { around, cut, fit, normalise, withMargin } from "./preprocess.js";

const PIXEL_LIMIT = 40_000_000;

// Open everything that model.json names.
export async function open(base = new URL(".", import.meta.url)) {
  ort.env.wasm.numThreads = 1; // more threads need headers that a static host may not send
  ort.env.wasm.wasmPaths = { wasm: new URL("ort-wasm-simd-threaded.wasm", base).href };
  const facts = await (await get(new URL("model.json", base))).json();
  const classifier = await session(new URL(facts.file, base));
  const detector = facts.detector ? await session(new URL(facts.detector.file, base)) : null;
  return { facts, classifier, detector };
}

async function get(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url.pathname.split("/").pop()} cannot be loaded (status ${answer.status})`);
  return answer;
}

async function session(url) {
  const bytes = new Uint8Array(await (await get(url)).arrayBuffer());
  return ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
}

// Decode a file, upright, on white where it is transparent. Returns pixels and a source that can be drawn.
export async function decode(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    throw new Error("not a picture that this browser can read");
  }
  if (bitmap.width * bitmap.height > PIXEL_LIMIT) {
    throw new Error(`${bitmap.width} x ${bitmap.height} pixels are over the limit of ${PIXEL_LIMIT / 1e6} million`);
  }
  return pixelsOf(bitmap, bitmap.width, bitmap.height);
}

// The pixels of anything that can be drawn.
export function pixelsOf(source, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0);
  return { source: canvas, rgba: context.getImageData(0, 0, width, height) };
}

// The faces of a picture with their probabilities.
export async function analyse(model, { source, rgba }) {
  const faces = model.detector
    ? await detect(ort, model.detector, model.facts.detector, rgba, source)
    : [];
  return classify(model, rgba, faces);
}

// Give faces that have a box, and perhaps a frame, their probabilities, label first.
export async function classify(model, rgba, faces) {
  if (!faces.length) return [];
  const { preprocess } = model.facts, size = preprocess.size_px, each = size * size * preprocess.channels;
  const input = new Float32Array(faces.length * each);
  faces.forEach((face, at) => {
    const square = withMargin(face.frame ?? around(face.box), preprocess.margin);
    normalise(fit(cut(rgba, square), preprocess), preprocess, input, at);
  });
  const shape = [faces.length, preprocess.channels, size, size];
  const outputs = await model.classifier.run({ image: new ort.Tensor("float32", input, shape) });
  const { labels } = model.facts.model;
  return faces.map((face, at) => {
    const row = softmax(outputs.logits.data.subarray(at * labels.length, (at + 1) * labels.length));
    const probs = Object.fromEntries(labels.map((label, i) => [label, row[i]]));
    return { ...face, probs, label: labels[row.indexOf(Math.max(...row))] };
  });
}

function softmax(logits) {
  const most = Math.max(...logits), powers = Array.from(logits, (value) => Math.exp(value - most));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((value) => value / sum);
}
