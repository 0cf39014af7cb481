// What optimizer.wgsl asks for where the loss is not scaled and nothing is clipped. Needs optimizer_host.wgsl.

fn unscaled(g: vec4<f32>) -> vec4<f32> {
    return g;
}
