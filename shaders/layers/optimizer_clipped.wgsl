// What optimizer.wgsl asks for where the loss is not scaled and gradients are clipped: gradient_norm.wgsl has left what they
// are multiplied by. Needs optimizer_host.wgsl and scaling.wgsl.

@group(0) @binding(6) var<storage, read> scaling: Scaling;

fn unscaled(g: vec4<f32>) -> vec4<f32> {
    return g * scaling.factor;
}
