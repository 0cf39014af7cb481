// What optimizer.wgsl asks for where the loss is not scaled and gradients are clipped: gradient_norm.wgsl has left what they
// are multiplied by, everything else comes from the host. Needs scaling.wgsl.

@group(0) @binding(6) var<storage, read> scaling: Scaling;

fn skips() -> bool {
    return false;
}

fn unscaled(g: vec4<f32>) -> vec4<f32> {
    return g * scaling.factor;
}

fn step_size() -> f32 {
    return step.step_size;
}

fn root_correction() -> f32 {
    return step.root_correction;
}

fn keep(i: u32, value: vec4<f32>) {
    parameter[i] = value;
}
