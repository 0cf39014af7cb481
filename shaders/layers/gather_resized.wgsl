// gather.wgsl of images that are resized.

// [size] of (first row, weights), then [size] of (first column, weights); weights beyond a window are 0
@group(0) @binding(5) var<storage, read> windows: array<f32>;

// A pixel of the output of an image that is not warped.
fn plain(base: u32, flags: u32, row: u32, column: u32) -> vec3<f32> {
    let rows = row * (dims.row_taps + 1u);
    let columns = dims.size * (dims.row_taps + 1u) + column * (dims.column_taps + 1u);
    let first_row = i32(windows[rows]);
    let first_column = i32(windows[columns]);
    var sum = vec3<f32>();
    for (var r = 0u; r < dims.row_taps; r++) {
        var line = vec3<f32>();
        for (var c = 0u; c < dims.column_taps; c++) {
            line += windows[columns + 1u + c] * moved(base, flags, first_row + i32(r), first_column + i32(c));
        }
        sum += windows[rows + 1u + r] * line;
    }
    return sum;
}
