// rounded = parameter in f16: the copy that products read, for parameters that come from a file and not from an update
// (optimizer_scaled.wgsl). `count` vectors of four, an invocation a vector.

struct Dims {
    count: u32,
    unused_0: u32,
    unused_1: u32,
    unused_2: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> parameter: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> rounded: array<Quad>;

@compute @workgroup_size(64)
fn round_all(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i < dims.count) {
        rounded[i] = Quad(parameter[i]);
    }
}
