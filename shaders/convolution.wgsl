// y[n,h,w,o] = bias[o] + sum over r,s,i of x[n, h+r-p, w+s-p, i] weight[r*kernel+s][i][o], p = kernel / 2, stride 1; as a
// product: A = x in every tap's place (never written out), rows = pixels, depth = taps * inputs; B = weight; C = y.
// With TRANSPOSED it is the gradient of the input: x is dy, y is dx, inputs are the layer's outputs, and the weight is
// [taps-1-tap][o][i], which is read where it stands. A linear layer is kernel 1 on a 1x1 map.
// x [n][height][width][inputs], weight [taps][inputs][outputs], y as x with outputs; channels are multiples of four.
// Operands of product_*.wgsl; torch.nn.functional.conv2d; twin: engine::cpu::reference::convolution.

struct Dims {
    height: u32,
    width: u32,
    inputs4: u32,       // vec4 a pixel of x
    outputs4: u32,      // vec4 a pixel of y
    kernel: u32,        // 1 or 3
    first_row: u32,     // pixel of this dispatch's first row
    most_rows: u32,     // pixels of this dispatch, at most
    slice_depth: u32,   // depths of a slice
    plane_inverse: f32, // 1 / (height * width)
    width_inverse: f32,
    inputs_inverse: f32, // 1 / inputs4
    split: u32,         // 1: y is [slice][pixel][outputs], partial sums without bias, for reduce.wgsl
    biased: u32,        // 1: there is a bias
    unused0: u32,
    unused1: u32,
    unused2: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;

const A_ALONG_DEPTH = true;
const B_ALONG_DEPTH = TRANSPOSED;

struct Row {
    start: u32, // of the pixel in x
    h: u32,     // beyond the last row: so large that no tap is within
    w: u32,
}

struct Depth {
    h: u32,      // r - p, modulo 2^32; beyond the end: so large that no pixel is within
    w: u32,      // s - p
    offset: u32, // from a pixel's start in x to what is multiplied there
    start: u32,  // in weight; beyond the end: OUTSIDE
}

const OUTSIDE = 0x80000000u;

fn rows() -> u32 {
    let pixels = step.samples * dims.height * dims.width;
    return min(pixels - min(pixels, dims.first_row), dims.most_rows);
}

fn columns() -> u32 {
    return dims.outputs4 * 4u;
}

fn depths(slice: u32) -> vec2<u32> {
    let all = dims.kernel * dims.kernel * dims.inputs4 * 4u;
    return min(vec2(slice, slice + 1u) * dims.slice_depth, vec2(all));
}

fn at_row(slice: u32, row: u32) -> Row {
    let pixel = dims.first_row + row;
    let plane = dims.height * dims.width;
    let n = quotient(pixel, plane, dims.plane_inverse);
    let h = quotient(pixel - n * plane, dims.width, dims.width_inverse);
    let w = pixel - n * plane - h * dims.width;
    return Row(pixel * dims.inputs4, select(OUTSIDE, h, row < rows()), w);
}

fn at_depth(slice: u32, depth: u32) -> Depth {
    if (depth >= depths(slice).y) {
        return Depth(OUTSIDE / 2u, 0u, 0u, OUTSIDE);
    }
    let tap = quotient(depth / 4u, dims.inputs4, dims.inputs_inverse);
    let i4 = depth / 4u - tap * dims.inputs4;
    let r = tap * 11u >> 5u; // tap / 3; with kernel 1 there is tap 0 only
    let h = r - dims.kernel / 2u;
    let w = tap - r * 3u - dims.kernel / 2u;
    let offset = (h * dims.width + w) * dims.inputs4 + i4;
    if (TRANSPOSED) {
        let flipped = dims.kernel * dims.kernel - 1u - tap;
        return Depth(h, w, offset, flipped * columns() * dims.inputs4 + i4);
    }
    return Depth(h, w, offset, depth * dims.outputs4);
}

fn load_a(row: Row, depth: Depth) -> vec4<f32> {
    if (row.h + depth.h < dims.height && row.w + depth.w < dims.width) {
        return x[row.start + depth.offset];
    }
    return vec4<f32>();
}

fn load_b(column: u32, depth: Depth) -> vec4<f32> {
    if (column < columns() && depth.start != OUTSIDE) {
        if (TRANSPOSED) {
            return weight[depth.start + column * dims.inputs4];
        }
        return weight[depth.start + column / 4u];
    }
    return vec4<f32>();
}

fn store(slice: u32, row: u32, column: u32, value: vec4<f32>, first: bool) {
    let pixel = dims.first_row + row;
    var i = pixel * dims.outputs4 + column / 4u;
    if (dims.split == 1u) {
        i += slice * step.samples * dims.height * dims.width * dims.outputs4;
    }
    var sum = value;
    if (!first) {
        sum += y[i];
    } else if (dims.biased == 1u) {
        sum += bias[column / 4u];
    }
    y[i] = sum;
}
