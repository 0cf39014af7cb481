// y[n,h,w,o] = bias[o] + sum over r,s,i of x[n, h+r-p, w+s-p, i] weight[r*KERNEL+s][i][o], p = KERNEL / 2, stride 1; as a
// product: A = x in every tap's place (never written out), rows = pixels, depth = taps * inputs; B = weight; C = y.
// With TRANSPOSED it is the gradient of the input: x is dy, y is dx, inputs are the layer's outputs, and the weight is
// [taps-1-tap][o][i], which is read where it stands. A linear layer is KERNEL 1 on a 1x1 map; so is a 1x1 convolution a
// plain product, whose taps are all inside.
// x [n][height][width][inputs], weight [taps][inputs][outputs], y as x with outputs; channels are multiples of four.
// Operands of product_*.wgsl; torch.nn.functional.conv2d; twin: engine::cpu::reference::convolution. Needs taps.wgsl and
// window.wgsl.
//
// From the host: KERNEL (1 or 3), TRANSPOSED, Output (what y has in memory: a Quad, or vec4<f32> for partial sums and
// logits). Behind it goes what is done to results, one of
//   convolution_plain.wgsl       nothing
//   convolution_relu.wgsl        ReLU
//   convolution_normalised.wgsl  batch normalisation of an inference, then ReLU
//   convolution_moments.wgsl     nothing, but moments of what is stored are kept for the batch normalisation of a training
// which define
//   fn finished(quad: u32, sum: vec4<f32>) -> vec4<f32>
//   const MOMENTS: bool, fn keep_moments(..)              see product_half.wgsl

struct Dims {
    height: u32,
    width: u32,
    inputs4: u32,       // vec4 a pixel of x
    outputs4: u32,      // vec4 a pixel of y
    first_row: u32,     // pixel of this dispatch's first row
    most_rows: u32,     // pixels of this dispatch, at most
    slice_depth: u32,   // depths of a slice
    split: u32,         // 1: y is [slice][pixel][outputs], partial sums without bias, for reduce.wgsl
    plane_inverse: f32, // 1 / (height * width)
    width_inverse: f32,
    inputs_inverse: f32, // 1 / inputs4
    biased: u32,        // 1: there is a bias
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> x: array<Quad>;
@group(0) @binding(3) var<storage, read> weight: array<Quad>;
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<Output>;

const A_ALONG_DEPTH = true;
const B_ALONG_DEPTH = TRANSPOSED;

struct Row {
    start: u32,  // of the pixel in x
    inside: u32, // taps that are, see taps.wgsl; beyond the last row none
}

struct Depth {
    tap: u32,    // its bit; beyond the end none
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
    let all = KERNEL * KERNEL * dims.inputs4 * 4u;
    return min(vec2(slice, slice + 1u) * dims.slice_depth, vec2(all));
}

fn at_row(slice: u32, row: u32) -> Row {
    let pixel = dims.first_row + row;
    let at = place_of(pixel, dims.height, dims.width, dims.plane_inverse, dims.width_inverse);
    return Row(pixel * dims.inputs4, select(0u, taps_inside(at, dims.height, dims.width), row < rows()));
}

fn at_depth(slice: u32, depth: u32) -> Depth {
    if (depth >= depths(slice).y) {
        return Depth(0u, 0u, OUTSIDE);
    }
    var tap = 0u;
    if (KERNEL != 1u) {
        tap = quotient(depth / 4u, dims.inputs4, dims.inputs_inverse);
    }
    let i4 = depth / 4u - tap * dims.inputs4;
    let offset = offset_of(tap, dims.width) * dims.inputs4 + i4;
    if (TRANSPOSED) {
        let flipped = KERNEL * KERNEL - 1u - tap;
        return Depth(tap_bit(tap), offset, flipped * columns() * dims.inputs4 + i4);
    }
    return Depth(tap_bit(tap), offset, depth * dims.outputs4);
}

// The depth after one. Nobody asks: A lies along the depth.
fn after(slice: u32, depth: Depth) -> Depth {
    return depth;
}

fn load_a(row: Row, depth: Depth) -> Quad {
    if ((row.inside & depth.tap) != 0u) {
        return x[row.start + depth.offset];
    }
    return Quad();
}

fn load_b(column: u32, depth: Depth) -> Quad {
    if (column < columns() && depth.start != OUTSIDE) {
        if (TRANSPOSED) {
            return weight[depth.start + column * dims.inputs4];
        }
        return weight[depth.start + column / 4u];
    }
    return Quad();
}

// Gives back what is in memory then.
fn store(slice: u32, row: u32, column: u32, value: vec4<f32>, first: bool) -> vec4<f32> {
    let quad = column / 4u;
    var i = (dims.first_row + row) * dims.outputs4 + quad;
    if (dims.split == 1u) {
        i += slice * step.samples * dims.height * dims.width * dims.outputs4;
    }
    var sum = value;
    if (!first) {
        sum += vec4<f32>(y[i]);
    } else if (dims.biased == 1u) {
        sum += bias[quad];
    }
    let stored = Output(finished(quad, sum));
    y[i] = stored;
    return vec4<f32>(stored);
}
