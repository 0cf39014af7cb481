//! Adaptive averages against [`reference::average_pool`](crate::engine::cpu::reference::average_pool) in f64.

use super::comparison::{
    Check, activations, distance, execute, narrow, padded, read_activations, sizes, stored, unpadded,
    unwritten_activations, values, wide,
};
use crate::engine::cpu::reference::average_pool as twin;
use crate::engine::gpu::layers::average_pool;
use crate::engine::gpu::plumbing::device::Gpu;
use crate::engine::gpu::plumbing::step::StepUniform;
use crate::error::Result;
use crate::vgg::Shape;

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    for (shape, samples, size) in [
        (Shape::new(2, 2, 5), 2, 1),
        (Shape::new(2, 2, 6), 3, 7),
        (Shape::new(5, 3, 3), 4, 2),
        (Shape::new(7, 7, 12), 2, 7),
        (Shape::new(10, 13, 1), 2, 7),
        (Shape::new(1, 1, 68), 5, 3),
    ] {
        let (c, features) = (shape.channels, shape.channels * size * size);
        let x = stored(gpu, values(1, samples * shape.elements()));
        let dy = stored(gpu, values(2, samples * features));
        let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
        twin::forward(shape, size, &wide(&x), &mut y);
        twin::backward(shape, size, &wide(&dy), &mut dx);
        let ours = activations(gpu, "x", &padded(&x, c))?;
        let gradient = activations(gpu, "dy", &padded(&dy, features))?;
        let (result, back) = (padded(&dy, features).len(), padded(&x, c).len());
        let (result, back) = (unwritten_activations(gpu, result)?, unwritten_activations(gpu, back)?);
        let calls = [
            average_pool::forward(gpu, "forward", shape, size, &ours, &result)?,
            average_pool::backward(gpu, "backward", shape, size, &gradient, &back)?,
        ];
        execute(gpu, &calls, samples, StepUniform::default())?;
        for (variant, ours, width, twin) in [("forward", &result, features, &y), ("backward", &back, c, &dx)] {
            let error = distance(&unpadded(&read_activations(gpu, ours)?, width), &stored(gpu, narrow(twin)));
            let sizes = format!("{} to {size} x {size}", sizes(shape, samples));
            // A few f16 divided by a small area often lie exactly between two f16, and an f32 rounding decides: half an ulp.
            let allowed = if gpu.half() { 4.9e-4 } else { 1e-6 };
            tell(Check { operation: "average_pool", variant: variant.into(), sizes, error, allowed });
        }
    }
    Ok(())
}
