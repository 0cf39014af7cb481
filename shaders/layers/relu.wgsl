// ReLU, with 2x2 maximum pooling or without, where no batch normalisation is; and the gradient of a bias.
// z, dz [samples, height, width, channels], y, dy the same or, pooled, [samples, height/2, width/2, channels] (floor);
// channels are padded to four. y = max(0, z); dz = dy where z > 0, pooled only at the first maximum of a window;
// d_bias = sum of dz over all pixels, in two stages as in batch_norm.wgsl.
// Twins: engine::cpu::reference::{relu, max_pool}; needs window.wgsl and pooling.wgsl.

struct Dims {
    height: u32,    // of z
    width: u32,
    quads: u32,     // channels / 4
    chunk: u32,     // pixels that an invocation adds up
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> z: array<Quad>;
@group(0) @binding(2) var<storage, read_write> dz: array<Quad>; // z on entry
@group(0) @binding(3) var<storage, read_write> y: array<Quad>;
@group(0) @binding(3) var<storage, read> dy: array<Quad>;
@group(0) @binding(3) var<storage, read_write> scratch: array<vec4<f32>>; // [chunks][channels]
@group(0) @binding(2) var<storage, read> parts: array<vec4<f32>>; // scratch
@group(0) @binding(3) var<storage, read_write> d_bias: array<vec4<f32>>;

fn pixels() -> u32 {
    return step.samples * dims.height * dims.width;
}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i < pixels() * dims.quads) {
        y[i] = Quad(relu(vec4<f32>(z[i])));
    }
}

@compute @workgroup_size(64)
fn forward_pooled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i >= pooled_pixels() * dims.quads) {
        return;
    }
    let upper = corner(i / dims.quads) + i % dims.quads;
    let lower = upper + dims.width * dims.quads;
    y[i] = Quad(greatest(
        relu(vec4<f32>(z[upper])),
        relu(vec4<f32>(z[upper + dims.quads])),
        relu(vec4<f32>(z[lower])),
        relu(vec4<f32>(z[lower + dims.quads])),
    ));
}

@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i < pixels() * dims.quads) {
        dz[i] = select(Quad(), dy[i], dz[i] > Quad());
    }
}

// An invocation a window, whole or cut.
@compute @workgroup_size(64)
fn backward_pooled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = pool_window(group_index(group, groups) * 64u + local);
    if (!at.inside) {
        return;
    }
    let upper = at.upper;
    let lower = at.lower;
    if (at.right && at.below) {
        let g = route(
            relu(vec4<f32>(dz[upper])),
            relu(vec4<f32>(dz[upper + dims.quads])),
            relu(vec4<f32>(dz[lower])),
            relu(vec4<f32>(dz[lower + dims.quads])),
            vec4<f32>(dy[at.pooled]),
        );
        dz[upper] = Quad(g.p);
        dz[upper + dims.quads] = Quad(g.q);
        dz[lower] = Quad(g.r);
        dz[lower + dims.quads] = Quad(g.s);
    } else {
        dz[upper] = Quad();
        if (at.right) {
            dz[upper + dims.quads] = Quad();
        }
        if (at.below) {
            dz[lower] = Quad();
        }
    }
}

@compute @workgroup_size(64)
fn bias_sums(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    let quad = i % dims.quads;
    let first = i / dims.quads * dims.chunk;
    let last = min(first + dims.chunk, pixels());
    if (first >= last) {
        return;
    }
    var sum = vec4<f32>();
    for (var pixel = first; pixel < last; pixel++) {
        sum += vec4<f32>(z[pixel * dims.quads + quad]);
    }
    scratch[i] = sum;
}

var<workgroup> added: array<vec4<f32>, 64>;

@compute @workgroup_size(64)
fn bias_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let quad = group_index(group, groups);
    if (quad >= dims.quads) {
        return;
    }
    let chunks = (pixels() + dims.chunk - 1u) / dims.chunk;
    var own = vec4<f32>();
    for (var chunk = local; chunk < chunks; chunk += 64u) {
        own += parts[chunk * dims.quads + quad];
    }
    added[local] = own;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if (local < half) {
            added[local] += added[local + half];
        }
        workgroupBarrier();
    }
    if (local == 0u) {
        if (step.accumulate == 1u) {
            d_bias[quad] += added[0];
        } else {
            d_bias[quad] = added[0];
        }
    }
}
