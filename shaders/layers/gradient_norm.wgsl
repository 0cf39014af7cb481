// What clipping multiplies all gradients by, as torch.nn.utils.clip_grad_norm_ does: most / (norm + 1e-6), but 1 at most,
// with the L2 norm of all of them together; twin: engine::cpu::reference::gradient_norm. `squares` adds the squares of PART
// vectors of four a workgroup, in a fixed order, with what scales the loss taken out ahead, so that no square overflows that
// need not. `factor` adds these sums, again in a fixed order, and puts what the optimiser multiplies by into the record.
// Needs scaling.wgsl.

struct Dims {
    count: u32, // squares: vectors of four in `gradient`; factor: partial sums
    first: u32, // squares: index of the first of its partial sums
    most: f32,  // of the norm
    unused: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
// squares
@group(0) @binding(2) var<storage, read> scaling: Scaling;
@group(0) @binding(3) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;
// factor
@group(0) @binding(2) var<storage, read_write> record: Scaling;
@group(0) @binding(3) var<storage, read> partial: array<f32>;

const WIDTH = 256u;
var<workgroup> shared_sums: array<f32, WIDTH>;

// The sum of what the invocations of a workgroup bring, for the first of them.
fn together(own: f32, local: u32) -> f32 {
    shared_sums[local] = own;
    for (var reach = WIDTH / 2u; reach > 0u; reach /= 2u) {
        workgroupBarrier();
        if (local < reach) {
            shared_sums[local] += shared_sums[local + reach];
        }
    }
    return shared_sums[local];
}

@compute @workgroup_size(256)
fn squares(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let part = group_index(group, groups);
    let start = part * PART;
    if (start >= dims.count) {
        return;
    }
    let end = min(start + PART, dims.count);
    var own = 0.0;
    for (var i = start + local; i < end; i += WIDTH) {
        let g = gradient[i] * scaling.inverse;
        own += dot(g, g);
    }
    let sum = together(own, local);
    if (local == 0u) {
        sums[dims.first + part] = sum;
    }
}

@compute @workgroup_size(256)
fn factor(@builtin(local_invocation_index) local: u32) {
    var own = 0.0;
    for (var i = local; i < dims.count; i += WIDTH) {
        own += partial[i];
    }
    let sum = together(own, local);
    if (local == 0u) {
        record.factor = record.inverse * min(1.0, dims.most / (sqrt(sum) + 1e-6));
    }
}
