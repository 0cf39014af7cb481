// What the device itself decides of an update: engine::gpu::layers::loss_scaling::Record. Made by loss_scaling.wgsl and, where
// gradients are clipped, gradient_norm.wgsl; read by what comes after them. Where the loss is not scaled, `inverse` is 1.

struct Scaling {
    scale: f32,           // of the next step
    good: u32,            // updates since it last moved
    skipped: u32,         // steps without an update so far
    found: u32,           // a gradient of this step is not finite
    inverse: f32,         // 1 / scale of this step
    skip: u32,            // leave this step's update out
    step_size: f32,       // see optimizer.wgsl
    root_correction: f32,
    factor: f32,          // what gradients are multiplied by: `inverse`, and what clipping makes of it
}
