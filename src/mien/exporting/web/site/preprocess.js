// From pixels to the crop that the network takes. The rules are those of mien.vision.crop and mien.preprocess, and the
// resizing gives the grey levels that OpenCV gives. An image is {width, height, channels, data: Uint8}.

// Round a half to the even neighbour, as Python and OpenCV do.
export function rint(x) {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

// The square around a face: the detector's frame widened by the model's margin.
export function withMargin([x0, y0, x1, y1], margin) {
  const side = (x1 - x0) * (1 + 2 * margin);
  const x = (x0 + x1) / 2, y = (y0 + y1) / 2;
  return [x - side / 2, y - side / 2, x + side / 2, y + side / 2];
}

// The square around a box: the same centre, the longer side.
export function around([x0, y0, x1, y1]) {
  const side = Math.max(x1 - x0, y1 - y0);
  const x = (x0 + x1) / 2, y = (y0 + y1) / 2;
  return [x - side / 2, y - side / 2, x + side / 2, y + side / 2];
}

// Cut a box out of RGBA pixels; beyond the image its edge pixels continue.
export function cut(rgba, box) {
  let [left, top, right, bottom] = box.map(rint);
  right = Math.max(right, left + 1);
  bottom = Math.max(bottom, top + 1);
  const width = right - left, height = bottom - top;
  const data = new Uint8ClampedArray(width * height * 3);
  for (let y = 0, to = 0; y < height; y++) {
    const row = clamp(y + top, rgba.height - 1) * rgba.width;
    for (let x = 0; x < width; x++, to += 3) {
      const from = 4 * (row + clamp(x + left, rgba.width - 1));
      data[to] = rgba.data[from];
      data[to + 1] = rgba.data[from + 1];
      data[to + 2] = rgba.data[from + 2];
    }
  }
  return { width, height, channels: 3, data };
}

// Bring a cut to the size and colour of the network's input.
export function fit(image, preprocess) {
  const size = preprocess.size_px;
  if (image.width !== size || image.height !== size) {
    const factor = size / Math.max(image.width, image.height);
    const width = Math.max(1, rint(factor * image.width));
    const height = Math.max(1, rint(factor * image.height));
    const byArea = preprocess.interpolation === "area" && factor <= 1;
    image = squared(byArea ? resizeArea(image, width, height) : resizeLinear(image, width, height));
  }
  return preprocess.channels === 1 ? toGrey(image, preprocess.grey_weights_rgb) : image;
}

// Write a crop into the network's input, channel first, as image number `at` of the batch.
export function normalise(crop, preprocess, input, at) {
  const pixels = crop.width * crop.height, channels = preprocess.channels;
  for (let c = 0; c < channels; c++) {
    const gain = preprocess.gain[c], offset = preprocess.offset[c];
    for (let i = 0, to = (at * channels + c) * pixels; i < pixels; i++, to++) {
      input[to] = crop.data[i * channels + c] * gain - offset;
    }
  }
}

function clamp(x, most) {
  return x < 0 ? 0 : x > most ? most : x;
}

function squared(image) {
  const { width, height, channels } = image;
  if (width === height) return image;
  const side = Math.max(width, height);
  const top = (side - height) >> 1, left = (side - width) >> 1;
  const data = new Uint8ClampedArray(side * side * channels);
  for (let y = 0, to = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const from = channels * (clamp(y - top, height - 1) * width + clamp(x - left, width - 1));
      for (let c = 0; c < channels; c++) data[to++] = image.data[from + c];
    }
  }
  return { width: side, height: side, channels, data };
}

function toGrey(image, weights) {
  if (image.channels === 1) return image;
  const [r, g, b] = weights.map(Math.fround);
  const pixels = image.width * image.height;
  const data = new Uint8ClampedArray(pixels);
  for (let i = 0; i < pixels; i++) {
    const sum = Math.fround(
      Math.fround(Math.fround(image.data[3 * i] * r) + Math.fround(image.data[3 * i + 1] * g)) +
        Math.fround(image.data[3 * i + 2] * b),
    );
    data[i] = rint(sum);
  }
  return { width: image.width, height: image.height, channels: 1, data };
}

