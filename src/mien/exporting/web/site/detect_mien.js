// The detector that comes with mien, as mien.detectors.mien runs it: the image is searched at several sizes, in grey, and
// of two boxes that are one face the less probable one goes. On the same pixels it finds the same boxes.

import { resizeArea, rint } from "./preprocess.js";

// The faces of RGBA pixels: box (which is the face frame, too) and score.
export async function findMien(ort, session, facts, rgba) {
  const factor = Math.max(1, Math.max(rgba.width, rgba.height) / facts.side_px);
  const grey = toGrey(shrunk({ width: rgba.width, height: rgba.height, channels: 4, data: rgba.data }, factor));
  const found = [];
  let number = 0;
  for (const level of levels(grey, facts)) {
    const { width, height, data } = level.image;
    const input = new ort.Tensor("float32", Float32Array.from(data), [1, 1, height, width]);
    const outputs = await session.run({ grey: input });
    found.push(...candidates(outputs.faces, level, number++, facts));
  }
  return suppressed(found, facts).map(({ x, y, side, ...face }) => {
    const box = [x - side / 2, y - side / 2, x + side / 2, y + side / 2].map((value) => value * factor);
    return { box, frame: box, score: probability({ x, y, side, ...face }, found, facts) };
  }).filter(({ score }) => score >= facts.score_threshold);
}

function shrunk(image, factor) {
  if (factor === 1) return image;
  return resizeArea(image, Math.max(1, rint(image.width / factor)), Math.max(1, rint(image.height / factor)));
}

// Grey levels as OpenCV gives them for 8-bit pixels: weights of 15 bits.
function toGrey({ width, height, channels, data }) {
  const grey = new Uint8ClampedArray(width * height);
  for (let i = 0, from = 0; i < grey.length; i++, from += channels) {
    grey[i] = (data[from] * 9798 + data[from + 1] * 19235 + data[from + 2] * 3735 + 16384) >> 15;
  }
  return { width, height, channels: 1, data: grey };
}

// The searched images, each `step` times smaller, in a border that makes their sides multiples of the stride.
function* levels(grey, facts) {
  const longest = Math.max(grey.width, grey.height);
  for (let factor = 1, margin = 0; factor === 1 || facts.step * longest / factor > facts.whole_px; factor *= facts.step, margin = facts.margin_px) {
    yield { image: bordered(shrunk(grey, factor), margin, facts.stride, facts.outside), factor, margin };
  }
}

function bordered({ width, height, data }, margin, multiple, level) {
  const wide = Math.ceil((width + 2 * margin) / multiple) * multiple, high = Math.ceil((height + 2 * margin) / multiple) * multiple;
  const made = new Uint8ClampedArray(wide * high).fill(level);
  for (let y = 0; y < height; y++) made.set(data.subarray(y * width, (y + 1) * width), (y + margin) * wide + margin);
  return { width: wide, height: high, data: made };
}

// What may be faces in one map: cells whose logit is the highest of their neighbourhood, and high enough.
function candidates({ dims, data }, { factor, margin }, level, facts) {
  const [, , high, wide] = dims, plane = high * wide, found = [];
  for (let v = 0; v < high; v++) {
    for (let u = 0; u < wide; u++) {
      const at = v * wide + u, logit = data[at];
      if (!(logit >= facts.least_logit) || !isPeak(data, u, v, wide, high)) continue;
      const place = (cell, shift) => ((cell + 0.5 + shift) * facts.stride - margin) * factor;
      const side = Math.exp(Math.min(4, Math.max(-2, data[3 * plane + at]))) * facts.stride * factor;
      found.push({ x: place(u, data[plane + at]), y: place(v, data[2 * plane + at]), side, logit, level });
    }
  }
  return found.sort((a, b) => b.logit - a.logit).slice(0, facts.most);
}

function isPeak(logits, u, v, wide, high) {
  for (let y = Math.max(0, v - 1); y <= Math.min(high - 1, v + 1); y++) {
    for (let x = Math.max(0, u - 1); x <= Math.min(wide - 1, u + 1); x++) {
      if (logits[y * wide + x] > logits[v * wide + u]) return false;
    }
  }
  return true;
}

function suppressed(found, facts) {
  const kept = [];
  for (const face of [...found].sort((a, b) => b.logit - a.logit)) {
    if (!kept.some((other) => isSame(face, other, facts))) kept.push(face);
  }
  return kept;
}

// From two thirds of its own logit and one third of the highest at its place in another of the searched images.
function probability(face, found, facts) {
  let support = facts.no_support_logit;
  for (const other of found) {
    const { common, union } = shared(face, other);
    if (other.level !== face.level && common > facts.support_iou * union) support = Math.max(support, other.logit);
  }
  return 1 / (1 + Math.exp(-(facts.gain * (2 * face.logit + support) / 3 + facts.bias)));
}

function isSame(a, b, facts) {
  const { common, union } = shared(a, b);
  return common > facts.same_iou * union || common > facts.inside * Math.min(a.side, b.side) ** 2;
}

function shared(a, b) {
  const along = (axis) => Math.max(0, Math.min(a[axis] + a.side / 2, b[axis] + b.side / 2) - Math.max(a[axis] - a.side / 2, b[axis] - b.side / 2));
  const common = along("x") * along("y");
  return { common, union: a.side ** 2 + b.side ** 2 - common };
}
