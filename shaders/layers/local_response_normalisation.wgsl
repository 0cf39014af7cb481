// Local response normalisation across channels: y[c] = x[c] * d[c]^-3/4 with d[c] = 2 + 1e-4 * sum of x[j]^2 over the
// five channels j around c; and dx[c] = dy[c] * d[c]^-3/4 - 1.5e-4 * x[c] * sum over those j of dy[j] x[j] d[j]^-7/4.
// x, y, dy, dx [samples * pixels, channels padded to four]; the padding is zero, as what lies beyond the channels is.
// Source: Krizhevsky, Sutskever & Hinton 2012, section 3.3. Twin: engine::cpu::reference::local_response_normalisation.

const K: f32 = 2.0;
const ALPHA: f32 = 1e-4;
const TWICE_ALPHA_BETA: f32 = 1.5e-4;

struct Dims {
    pixels: u32,    // of a sample
    quads: u32,     // channels / 4
    unused_0: u32,
    unused_1: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> x: array<Quad>;
@group(0) @binding(3) var<storage, read_write> y: array<Quad>;
@group(0) @binding(3) var<storage, read> dy: array<Quad>;
@group(0) @binding(4) var<storage, read_write> dx: array<Quad>;

// Of four channels, from the squares of those around them: l2, l1 are two channels and one channel before, and so on.
fn denominators(l2: vec4<f32>, l1: vec4<f32>, at: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>) -> vec4<f32> {
    return K + ALPHA * (l2 + l1 + at + r1 + r2);
}

// d^-3/4.
fn power(d: vec4<f32>) -> vec4<f32> {
    return 1.0 / sqrt(d * sqrt(d));
}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i >= step.samples * dims.pixels * dims.quads) {
        return;
    }
    let quad = i % dims.quads;
    var before = vec4<f32>();
    var after = vec4<f32>();
    if (quad > 0u) {
        before = vec4<f32>(x[i - 1u]);
    }
    if (quad + 1u < dims.quads) {
        after = vec4<f32>(x[i + 1u]);
    }
    let v = vec4<f32>(x[i]);
    let a = before * before;
    let b = v * v;
    let c = after * after;
    y[i] = Quad(v * power(denominators(
        vec4<f32>(a.zw, b.xy), vec4<f32>(a.w, b.xyz), b, vec4<f32>(b.yzw, c.x), vec4<f32>(b.zw, c.xy))));
}

// The products dy x d^-7/4 reach two channels further than the four of an invocation, and their d two more.
@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i >= step.samples * dims.pixels * dims.quads) {
        return;
    }
    let quad = i % dims.quads;
    var before = vec4<f32>();
    var after = vec4<f32>();
    var dy_before = vec4<f32>();
    var dy_after = vec4<f32>();
    if (quad > 0u) {
        before = vec4<f32>(x[i - 1u]);
        dy_before = vec4<f32>(dy[i - 1u]);
    }
    if (quad + 1u < dims.quads) {
        after = vec4<f32>(x[i + 1u]);
        dy_after = vec4<f32>(dy[i + 1u]);
    }
    let v = vec4<f32>(x[i]);
    let d = vec4<f32>(dy[i]);
    let a = before * before;
    let b = v * v;
    let c = after * after;
    let here = denominators(
        vec4<f32>(a.zw, b.xy), vec4<f32>(a.w, b.xyz), b, vec4<f32>(b.yzw, c.x), vec4<f32>(b.zw, c.xy));
    let power_here = power(here);
    let product = d * v * power_here / here;
    // The last two channels of `before` and the first two of `after`.
    let beside = denominators(
        vec4<f32>(a.xy, b.zw),
        vec4<f32>(a.yz, b.w, c.x),
        vec4<f32>(a.zw, c.xy),
        vec4<f32>(a.w, b.x, c.yz),
        vec4<f32>(b.xy, c.zw),
    );
    let product_beside = vec4<f32>(dy_before.zw * before.zw, dy_after.xy * after.xy) * power(beside) / beside;
    let through = vec4<f32>(product_beside.xy, product.xy) + vec4<f32>(product_beside.y, product.xyz) + product
        + vec4<f32>(product.yzw, product_beside.z) + vec4<f32>(product.zw, product_beside.zw);
    dx[i] = Quad(d * power_here - TWICE_ALPHA_BETA * v * through);
}
