// What optimizer.wgsl asks for where the loss is scaled: `decide` of loss_scaling.wgsl has left it in a buffer. Parameters
// stay in f32; what products read is a copy in f16, which every update renews. Needs scaling.wgsl.

@group(0) @binding(6) var<storage, read> scaling: Scaling;
@group(0) @binding(7) var<storage, read_write> rounded: array<Quad>;

fn skips() -> bool {
    return scaling.skip != 0u;
}

fn unscaled(g: vec4<f32>) -> vec4<f32> {
    return g * scaling.factor;
}

fn step_size() -> f32 {
    return scaling.step_size;
}

fn root_correction() -> f32 {
    return scaling.root_correction;
}

fn keep(i: u32, value: vec4<f32>) {
    parameter[i] = value;
    rounded[i] = Quad(value);
}
