// sum[i] = partials[0][i] + partials[1][i] + .. in this order, [+ bias] [ReLU] [+ sum[i], where step.accumulate == 1].
// Partial sums of a product whose depth was split: of a weight gradient over slabs of pixels (ACCUMULATE), or of an output
// over parts of its depth (BIAS where it has one, RELU where one follows). One invocation a vec4. Output is what `sum` has
// in memory. Needs window.wgsl.

struct Dims {
    fixed: u32,      // vec4 of the result, if they do not depend on the samples; else 0
    a_sample: u32,   // vec4 of the result a sample
    slices: u32,     // partial sums, if they do not depend on the samples; else 0
    pixels: u32,     // a sample, for slabs
    slab: u32,       // pixels of a slab
    columns4: u32,   // vec4 of bias
    unused: vec2<u32>,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> sum: array<Output>;

@compute @workgroup_size(64)
fn reduce(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    let count = dims.fixed + dims.a_sample * step.samples;
    if (i >= count) {
        return;
    }
    var slices = dims.slices;
    if (slices == 0u) {
        slices = (step.samples * dims.pixels + dims.slab - 1u) / dims.slab;
    }
    var total = partials[i];
    for (var s = 1u; s < slices; s++) {
        total += partials[s * count + i];
    }
    if (BIAS) {
        total += bias[i % dims.columns4];
    }
    if (ACCUMULATE) {
        if (step.accumulate == 1u) {
            total += vec4<f32>(sum[i]);
        }
    }
    if (RELU) {
        total = relu(total);
    }
    sum[i] = Output(total);
}
