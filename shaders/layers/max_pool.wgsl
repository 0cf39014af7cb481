// Maximum over 2x2 windows with stride 2, where no ReLU goes right before; an odd last row or column is dropped.
// x, dx [samples, height, width, channels], y, dy [samples, height/2, width/2, channels] (floor), channels padded to four.
// The first of equal values in row-major order counts, and a NaN wins. Twin: engine::cpu::reference::max_pool; needs
// pooling.wgsl.

struct Dims {
    height: u32,    // of x
    width: u32,
    quads: u32,     // channels / 4
    unused: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> x: array<Quad>;
@group(0) @binding(3) var<storage, read_write> y: array<Quad>;
@group(0) @binding(3) var<storage, read> dy: array<Quad>;
@group(0) @binding(4) var<storage, read_write> dx: array<Quad>;

// Whether b takes a's place. As bits: compilers may take it that no number is a NaN.
fn beats(b: vec4<f32>, a: vec4<f32>) -> vec4<bool> {
    let nan_b = (bitcast<vec4<u32>>(b) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
    let nan_a = (bitcast<vec4<u32>>(a) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
    return nan_b | (!nan_a & (b > a));
}

@compute @workgroup_size(64)
fn forward(
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
    let q = vec4<f32>(x[upper + dims.quads]);
    let r = vec4<f32>(x[lower]);
    let s = vec4<f32>(x[lower + dims.quads]);
    var best = vec4<f32>(x[upper]);
    best = select(best, q, beats(q, best));
    best = select(best, r, beats(r, best));
    best = select(best, s, beats(s, best));
    y[i] = Quad(best);
}

// An invocation a window, whole or cut.
@compute @workgroup_size(64)
fn backward(
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
    let none = Quad();
    if (at.right && at.below) {
        let d = dy[at.pooled];
        let q = vec4<f32>(x[upper + dims.quads]);
        let r = vec4<f32>(x[lower]);
        let s = vec4<f32>(x[lower + dims.quads]);
        var best = vec4<f32>(x[upper]);
        let second = beats(q, best);
        best = select(best, q, second);
        let third = beats(r, best);
        best = select(best, r, third);
        let fourth = beats(s, best);
        dx[upper] = select(d, none, second | third | fourth);
        dx[upper + dims.quads] = select(none, d, second & !third & !fourth);
        dx[lower] = select(none, d, third & !fourth);
        dx[lower + dims.quads] = select(none, d, fourth);
    } else {
        dx[upper] = none;
        if (at.right) {
            dx[upper + dims.quads] = none;
        }
        if (at.below) {
            dx[lower] = none;
        }
    }
}
