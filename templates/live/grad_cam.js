// Grad-CAM (Selvaraju et al. 2017) as inference::grad_cam has it: average pooling and linear layers with ReLUs between them,
// forward and back for one class, then the last convolution's activations weighed by their mean gradients.

class GradCam {
  constructor({ head, listing }, tensors) {
    this.size = head.size;
    this.shape = listing.features.shape;
    this.layers = head.layers.map(({ weight, inputs, outputs }) => ({
      inputs, outputs, weight: tensors[weight], bias: tensors[weight + 1], columns: listing.tensors[weight].columns,
    }));
  }

  // Inputs first and end under output `i` of `inputs`.
  window(i, inputs) {
    return [Math.floor((i * inputs) / this.size), Math.ceil(((i + 1) * inputs) / this.size)];
  }

  // Visits each pooled place: its index, and the activations that it is the mean of.
  places(visit) {
    const { height, width, channels } = this.shape;
    const row = 4 * Math.ceil(channels / 4);
    for (let i = 0; i < this.size; i += 1) {
      for (let j = 0; j < this.size; j += 1) {
        const [top, bottom] = this.window(i, height);
        const [left, right] = this.window(j, width);
        const pixels = [];
        for (let y = top; y < bottom; y += 1) for (let x = left; x < right; x += 1) pixels.push((y * width + x) * row);
        for (let channel = 0; channel < channels; channel += 1) {
          visit((channel * this.size + i) * this.size + j, channel, pixels);
        }
      }
    }
  }

  // Rows and columns of the map of `place`, a class, 0 and above.
  map(features, place) {
    const { height, width, channels } = this.shape;
    const pooled = new Float64Array(channels * this.size * this.size);
    this.places((at, channel, pixels) => {
      for (const pixel of pixels) pooled[at] += features[pixel + channel] / pixels.length;
    });
    const values = [pooled];
    this.layers.slice(0, -1).forEach(({ inputs, outputs, weight, bias, columns }, index) => {
      const y = Float64Array.from(bias.subarray(0, outputs));
      const x = values[index];
      for (let i = 0; i < inputs; i += 1) {
        if (x[i]) for (let o = 0; o < outputs; o += 1) y[o] += x[i] * weight[i * columns + o];
      }
      values.push(y.map((v) => Math.max(v, 0)));
    });
    let dy = new Float64Array(this.layers.at(-1).outputs);
    dy[place] = 1;
    for (let index = this.layers.length - 1; index >= 0; index -= 1) {
      const { inputs, outputs, weight, columns } = this.layers[index];
      const dx = new Float64Array(inputs);
      for (let i = 0; i < inputs; i += 1) {
        if (index > 0 && values[index][i] <= 0) continue;
        let sum = 0;
        for (let o = 0; o < outputs; o += 1) sum += weight[i * columns + o] * dy[o];
        dx[i] = sum;
      }
      dy = dx;
    }
    // The mean over all pixels of a channel's gradient: each pooled place hands its own to its pixels in equal parts.
    const mean = new Float64Array(channels);
    this.places((at, channel) => { mean[channel] += dy[at] / (height * width); });
    const row = 4 * Math.ceil(channels / 4);
    return Array.from({ length: height * width }, (_, pixel) => {
      let sum = 0;
      for (let channel = 0; channel < channels; channel += 1) sum += mean[channel] * features[pixel * row + channel];
      return Math.max(sum, 0);
    });
  }
}
