// D[point][tile][o] = (A dY A^T)[point], where dY is the tile's TILE x TILE part of dy [n, h, w, o], with zeros outside of
// the map. See winograd_lines.wgsl, winograd_tiles.wgsl and winograd_planes.wgsl, which go ahead. Twin of the convolution's
// weight gradient: engine::cpu::reference::convolution.

@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;

fn pixel(at: Place, r: u32, s: u32) -> vec4<f32> {
    let row = at.row + r;
    let column = at.column + s;
    if (r < TILE && s < TILE && row < dims.height && column < dims.width) {
        return dy[((at.sample * dims.height + row) * dims.width + column) * dims.channels + at.channel];
    }
    return NONE;
}

fn column(at: Place, s: u32) -> Line {
    return gradient_line(Line(pixel(at, 0u, s), pixel(at, 1u, s), pixel(at, 2u, s), pixel(at, 3u, s), NONE, NONE));
}

@compute @workgroup_size(64)
fn gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = place(group_index(group, groups) * 64u + local);
    if (!at.inside) {
        return;
    }
    let y = Lines(column(at, 0u), column(at, 1u), column(at, 2u), column(at, 3u), Line(), Line());
    write_row(at.value, 0u, gradient_line(Line(y[0][0], y[1][0], y[2][0], y[3][0], NONE, NONE)));
    write_row(at.value, 1u, gradient_line(Line(y[0][1], y[1][1], y[2][1], y[3][1], NONE, NONE)));
    write_row(at.value, 2u, gradient_line(Line(y[0][2], y[1][2], y[2][2], y[3][2], NONE, NONE)));
    write_row(at.value, 3u, gradient_line(Line(y[0][3], y[1][3], y[2][3], y[3][3], NONE, NONE)));
    if (TILE == 4u) {
        write_row(at.value, 4u, gradient_line(Line(y[0][4], y[1][4], y[2][4], y[3][4], NONE, NONE)));
        write_row(at.value, 5u, gradient_line(Line(y[0][5], y[1][5], y[2][5], y[3][5], NONE, NONE)));
    }
}
