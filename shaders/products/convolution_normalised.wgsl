// Results of convolution.wgsl, then what batch_norm.wgsl does to z in an inference: max(0, z * scale + shift), where no pooling
// follows; needs window.wgsl.

@group(0) @binding(6) var<storage, read> saved: array<vec4<f32>>; // see batch_norm.wgsl

fn finished(quad: u32, sum: vec4<f32>) -> vec4<f32> {
    return relu(fma(sum, saved[quad], saved[dims.outputs4 + quad]));
}

const MOMENTS = false;

// Nobody asks.
fn keep_moments(row: u32, column: u32, mean: vec4<f32>, squares: vec4<f32>) {}