// Which pixels of a line make each pixel of the shorter line, and with what weight (OpenCV's computeResizeAreaTab).
// Pixel `at` is made of `first[at]` and those that follow, with the weights from `start[at]` to `start[at + 1]`.
function areaTable(from, to) {
  const scale = from / to, first = new Int32Array(to), start = new Int32Array(to + 1), weights = [];
  for (let at = 0; at < to; at++) {
    const begin = at * scale, end = begin + scale, width = Math.min(scale, from - begin);
    const last = Math.min(Math.floor(end), from - 1), whole = Math.min(Math.ceil(begin), last);
    first[at] = whole - begin > 1e-3 ? whole - 1 : whole;
    if (whole - begin > 1e-3) weights.push((whole - begin) / width);
    for (let i = whole; i < last; i++) weights.push(1 / width);
    if (end - last > 1e-3) weights.push(Math.min(end - last, 1, width) / width);
    start[at + 1] = weights.length;
  }
  return { first, start, weights: Float32Array.from(weights) };
}

// Shrink: each pixel is the mean of the area that it covers.
export function resizeArea(image, width, height) {
  const { channels } = image, across = areaTable(image.width, width), down = areaTable(image.height, height);
  const data = new Uint8ClampedArray(width * height * channels), line = new Float32Array(width * channels);
  const narrow = new Float32Array(width * channels);
  const halved = image.width === 2 * width && image.height === 2 * height; // OpenCV rounds a half up here
  for (let y = 0; y < height; y++) {
    line.fill(0);
    for (let j = down.start[y], row = down.first[y]; j < down.start[y + 1]; j++, row++) {
      narrowed(image, row, across, narrow);
      const weight = down.weights[j];
      for (let x = 0; x < line.length; x++) line[x] += narrow[x] * weight;
    }
    for (let x = 0; x < line.length; x++) data[y * line.length + x] = halved ? Math.round(line[x]) : rint(line[x]);
  }
  return { width, height, channels, data };
}

// One row of an image, shrunk in width. A row that two rows below share is made twice, which is seldom.
function narrowed({ width, channels, data }, row, { first, start, weights }, narrow) {
  const line = row * width * channels;
  narrow.fill(0);
  for (let x = 0; x < first.length; x++) {
    for (let j = start[x], from = line + first[x] * channels; j < start[x + 1]; j++, from += channels) {
      const weight = weights[j], to = x * channels;
      for (let c = 0; c < channels; c++) narrow[to + c] += data[from + c] * weight;
    }
  }
}

// The two neighbours of each pixel of the longer line, with weights of 11 bits, as OpenCV has them for 8-bit pixels.
function linearTable(from, to) {
  const scale = from / to, table = [];
  for (let at = 0; at < to; at++) {
    const place = Math.fround((at + 0.5) * scale - 0.5);
    const low = Math.floor(place), rest = Math.fround(place - low);
    table.push([clamp(low, from - 1), clamp(low + 1, from - 1), rint((1 - rest) * 2048), rint(rest * 2048)]);
  }
  return table;
}

// Enlarge: each pixel lies between four.
export function resizeLinear(image, width, height) {
  const { channels } = image, columns = linearTable(image.width, width), rows = linearTable(image.height, height);
  const wide = new Int32Array(image.height * width * channels);
  for (let y = 0, to = 0; y < image.height; y++) {
    for (let x = 0; x < width; x++) {
      const [a, b, wa, wb] = columns[x], line = y * image.width;
      for (let c = 0; c < channels; c++) {
        wide[to++] = image.data[(line + a) * channels + c] * wa + image.data[(line + b) * channels + c] * wb;
      }
    }
  }
  const data = new Uint8ClampedArray(width * height * channels), length = width * channels;
  for (let y = 0; y < height; y++) {
    const [a, b, wa, wb] = rows[y];
    for (let x = 0; x < length; x++) {
      const above = (wa * (wide[a * length + x] >> 4)) >> 16, below = (wb * (wide[b * length + x] >> 4)) >> 16;
      data[y * length + x] = (above + below + 2) >> 2;
    }
  }
  return { width, height, channels, data };
}
