// M[point][tile][o] = sum over i of V[point][tile][i] U[point][i][o]; as products: a slice is a point, rows are the tiles of
// a slab of samples, A = V, B = U, C = M. With TURNED, for the input gradient, whose inputs are the layer's outputs, U stands
// as [point][o][i] and is read the other way round. Operands of product_*.wgsl; see winograd_tiles.wgsl for the planes.

struct Dims {
    inputs4: u32,   // vec4 of a pixel
    outputs4: u32,
    tiles: u32,     // of a sample
    first: u32,     // the slab's first sample
    samples: u32,   // most samples of the slab
    part: u32,      // of the weight gradient
    plane_a: u32,   // vec4 from a point to the next in V
    plane_c: u32,   // .. in M
    filters: u32,   // .. in U
    unused0: u32,
    unused1: u32,
    unused2: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> inputs: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> filters: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> products: array<vec4<f32>>;

const A_ALONG_DEPTH = true;
const B_ALONG_DEPTH = TURNED;
const OUTSIDE = 0xffffffffu;

struct Row {
    start: u32,     // in V; beyond the last row: OUTSIDE
}

struct Depth {
    i4: u32,        // beyond the end: OUTSIDE
    start: u32,     // in U, of column 0
}

fn rows() -> u32 {
    return min(step.samples - min(step.samples, dims.first), dims.samples) * dims.tiles;
}

fn columns() -> u32 {
    return dims.outputs4 * 4u;
}

fn depths(slice: u32) -> vec2<u32> {
    return vec2(0u, dims.inputs4 * 4u);
}

fn at_row(slice: u32, row: u32) -> Row {
    return Row(select(OUTSIDE, slice * dims.plane_a + row * dims.inputs4, row < rows()));
}

fn at_depth(slice: u32, depth: u32) -> Depth {
    let i4 = depth / 4u;
    let start = slice * dims.filters + select(depth * dims.outputs4, i4, TURNED);
    return Depth(select(OUTSIDE, i4, i4 < dims.inputs4), start);
}

fn load_a(row: Row, depth: Depth) -> vec4<f32> {
    if (row.start != OUTSIDE && depth.i4 != OUTSIDE) {
        return inputs[row.start + depth.i4];
    }
    return vec4<f32>();
}

fn load_b(column: u32, depth: Depth) -> vec4<f32> {
    if (column < columns() && depth.i4 != OUTSIDE) {
        return filters[depth.start + select(column / 4u, column * dims.inputs4, TURNED)];
    }
    return vec4<f32>();
}

fn store(slice: u32, row: u32, column: u32, value: vec4<f32>, first: bool) {
    let i = slice * dims.plane_c + row * dims.outputs4 + column / 4u;
    if (first) {
        products[i] = value;
    } else {
        products[i] += value;
    }
}
