// U[point][i][o] = (G g G^T)[point] of the weights [tap][i][o]. With TURNED the filters are turned by 180 degrees, for the input
// gradient, whose products read U the other way round. Points and taps are counted row by row. See winograd_lines.wgsl, which
// goes ahead. Twin of the convolution: engine::cpu::reference::convolution.

struct Dims {
    taps: u32,      // vec4 of a tap: inputs * outputs / 4
    plane: u32,     // vec4 from a point to the next
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> filters: array<vec4<f32>>;

fn tap(at: u32, index: u32) -> vec4<f32> {
    return weights[at + select(index, 8u - index, TURNED) * dims.taps];
}

fn column(at: u32, s: u32) -> Line {
    return filter_line(Line(tap(at, s), tap(at, s + 3u), tap(at, s + 6u), NONE, NONE, NONE));
}

fn write_row(at: u32, r: u32, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>) {
    let row = filter_line(Line(a, b, c, NONE, NONE, NONE));
    let start = at + r * (TILE + 2u) * dims.plane;
    filters[start] = row[0];
    filters[start + dims.plane] = row[1];
    filters[start + 2u * dims.plane] = row[2];
    filters[start + 3u * dims.plane] = row[3];
    if (TILE == 4u) {
        filters[start + 4u * dims.plane] = row[4];
        filters[start + 5u * dims.plane] = row[5];
    }
}

// An input and four outputs an invocation.
@compute @workgroup_size(64)
fn weight_filter(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = group_index(group, groups) * 64u + local;
    if (at >= dims.taps) {
        return;
    }
    let a = column(at, 0u);
    let b = column(at, 1u);
    let c = column(at, 2u);
    write_row(at, 0u, a[0], b[0], c[0]);
    write_row(at, 1u, a[1], b[1], c[1]);
    write_row(at, 2u, a[2], b[2], c[2]);
    write_row(at, 3u, a[3], b[3], c[3]);
    if (TILE == 4u) {
        write_row(at, 4u, a[4], b[4], c[4]);
        write_row(at, 5u, a[5], b[5], c[5]);
    }
}
