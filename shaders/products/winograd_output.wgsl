// y [n, h, w, o] = A^T m A + bias, where m are the tile's products M[point][tile][o]; what lies beyond the map is dropped.
// Without BIAS (the input gradient) nothing is added. Points are counted row by row. See winograd_lines.wgsl and
// winograd_tiles.wgsl, which go ahead. Twin of the convolution: engine::cpu::reference::convolution.

@group(0) @binding(2) var<storage, read> planes: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

fn product(at: Place, r: u32, s: u32) -> vec4<f32> {
    if (r < TILE + 2u && s < TILE + 2u) {
        return planes[at.value + (r * (TILE + 2u) + s) * dims.plane];
    }
    return NONE;
}

fn column(at: Place, s: u32) -> Line {
    return output_line(Line(
        product(at, 0u, s), product(at, 1u, s), product(at, 2u, s),
        product(at, 3u, s), product(at, 4u, s), product(at, 5u, s),
    ));
}

fn write(at: Place, r: u32, s: u32, value: vec4<f32>) {
    let row = at.row + r;
    let column = at.column + s;
    if (row < dims.height && column < dims.width) {
        y[((at.sample * dims.height + row) * dims.width + column) * dims.channels + at.channel] = value;
    }
}

fn write_row(at: Place, r: u32, offset: vec4<f32>, values: Line) {
    let row = output_line(values);
    write(at, r, 0u, row[0] + offset);
    write(at, r, 1u, row[1] + offset);
    if (TILE == 4u) {
        write(at, r, 2u, row[2] + offset);
        write(at, r, 3u, row[3] + offset);
    }
}

@compute @workgroup_size(64)
fn output(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = place(group_index(group, groups) * 64u + local);
    if (!at.inside) {
        return;
    }
    var offset = NONE;
    if (BIAS) {
        offset = bias[at.channel];
    }
    let m = Lines(column(at, 0u), column(at, 1u), column(at, 2u), column(at, 3u), column(at, 4u), column(at, 5u));
    write_row(at, 0u, offset, Line(m[0][0], m[1][0], m[2][0], m[3][0], m[4][0], m[5][0]));
    write_row(at, 1u, offset, Line(m[0][1], m[1][1], m[2][1], m[3][1], m[4][1], m[5][1]));
    if (TILE == 4u) {
        write_row(at, 2u, offset, Line(m[0][2], m[1][2], m[2][2], m[3][2], m[4][2], m[5][2]));
        write_row(at, 3u, offset, Line(m[0][3], m[1][3], m[2][3], m[3][3], m[4][3], m[5][3]));
    }
}
