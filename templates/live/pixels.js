// From image files to what the network is given, as `vggkit predict --image` does it: the centred square, resized with a
// triangle filter (engine::resample), normalised, [size][size][4] with a fourth channel of 0.

// For each output position its first input position and the weights of the inputs from there on.
const windows = (input, output) => {
  const scale = input / output;
  const reach = Math.max(scale, 1);
  return Array.from({ length: output }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const start = Math.trunc(Math.max(centre - reach + 0.5, 0));
    const end = Math.min(Math.trunc(centre + reach + 0.5), input);
    const weights = [];
    for (let j = start; j < end; j += 1) weights.push(Math.max(1 - Math.abs((j + 0.5 - centre) / reach), 0));
    const sum = weights.reduce((a, b) => a + b);
    return { start, weights: weights.map((weight) => weight / sum) };
  });
};

// The centred square of a file or a picture, over white, as a canvas.
const squareOf = async (source) => {
  const bitmap = await createImageBitmap(source, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const side = Math.min(bitmap.width, bitmap.height);
  const canvas = new OffscreenCanvas(side, side);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, side, side);
  context.drawImage(bitmap, -Math.floor((bitmap.width - side) / 2), -Math.floor((bitmap.height - side) / 2));
  bitmap.close();
  return canvas;
};

// Sums of rows, then of columns. `pixels` are RGBA bytes of a square.
const resized = (pixels, side, size) => {
  const table = windows(side, size);
  const narrow = new Float64Array(side * size * 3);
  for (let row = 0; row < side; row += 1) {
    table.forEach(({ start, weights }, column) => {
      for (let channel = 0; channel < 3; channel += 1) {
        let sum = 0;
        weights.forEach((weight, k) => { sum += weight * pixels[4 * (row * side + start + k) + channel]; });
        narrow[3 * (row * size + column) + channel] = sum;
      }
    });
  }
  const small = new Float64Array(size * size * 3);
  table.forEach(({ start, weights }, row) => {
    for (let at = 0; at < 3 * size; at += 1) {
      let sum = 0;
      weights.forEach((weight, k) => { sum += weight * narrow[3 * size * (start + k) + at]; });
      small[3 * size * row + at] = sum;
    }
  });
  return small;
};

// What the network is given of a square.
const normalised = (canvas, { size, mean, std }) => {
  const side = canvas.width;
  const pixels = canvas.getContext("2d").getImageData(0, 0, side, side).data;
  const small = resized(pixels, side, size);
  const input = new Float32Array(size * size * 4);
  for (let pixel = 0; pixel < size * size; pixel += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      input[4 * pixel + channel] = (small[3 * pixel + channel] / 255 - mean[channel]) / std[channel];
    }
  }
  return input;
};
