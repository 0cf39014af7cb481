// What average.wgsl asks for where the loss is scaled: an update that `decide` of loss_scaling.wgsl has left out changes
// nothing and does not count. Needs scaling.wgsl.

@group(0) @binding(4) var<storage, read> scaling: Scaling;

fn skips() -> bool {
    return scaling.skip != 0u;
}

fn share() -> f32 {
    return max(dims.least, 9.0 / (10.0 + f32(step.done.x + 1u - scaling.skipped)));
}
