// U[point][i][o] = (G g G^T)[point] of the weights [tap][i][o] (`filter_forward`); for the input gradient, which is the
// forward pass of dy, U[point][o][i] of the filters turned by 180 degrees (`filter_turned`). Points and taps are counted row
// by row. See winograd_lines.wgsl, which goes ahead. Twin of the convolution: engine::cpu::reference::convolution.

// Of the product that the filters are for.
struct Dims {
    inputs4: u32,   // vec4
    outputs4: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> filters: array<vec4<f32>>;

fn column(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>) -> Line {
    return filter_line(Line(a, b, c, NONE, NONE, NONE));
}

fn write_row(start: u32, plane: u32, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>) {
    let row = filter_line(Line(a, b, c, NONE, NONE, NONE));
    filters[start] = row[0];
    filters[start + plane] = row[1];
    filters[start + 2u * plane] = row[2];
    filters[start + 3u * plane] = row[3];
    if (TILE == 4u) {
        filters[start + 4u * plane] = row[4];
        filters[start + 5u * plane] = row[5];
    }
}

// One filter for four channels, by its columns of taps.
fn transform(start: u32, plane: u32, left: Line, middle: Line, right: Line) {
    let line = (TILE + 2u) * plane;
    write_row(start, plane, left[0], middle[0], right[0]);
    write_row(start + line, plane, left[1], middle[1], right[1]);
    write_row(start + 2u * line, plane, left[2], middle[2], right[2]);
    write_row(start + 3u * line, plane, left[3], middle[3], right[3]);
    if (TILE == 4u) {
        write_row(start + 4u * line, plane, left[4], middle[4], right[4]);
        write_row(start + 5u * line, plane, left[5], middle[5], right[5]);
    }
}

// An input and four outputs an invocation.
@compute @workgroup_size(64)
fn filter_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = group_index(group, groups) * 64u + local;
    let plane = 4u * dims.inputs4 * dims.outputs4;
    if (at >= plane) {
        return;
    }
    let left = column(weights[at], weights[at + 3u * plane], weights[at + 6u * plane]);
    let middle = column(weights[at + plane], weights[at + 4u * plane], weights[at + 7u * plane]);
    let right = column(weights[at + 2u * plane], weights[at + 5u * plane], weights[at + 8u * plane]);
    transform(at, plane, left, middle, right);
}

// A tap of four inputs and four outputs; column j holds the inputs of output j.
fn tap(index: u32, i: u32, o: u32) -> mat4x4<f32> {
    let at = (index * 4u * dims.outputs4 + 4u * i) * dims.inputs4 + o;
    return transpose(mat4x4<f32>(
        weights[at],
        weights[at + dims.inputs4],
        weights[at + 2u * dims.inputs4],
        weights[at + 3u * dims.inputs4],
    ));
}

// Four outputs o and four inputs i of the layer an invocation, so that whole vectors are read and written. The layer's
// inputs are the product's outputs.
@compute @workgroup_size(64)
fn filter_turned(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = group_index(group, groups) * 64u + local;
    if (at >= dims.outputs4 * dims.inputs4) {
        return;
    }
    let i = at % dims.outputs4;
    let o = at / dims.outputs4;
    let plane = 4u * dims.outputs4 * dims.inputs4;
    let start = 4u * o * dims.outputs4 + i;
    // Taps of the turned filter, row by row.
    let a = tap(8u, i, o);
    let b = tap(7u, i, o);
    let c = tap(6u, i, o);
    let d = tap(5u, i, o);
    let e = tap(4u, i, o);
    let f = tap(3u, i, o);
    let g = tap(2u, i, o);
    let h = tap(1u, i, o);
    let k = tap(0u, i, o);
    transform(start, plane, column(a[0], d[0], g[0]), column(b[0], e[0], h[0]), column(c[0], f[0], k[0]));
    let start1 = start + dims.outputs4;
    transform(start1, plane, column(a[1], d[1], g[1]), column(b[1], e[1], h[1]), column(c[1], f[1], k[1]));
    let start2 = start1 + dims.outputs4;
    transform(start2, plane, column(a[2], d[2], g[2]), column(b[2], e[2], h[2]), column(c[2], f[2], k[2]));
    let start3 = start2 + dims.outputs4;
    transform(start3, plane, column(a[3], d[3], g[3]), column(b[3], e[3], h[3]), column(c[3], f[3], k[3]));
}
