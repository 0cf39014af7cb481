// ReLU, then inverted dropout, of a hidden linear layer, in place; and the gradient ahead of them.
// y, dy [samples, features padded to four]. y = max(0, y) / (1 - probability) where the mask keeps an element, else 0;
// dy = dy / (1 - probability) where the result y is positive, else 0.
// An element is kept where its word is not below `threshold`. Element e counts over the whole batch, [batch, features]
// without padding; its word is number e % 4 of Philox4x32-10 (Salmon et al. 2011) with counter
// (e / 4, 0, steps done, layer << 16 ^ steps done >> 32) and the seed as key.
// Twins: engine::random::DropoutMask, engine::cpu::layers::linear; needs window.wgsl.

struct Dims {
    features: u32,
    quads: u32,         // features / 4, rounded up
    layer: u32,
    threshold: u32,     // probability * 2^32; 0 draws nothing
    scale: f32,         // 1 / (1 - probability)
    unused_0: u32,
    unused_1: u32,
    unused_2: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read_write> y: array<Quad>;
@group(0) @binding(2) var<storage, read> result: array<Quad>; // y
@group(0) @binding(3) var<storage, read_write> dy: array<Quad>;

// High word of a 64-bit product, from products of halves that fit 32 bits.
fn high_product(a: u32, b: u32) -> u32 {
    let low_a = a & 0xffffu;
    let high_a = a >> 16u;
    let low_b = b & 0xffffu;
    let high_b = b >> 16u;
    let middle = high_a * low_b + ((low_a * low_b) >> 16u);
    let other = low_a * high_b + (middle & 0xffffu);
    return high_a * high_b + (middle >> 16u) + (other >> 16u);
}

fn words(block: u32) -> vec4<u32> {
    var counter = vec4<u32>(block, 0u, step.done.x, (dims.layer << 16u) ^ step.done.y);
    var key = step.seed;
    for (var round = 0u; round < 10u; round++) {
        let high_0 = high_product(0xd2511f53u, counter.x);
        let low_0 = 0xd2511f53u * counter.x;
        let high_1 = high_product(0xcd9e8d57u, counter.z);
        let low_1 = 0xcd9e8d57u * counter.z;
        counter = vec4<u32>(high_1 ^ counter.y ^ key.x, low_1, high_0 ^ counter.w ^ key.y, low_0);
        key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return counter;
}

// The words of four elements from `element` on, which need not begin a block.
fn words_from(element: u32) -> vec4<u32> {
    let block = element / 4u;
    let w = words(block);
    let skipped = element % 4u;
    if (skipped == 0u) {
        return w;
    }
    let next = words(block + 1u);
    if (skipped == 1u) {
        return vec4<u32>(w.yzw, next.x);
    }
    if (skipped == 2u) {
        return vec4<u32>(w.zw, next.xy);
    }
    return vec4<u32>(w.w, next.xyz);
}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i >= step.samples * dims.quads) {
        return;
    }
    let v = relu(vec4<f32>(y[i]));
    let sample = i / dims.quads;
    let element = (step.first + sample) * dims.features + 4u * (i % dims.quads);
    // Words of padding are those of other elements; what they keep or drop is 0.
    let kept = words_from(element) >= vec4<u32>(dims.threshold);
    y[i] = Quad(select(vec4<f32>(), v * dims.scale, kept));
}

@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i < step.samples * dims.quads) {
        dy[i] = select(Quad(), Quad(vec4<f32>(dy[i]) * dims.scale), result[i] > Quad());
    }
}
