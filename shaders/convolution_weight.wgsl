// dweight[r*kernel+s][i][o] = sum over n,h,w of x[n, h+r-p, w+s-p, i] dy[n,h,w,o], p = kernel / 2; as a product: A = x in
// every tap's place, turned: rows = taps * inputs, depth = pixels; B = dy; C = dweight or, where split, one sum for every
// slab of `slab` pixels, which reduce.wgsl adds up. Slabs follow from the shape alone. Where not split there is one slab, and
// step.accumulate adds to what is there. The bias has its gradient elsewhere.
// x [n][height][width][inputs], dy as x with outputs, dweight [taps][inputs][outputs]; channels are multiples of four.
// Operands of product_*.wgsl; torch.nn.grad.conv2d_weight; twin: engine::cpu::reference::convolution.

struct Dims {
    height: u32,
    width: u32,
    inputs4: u32,       // vec4 a pixel of x
    outputs4: u32,      // vec4 a pixel of dy
    kernel: u32,        // 1 or 3
    first_row: u32,     // this dispatch's first row of dweight
    most_rows: u32,     // rows of this dispatch, at most
    slab: u32,          // pixels of a slice
    plane_inverse: f32, // 1 / (height * width)
    width_inverse: f32,
    inputs_inverse: f32, // 1 / inputs4
    split: u32,         // 1: dweight is [slab][taps][inputs][outputs], partial sums for reduce.wgsl
    biased: u32,        // unused
    unused0: u32,
    unused1: u32,
    unused2: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dweight: array<vec4<f32>>;

const A_ALONG_DEPTH = false;
const B_ALONG_DEPTH = false;

struct Row {
    h: u32,      // r - p, modulo 2^32; beyond the last row: so large that no pixel is within
    w: u32,      // s - p
    offset: u32, // from a pixel's start in x to what is multiplied there
}

struct Depth {
    h: u32,     // beyond the end: so large that no tap is within
    w: u32,
    start: u32, // of the pixel in x
    pixel: u32, // beyond the end: OUTSIDE
}

const OUTSIDE = 0x80000000u;

fn all_rows() -> u32 {
    return dims.kernel * dims.kernel * dims.inputs4 * 4u;
}

fn rows() -> u32 {
    return min(all_rows() - dims.first_row, dims.most_rows);
}

fn columns() -> u32 {
    return dims.outputs4 * 4u;
}

fn depths(slice: u32) -> vec2<u32> {
    let pixels = step.samples * dims.height * dims.width;
    return min(vec2(slice, slice + 1u) * dims.slab, vec2(pixels));
}

fn at_row(slice: u32, row: u32) -> Row {
    if (row >= rows()) {
        return Row(OUTSIDE / 2u, 0u, 0u);
    }
    let row4 = (dims.first_row + row) / 4u;
    let tap = quotient(row4, dims.inputs4, dims.inputs_inverse);
    let r = tap * 11u >> 5u; // tap / 3; with kernel 1 there is tap 0 only
    let h = r - dims.kernel / 2u;
    let w = tap - r * 3u - dims.kernel / 2u;
    return Row(h, w, (h * dims.width + w) * dims.inputs4 + row4 - tap * dims.inputs4);
}

fn at_depth(slice: u32, depth: u32) -> Depth {
    let plane = dims.height * dims.width;
    let n = quotient(depth, plane, dims.plane_inverse);
    let h = quotient(depth - n * plane, dims.width, dims.width_inverse);
    let w = depth - n * plane - h * dims.width;
    let inside = depth < depths(slice).y;
    return Depth(select(OUTSIDE, h, inside), w, depth * dims.inputs4, select(OUTSIDE, depth, inside));
}

fn load_a(row: Row, depth: Depth) -> vec4<f32> {
    if (row.h + depth.h < dims.height && row.w + depth.w < dims.width) {
        return x[depth.start + row.offset];
    }
    return vec4<f32>();
}

fn load_b(column: u32, depth: Depth) -> vec4<f32> {
    if (column < columns() && depth.pixel != OUTSIDE) {
        return dy[depth.pixel * dims.outputs4 + column / 4u];
    }
    return vec4<f32>();
}

fn store(slice: u32, row: u32, column: u32, value: vec4<f32>, first: bool) {
    var i = (dims.first_row + row) * dims.outputs4 + column / 4u;
    var add = !first;
    if (dims.split == 1u) {
        i += slice * all_rows() * dims.outputs4;
    } else {
        add = add || step.accumulate == 1u;
    }
    if (add) {
        dweight[i] += value;
    } else {
        dweight[i] = value;
    }
}
