// What the adapter can do at most, to hold kernels against: fused multiply-adds that wait for no memory, and a copy that
// does nothing else. No twin: nothing is computed that anybody needs.
// `fma`: ROUNDS x 16 x vec4 multiply-adds an invocation, 16 independent chains to hide their latency.
// `copy`: each invocation copies one vec4.

struct Dims {
    count: u32,
    factor: f32,
    unused0: u32,
    unused1: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4<f32>>;

@compute @workgroup_size(64)
fn multiply(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    var sums: array<vec4<f32>, 16>;
    for (var k = 0u; k < 16u; k++) {
        sums[k] = vec4<f32>(f32(k), f32(local), 1.0, 2.0);
    }
    let a = vec4<f32>(dims.factor);
    for (var round = 0u; round < ROUNDS; round++) {
        for (var k = 0u; k < 16u; k++) {
            sums[k] = fma(sums[k], a, a);
        }
    }
    var sum = vec4<f32>();
    for (var k = 0u; k < 16u; k++) {
        sum += sums[k];
    }
    // Never true, but the compiler cannot know: the sums have to be computed.
    if (sum.x == 12345.678) {
        output[i % dims.count] = sum;
    }
}

@compute @workgroup_size(64)
fn copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i < dims.count) {
        output[i] = source[i];
    }
}
