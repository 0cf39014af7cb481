// dweight[r*KERNEL+s][i][o] = sum over n,h,w of x[n, h+r-p, w+s-p, i] dy[n,h,w,o], p = KERNEL / 2; as a product: A = x in
// every tap's place, turned: rows = taps * inputs, depth = pixels; B = dy; C = dweight or, where split, one sum for every
// slab of `slab` pixels, which reduce.wgsl adds up. Slabs follow from the shape alone. Where not split there is one slab, and
// step.accumulate adds to what is there. The bias has its gradient elsewhere.
// x [n][height][width][inputs], dy as x with outputs, dweight [taps][inputs][outputs]; channels are multiples of four.
// Operands of product_*.wgsl; torch.nn.grad.conv2d_weight; twin: engine::cpu::reference::convolution. Needs taps.wgsl.
// From the host: KERNEL (1 or 3).

struct Dims {
    height: u32,
    width: u32,
    inputs4: u32,       // vec4 a pixel of x
    outputs4: u32,      // vec4 a pixel of dy
    first_row: u32,     // this dispatch's first row of dweight
    most_rows: u32,     // rows of this dispatch, at most
    slab: u32,          // pixels of a slice
    split: u32,         // 1: dweight is [slab][taps][inputs][outputs], partial sums for reduce.wgsl
    plane_inverse: f32, // 1 / (height * width)
    width_inverse: f32,
    inputs_inverse: f32, // 1 / inputs4
    biased: u32,        // unused
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> x: array<Quad>;
@group(0) @binding(3) var<storage, read> dy: array<Quad>;
@group(0) @binding(4) var<storage, read_write> dweight: array<vec4<f32>>;

const A_ALONG_DEPTH = false;
const B_ALONG_DEPTH = false;
const MOMENTS = false;

struct Row {
    tap: u32,    // its bit, see taps.wgsl; beyond the last row none
    offset: u32, // from a pixel's start in x to what is multiplied there
}

struct Depth {
    pixel: u32,
    at: Place,
    inside: u32, // taps that are; beyond the end none
}

fn all_rows() -> u32 {
    return KERNEL * KERNEL * dims.inputs4 * 4u;
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
        return Row(0u, 0u);
    }
    let row4 = (dims.first_row + row) / 4u;
    var tap = 0u;
    if (KERNEL != 1u) {
        tap = quotient(row4, dims.inputs4, dims.inputs_inverse);
    }
    return Row(tap_bit(tap), offset_of(tap, dims.width) * dims.inputs4 + row4 - tap * dims.inputs4);
}

fn at_place(slice: u32, pixel: u32, at: Place) -> Depth {
    let inside = taps_inside(at, dims.height, dims.width);
    return Depth(pixel, at, select(0u, inside, pixel < depths(slice).y));
}

fn at_depth(slice: u32, depth: u32) -> Depth {
    return at_place(slice, depth, place_of(depth, dims.height, dims.width, dims.plane_inverse, dims.width_inverse));
}

// The depth after one: the next pixel, without a division.
fn after(slice: u32, depth: Depth) -> Depth {
    var at = depth.at;
    if (KERNEL != 1u) {
        at.w += 1u;
        let line = at.w == dims.width;
        at = Place(select(at.h, at.h + 1u, line), select(at.w, 0u, line));
        at.h = select(at.h, 0u, at.h == dims.height);
    }
    return at_place(slice, depth.pixel + 1u, at);
}

fn load_a(row: Row, depth: Depth) -> Quad {
    if ((row.tap & depth.inside) != 0u) {
        return x[depth.pixel * dims.inputs4 + row.offset];
    }
    return Quad();
}

fn load_b(column: u32, depth: Depth) -> Quad {
    if (column < columns() && depth.inside != 0u) {
        return dy[depth.pixel * dims.outputs4 + column / 4u];
    }
    return Quad();
}

// Gives back what is in memory then.
fn store(slice: u32, row: u32, column: u32, value: vec4<f32>, first: bool) -> vec4<f32> {
    var i = (dims.first_row + row) * dims.outputs4 + column / 4u;
    var add = !first;
    if (dims.split == 1u) {
        i += slice * all_rows() * dims.outputs4;
    } else {
        add = add || step.accumulate == 1u;
    }
    var sum = value;
    if (add) {
        sum += dweight[i];
    }
    dweight[i] = sum;
    return sum;
}

// Nobody asks for those of a weight's gradient.
fn keep_moments(row: u32, column: u32, mean: vec4<f32>, squares: vec4<f32>) {}
