// Find faces with a detector's graph. `model.json` names the function of `FINDERS` that runs it and gives its numbers,
// so a new detector is a graph, a description and, if it works in another way, one function.

import { findMien } from "./detect_mien.js";

export const FINDERS = { mien: findMien, yunet: findYunet };

// The faces of a picture, from left to right: box, frame (the square to classify) and score.
export async function detect(ort, session, facts, rgba, source) {
  const faces = await FINDERS[facts.finder](ort, session, facts, rgba, source);
  return faces.sort((a, b) => a.box[0] - b.box[0]);
}

// YuNet (Wu et al. 2023): for each cell of three grids, a class score, an object score and a box.
async function findYunet(ort, session, facts, rgba, source) {
  const longest = Math.max(rgba.width, rgba.height), scale = Math.min(1, facts.side_px / longest);
  const found = await atScale(ort, session, facts, rgba, source, scale);
  const close = facts.side_px / 2 / longest; // it misses a face that fills a large picture
  return found.length || close >= scale ? found : atScale(ort, session, facts, rgba, source, close);
}

async function atScale(ort, session, facts, rgba, source, scale) {
  const side = facts.side_px, plane = side * side, pixels = shrunk(source, rgba, scale, side);
  const input = new Float32Array(3 * plane);
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) input[c * plane + i] = pixels[4 * i + 2 - c]; // BGR
  }
  const outputs = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", input, [1, 3, side, side]) });
  return suppressed(decoded(outputs, facts), facts.iou_threshold)
    .map(({ box, score }) => ({ box: box.map((value) => value / scale), score }))
    .map((face) => ({ ...face, frame: frameOf(face.box, facts.frame) }));
}

function decoded(outputs, facts) {
  const found = [];
  for (const stride of facts.strides) {
    const [cls, obj, box] = ["cls", "obj", "bbox"].map((name) => outputs[`${name}_${stride}`].data);
    const across = facts.side_px / stride;
    for (let at = 0; at < cls.length; at++) {
      const score = Math.sqrt(unit(cls[at]) * unit(obj[at]));
      if (score < facts.score_threshold) continue;
      const x = ((at % across) + box[4 * at]) * stride, y = (Math.floor(at / across) + box[4 * at + 1]) * stride;
      const w = Math.exp(box[4 * at + 2]) * stride, h = Math.exp(box[4 * at + 3]) * stride;
      found.push({ box: [x - w / 2, y - h / 2, x + w / 2, y + h / 2], score });
    }
  }
  return found;
}

// Where the face frame lies in a detector's box (mien.vision.crop.FrameRule).
export function frameOf([x0, y0, x1, y1], rule) {
  const base = rule.side === "width" ? x1 - x0 : y1 - y0, half = (rule.scale * base) / 2;
  const x = (x0 + x1) / 2 + rule.shift_x * base, y = (y0 + y1) / 2 + rule.shift_y * base;
  return [x - half, y - half, x + half, y + half];
}

function shrunk(source, rgba, scale, side) {
  const context = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
  context.fillRect(0, 0, side, side);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, rgba.width * scale, rgba.height * scale);
  return context.getImageData(0, 0, side, side).data;
}

function suppressed(found, most) {
  const kept = [];
  for (const face of found.sort((a, b) => b.score - a.score)) {
    if (kept.every((other) => iou(face.box, other.box) <= most)) kept.push(face);
  }
  return kept;
}

function iou(a, b) {
  const across = Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0]));
  const down = Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
  return (across * down) / (area(a) + area(b) - across * down);
}

function unit(x) {
  return Math.min(1, Math.max(0, x));
}
