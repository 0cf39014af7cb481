// V[point][tile][i] = (B^T d B)[point], where d is the WINDOW x WINDOW window of x [n, h, w, i] that starts one row and one
// column ahead of the tile's outputs, with zeros outside of the map. Points are counted row by row. See winograd_lines.wgsl
// and winograd_tiles.wgsl, which go ahead. Twin of the convolution: engine::cpu::reference::convolution.

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> planes: array<vec4<f32>>;

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

fn write_row(at: Place, r: u32, values: Line) {
    let row = input_line(values);
    let start = at.value + r * (TILE + 2u) * dims.plane;
    planes[start] = row[0];
    planes[start + dims.plane] = row[1];
    planes[start + 2u * dims.plane] = row[2];
    planes[start + 3u * dims.plane] = row[3];
    if (TILE == 4u) {
        planes[start + 4u * dims.plane] = row[4];
        planes[start + 5u * dims.plane] = row[5];
    }
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
    write_row(at, 0u, Line(d[0][0], d[1][0], d[2][0], d[3][0], d[4][0], d[5][0]));
    write_row(at, 1u, Line(d[0][1], d[1][1], d[2][1], d[3][1], d[4][1], d[5][1]));
    write_row(at, 2u, Line(d[0][2], d[1][2], d[2][2], d[3][2], d[4][2], d[5][2]));
    write_row(at, 3u, Line(d[0][3], d[1][3], d[2][3], d[3][3], d[4][3], d[5][3]));
    if (TILE == 4u) {
        write_row(at, 4u, Line(d[0][4], d[1][4], d[2][4], d[3][4], d[4][4], d[5][4]));
        write_row(at, 5u, Line(d[0][5], d[1][5], d[2][5], d[3][5], d[4][5], d[5][5]));
    }
}
