// The network on a WebGPU device: buffers, programs and calls as the page lists them (engine::gpu::listing), made once. An
// inference writes the input, submits all calls and reads logits and the last convolution's activations back.

const bytesOf = (text) => {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return bytes;
};

// IEEE 754 binary16 as numbers.
const widened = (buffer, offset, count) => {
  if (globalThis.Float16Array) return new Float32Array(new Float16Array(buffer, offset, count));
  return Float32Array.from(new Uint16Array(buffer, offset, count), (bits) => {
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const value = exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction;
    return bits & 0x8000 ? -value : value;
  });
};

// The numbers of each tensor as they lie on the device.
const tensorsOf = (page, text) => {
  const bytes = bytesOf(text);
  return page.weights.map(({ offset, half }, index) => {
    const count = page.listing.tensors[index].range.bytes / 4;
    return half ? widened(bytes.buffer, offset, count) : new Float32Array(bytes.buffer, offset, count);
  });
};

class Network {
  // Rejects with a sentence where that cannot be.
  static async open({ listing }, tensors) {
    if (!navigator.gpu) throw new Error("This browser has no WebGPU.");
    const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
    if (!adapter) throw new Error("This browser has WebGPU but no graphics card for it.");
    const device = await adapter.requestDevice();
    const network = new Network();
    Object.assign(network, { listing, device, adapter: adapter.info });
    device.addEventListener("uncapturederror", (event) => { network.wrong ??= event.error.message; });
    device.lost.then(({ message }) => { network.wrong ??= `The graphics device was lost. ${message}`; });
    const { COPY_DST, COPY_SRC, MAP_READ, STORAGE, UNIFORM } = GPUBufferUsage;
    network.buffers = listing.buffers.map((size) => device.createBuffer({ size, usage: STORAGE | COPY_DST | COPY_SRC }));
    tensors.forEach((numbers, index) => {
      const { buffer, offset } = listing.tensors[index].range;
      device.queue.writeBuffer(network.buffers[buffer], offset, numbers);
    });
    const uniform = (words) => {
      const buffer = device.createBuffer({ size: 4 * words.length, usage: UNIFORM | COPY_DST });
      device.queue.writeBuffer(buffer, 0, Uint32Array.from(words));
      return { buffer };
    };
    const programs = await Promise.all(listing.shaders.map((shader) => Network.program(device, shader)));
    const step = uniform(listing.step);
    network.calls = listing.calls.map(({ shader, dims, storages, groups }) => {
      const parts = storages.map(({ buffer, offset, bytes }) => ({ buffer: network.buffers[buffer], offset, size: bytes }));
      const entries = [uniform(dims), step, ...parts].map((resource, binding) => ({ binding, resource }));
      const { pipeline, layout } = programs[shader];
      return { pipeline, bindings: device.createBindGroup({ layout, entries }), groups };
    });
    const staging = (size) => device.createBuffer({ size, usage: MAP_READ | COPY_DST });
    network.staging = [listing.features.range, listing.logits].map((range) => staging(range.bytes));
    if (network.wrong) throw new Error(network.wrong);
    return network;
  }

  static async program(device, { entry, writes, text }) {
    const storages = writes.map((write) => (write ? "storage" : "read-only-storage"));
    const entries = ["uniform", "uniform", ...storages]
      .map((type, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } }));
    const layout = device.createBindGroupLayout({ entries });
    const module = device.createShaderModule({ code: text });
    const pipeline = await device.createComputePipelineAsync({
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: entry },
    });
    return { pipeline, layout };
  }

  // Logits and activations [height][width][channels padded to four]; one inference at a time.
  async infer(input) {
    const { device, listing, buffers, calls, staging } = this;
    const begun = performance.now();
    device.queue.writeBuffer(buffers[listing.input.buffer], listing.input.offset, input);
    const encoder = device.createCommandEncoder();
    const run = (some) => {
      const pass = encoder.beginComputePass();
      for (const { pipeline, bindings, groups } of some) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, bindings);
        pass.dispatchWorkgroups(...groups);
      }
      pass.end();
    };
    const keep = ({ buffer, offset, bytes }, to) => encoder.copyBufferToBuffer(buffers[buffer], offset, to, 0, bytes);
    run(calls.slice(0, listing.features.after));
    keep(listing.features.range, staging[0]);
    run(calls.slice(listing.features.after));
    keep(listing.logits, staging[1]);
    device.queue.submit([encoder.finish()]);
    await Promise.all(staging.map((buffer) => buffer.mapAsync(GPUMapMode.READ)));
    const [features, logits] = staging.map((buffer) => new Float32Array(buffer.getMappedRange().slice(0)));
    staging.forEach((buffer) => buffer.unmap());
    if (this.wrong) throw new Error(this.wrong);
    return { features, logits, milliseconds: performance.now() - begun };
  }
}
