// U[point][i][o] = (G g G^T)[point] of the weights [tap][i][o]. With TURNED the filters are turned by 180 degrees, for the input
// gradient, whose products read U the other way round. Taps are counted row by row. See winograd_lines.wgsl and
// winograd_planes.wgsl, which go ahead. Twin of the convolution: engine::cpu::reference::convolution.

struct Dims {
    taps: u32,      // vec4 of a tap: inputs * outputs / 4
    plane: u32,     // vec4 from a point to the next
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;

fn tap(at: u32, index: u32) -> vec4<f32> {
    return weights[at + select(index, 8u - index, TURNED) * dims.taps];
}

fn column(at: u32, s: u32) -> Line {
    return filter_line(Line(tap(at, s), tap(at, s + 3u), tap(at, s + 6u), NONE, NONE, NONE));
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
    write_row(at, 0u, filter_line(Line(a[0], b[0], c[0], NONE, NONE, NONE)));
    write_row(at, 1u, filter_line(Line(a[1], b[1], c[1], NONE, NONE, NONE)));
    write_row(at, 2u, filter_line(Line(a[2], b[2], c[2], NONE, NONE, NONE)));
    write_row(at, 3u, filter_line(Line(a[3], b[3], c[3], NONE, NONE, NONE)));
    if (TILE == 4u) {
        write_row(at, 4u, filter_line(Line(a[4], b[4], c[4], NONE, NONE, NONE)));
        write_row(at, 5u, filter_line(Line(a[5], b[5], c[5], NONE, NONE, NONE)));
    }
}
