// Results of convolution.wgsl as they are, and the moments of what is stored, which batch_norm.wgsl joins: one pass less over
// what a convolution puts out. Only product_half.wgsl keeps them.

@group(0) @binding(6) var<storage, read_write> moments: array<vec4<f32>>; // scratch of batch_norm.wgsl

fn finished(quad: u32, sum: vec4<f32>) -> vec4<f32> {
    return sum;
}

const MOMENTS = true;

// Mean and squared deviations of four columns over ROWS rows from `row` on, or as many as there are.
fn keep_moments(row: u32, column: u32, mean: vec4<f32>, squares: vec4<f32>) {
    let chunk = (dims.first_row + row) / ROWS;
    let at = (2u + 2u * chunk) * dims.outputs4 + column / 4u;
    moments[at] = mean;
    moments[at + dims.outputs4] = squares;
}
