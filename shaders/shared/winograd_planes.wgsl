// Where winograd_input, winograd_gradient and winograd_filter put what they transformed: planes [point][...], of which a point's
// begins dims.plane vectors behind that of the one before. Points are counted row by row.

@group(0) @binding(3) var<storage, read_write> planes: array<vec4<f32>>;

// Row r of the points of a tile or filter, whose point 0 lies at `start`.
fn write_row(start: u32, r: u32, row: Line) {
    let first = start + r * (TILE + 2u) * dims.plane;
    planes[first] = row[0];
    planes[first + dims.plane] = row[1];
    planes[first + 2u * dims.plane] = row[2];
    planes[first + 3u * dims.plane] = row[3];
    if (TILE == 4u) {
        planes[first + 4u * dims.plane] = row[4];
        planes[first + 5u * dims.plane] = row[5];
    }
}
