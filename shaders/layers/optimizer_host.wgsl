// What optimizer.wgsl asks for where the loss is not scaled, but for `unscaled`: everything comes from the host.

fn skips() -> bool {
    return false;
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
