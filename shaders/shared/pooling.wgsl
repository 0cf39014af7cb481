// Where the 2x2 windows of maximum pooling lie, with stride 2, in maps [samples][height][width][quads] of the `Dims` of the file
// behind this one. A pooled map has height / 2 rows and width / 2 columns (floor): an odd last row or column is dropped.

fn pooled_pixels() -> u32 {
    return step.samples * (dims.height / 2u) * (dims.width / 2u);
}

// Vector 0 of the upper left pixel under pooled pixel `pixel`.
fn corner(pixel: u32) -> u32 {
    let columns = dims.width / 2u;
    let rows = dims.height / 2u;
    let line = pixel / columns;
    let sample = line / rows;
    return ((sample * dims.height + 2u * (line - sample * rows)) * dims.width + 2u * (pixel - line * columns)) * dims.quads;
}

// A window, whole or cut, and four of its channels.
struct PoolWindow {
    inside: bool,   // false: the invocation has nothing to do
    quad: u32,
    upper: u32,     // the upper left pixel; the one to its right is dims.quads further on
    lower: u32,     // the lower left pixel
    right: bool,    // whether it has a right column, and a lower row: where width or height is odd, the last windows are
    below: bool,    // cut, and no gradient reaches their pixels
    pooled: u32,    // the pooled pixel, where it has both
}

// An invocation for each four channels of each window.
fn pool_window(invocation: u32) -> PoolWindow {
    let rows = (dims.height + 1u) / 2u;
    let columns = (dims.width + 1u) / 2u;
    let quad = invocation % dims.quads;
    let window = invocation / dims.quads;
    let column = window % columns;
    let line = window / columns;
    let row = line % rows;
    let sample = line / rows;
    var at: PoolWindow;
    at.inside = sample < step.samples;
    at.quad = quad;
    at.upper = ((sample * dims.height + 2u * row) * dims.width + 2u * column) * dims.quads + quad;
    at.lower = at.upper + dims.width * dims.quads;
    at.right = 2u * column + 1u < dims.width;
    at.below = 2u * row + 1u < dims.height;
    at.pooled = ((sample * (dims.height / 2u) + row) * (dims.width / 2u) + column) * dims.quads + quad;
    return at;
}
