// The end of the weight gradient: `sum` adds the parts [part][point][i][o] of dU to the first of them, in their order;
// `weight` writes dweights [tap][i][o] = G^T dU G, or adds it from the second slab of samples on and where the step
// accumulates. Points and taps are counted row by row. See winograd_lines.wgsl, which goes ahead. Twin:
// engine::cpu::reference::convolution.

struct Dims {
    inputs4: u32,   // vec4
    outputs4: u32,
    tiles: u32,     // of a sample
    first: u32,     // the slab's first sample
    samples: u32,   // most samples of the slab
    part: u32,      // tiles of a part of dU
    plane_a: u32,   // of the product
    plane_b: u32,
    filters: u32,   // vec4 from a point to the next in dU
    unused0: u32,
    unused1: u32,
    unused2: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read_write> sums: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dweights: array<vec4<f32>>;

@compute @workgroup_size(64)
fn sum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = group_index(group, groups) * 64u + local;
    let points = (TILE + 2u) * (TILE + 2u) * dims.filters;
    if (at >= points || dims.first >= step.samples) {
        return;
    }
    let tiles = min(dims.samples, step.samples - dims.first) * dims.tiles;
    let parts = (tiles + dims.part - 1u) / dims.part;
    var total = sums[at];
    for (var part = 1u; part < parts; part++) {
        total += sums[at + part * points];
    }
    sums[at] = total;
}

fn value(at: u32, r: u32, s: u32) -> vec4<f32> {
    if (r < TILE + 2u && s < TILE + 2u) {
        return sums[at + (r * (TILE + 2u) + s) * dims.filters];
    }
    return NONE;
}

fn column(at: u32, s: u32) -> Line {
    return filter_gradient_line(Line(
        value(at, 0u, s), value(at, 1u, s), value(at, 2u, s), value(at, 3u, s), value(at, 4u, s), value(at, 5u, s),
    ));
}

fn write_row(at: u32, taps: u32, values: Line) {
    let row = filter_gradient_line(values);
    if (dims.first > 0u || step.accumulate == 1u) {
        dweights[at] += row[0];
        dweights[at + taps] += row[1];
        dweights[at + 2u * taps] += row[2];
    } else {
        dweights[at] = row[0];
        dweights[at + taps] = row[1];
        dweights[at + 2u * taps] = row[2];
    }
}

// An input and four outputs an invocation.
@compute @workgroup_size(64)
fn weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = group_index(group, groups) * 64u + local;
    let taps = 4u * dims.inputs4 * dims.outputs4;
    if (at >= taps || dims.first >= step.samples) {
        return;
    }
    let a = column(at, 0u);
    let b = column(at, 1u);
    let c = column(at, 2u);
    let d = column(at, 3u);
    let e = column(at, 4u);
    let f = column(at, 5u);
    write_row(at, taps, Line(a[0], b[0], c[0], d[0], e[0], f[0]));
    write_row(at + 3u * taps, taps, Line(a[1], b[1], c[1], d[1], e[1], f[1]));
    write_row(at + 6u * taps, taps, Line(a[2], b[2], c[2], d[2], e[2], f[2]));
}
