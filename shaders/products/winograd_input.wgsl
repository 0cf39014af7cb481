// V[point][tile][i] = (B^T d B)[point], where d is the WINDOW x WINDOW window of x [n, h, w, i] that starts one row and one
// column ahead of the tile's outputs, with zeros outside of the map. See winograd_lines.wgsl,
// winograd_tiles.wgsl and winograd_planes.wgsl, which go ahead. Twin of the convolution: engine::cpu::reference::convolution.

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;

fn pixel(at: Place, r: u32, s: u32) -> vec4<f32> {
    // One less than nothing is beyond every map.
    let row = at.row + r - 1u;
    let column = at.column + s - 1u;
    if (r < TILE + 2u && s < TILE + 2u && row < dims.height && column < dims.width) {
        return x[((at.sample * dims.height + row) * dims.width + column) * dims.channels + at.channel];
    }
    return NONE;
}

fn column(at: Place, s: u32) -> Line {
    return input_line(Line(
        pixel(at, 0u, s), pixel(at, 1u, s), pixel(at, 2u, s), pixel(at, 3u, s), pixel(at, 4u, s), pixel(at, 5u, s),
    ));
}

@compute @workgroup_size(64)
fn input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = place(group_index(group, groups) * 64u + local);
    if (!at.inside) {
        return;
    }
    let d = Lines(column(at, 0u), column(at, 1u), column(at, 2u), column(at, 3u), column(at, 4u), column(at, 5u));
    write_row(at.value, 0u, input_line(Line(d[0][0], d[1][0], d[2][0], d[3][0], d[4][0], d[5][0])));
    write_row(at.value, 1u, input_line(Line(d[0][1], d[1][1], d[2][1], d[3][1], d[4][1], d[5][1])));
    write_row(at.value, 2u, input_line(Line(d[0][2], d[1][2], d[2][2], d[3][2], d[4][2], d[5][2])));
    write_row(at.value, 3u, input_line(Line(d[0][3], d[1][3], d[2][3], d[3][3], d[4][3], d[5][3])));
    if (TILE == 4u) {
        write_row(at.value, 4u, input_line(Line(d[0][4], d[1][4], d[2][4], d[3][4], d[4][4], d[5][4])));
        write_row(at.value, 5u, input_line(Line(d[0][5], d[1][5], d[2][5], d[3][5], d[4][5], d[5][5])));
    }
}
