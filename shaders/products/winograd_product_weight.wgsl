// dU[point][i][o] = sum over tiles of V[point][tile][i] D[point][tile][o]; as products: A = V turned, rows are inputs, depths
// the tiles of a slab of samples, B = D, C = dU. A slice is a point of a part of the tiles, [part][point]; parts follow from
// the shape alone, and winograd_weight.wgsl adds them up. CHUNK of product_*.wgsl is short: F(4x4) would lose digits in
// sums of more than some 100 tiles. Operands of product_*.wgsl; see winograd_tiles.wgsl for the planes V and D.

struct Dims {
    inputs4: u32,   // vec4 of a pixel
    outputs4: u32,
    tiles: u32,     // of a sample
    first: u32,     // the slab's first sample
    samples: u32,   // most samples of the slab
    part: u32,      // tiles of a part of dU, a multiple of four
    plane_a: u32,   // vec4 from a point to the next in V
    plane_b: u32,   // .. in A dY A^T
    filters: u32,   // .. in dU
    unused0: u32,
    unused1: u32,
    unused2: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> inputs: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> sums: array<vec4<f32>>;

const A_ALONG_DEPTH = false;
const B_ALONG_DEPTH = false;
const OUTSIDE = 0xffffffffu;
const POINTS = (TILE + 2u) * (TILE + 2u);

struct Row {
    start: u32,     // from a tile's start in V; beyond the last row: OUTSIDE
}

struct Depth {
    a: u32,         // of the tile in V; beyond the end: OUTSIDE
    b: u32,         // of the tile in D
}

fn all_tiles() -> u32 {
    return min(step.samples - min(step.samples, dims.first), dims.samples) * dims.tiles;
}

fn rows() -> u32 {
    return dims.inputs4 * 4u;
}

fn columns() -> u32 {
    return dims.outputs4 * 4u;
}

fn depths(slice: u32) -> vec2<u32> {
    let part = slice / POINTS;
    return min(vec2(part, part + 1u) * dims.part, vec2(all_tiles()));
}

fn at_row(slice: u32, row: u32) -> Row {
    return Row(select(OUTSIDE, row / 4u, row < rows()));
}

fn at_depth(slice: u32, depth: u32) -> Depth {
    let point = slice % POINTS;
    let a = point * dims.plane_a + depth * dims.inputs4;
    let b = point * dims.plane_b + depth * dims.outputs4;
    return Depth(select(OUTSIDE, a, depth < depths(slice).y), b);
}

fn load_a(row: Row, depth: Depth) -> vec4<f32> {
    if (row.start != OUTSIDE && depth.a != OUTSIDE) {
        return inputs[depth.a + row.start];
    }
    return vec4<f32>();
}

fn load_b(column: u32, depth: Depth) -> vec4<f32> {
    if (column < columns() && depth.a != OUTSIDE) {
        return gradients[depth.b + column / 4u];
    }
    return vec4<f32>();
}

fn store(slice: u32, row: u32, column: u32, value: vec4<f32>, first: bool) {
    let i = slice * dims.filters + row * dims.outputs4 + column / 4u;
    if (first) {
        sums[i] = value;
    } else {
        sums[i] += value;
    }
}
