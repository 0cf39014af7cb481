//! Standalone 2x2 maxima against [`reference::max_pool`](crate::engine::cpu::reference::max_pool).

use super::comparison::{
    Check, activations, coarse, distance, execute, padded, read_activations, sizes, stored, unpadded,
    unwritten_activations, values,
};
use crate::engine::cpu::reference::max_pool as twin;
use crate::engine::gpu::layers::chunks::pooled;
use crate::engine::gpu::layers::max_pool;
use crate::engine::gpu::plumbing::device::Gpu;
use crate::engine::gpu::plumbing::step::StepUniform;
use crate::error::Result;
use crate::vgg::Shape;

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    for (shape, samples) in [
        (Shape::new(2, 2, 1), 1),
        (Shape::new(5, 7, 3), 3),
        (Shape::new(8, 6, 6), 2),
        (Shape::new(9, 4, 64), 5),
        (Shape::new(2, 3, 5), 33),
    ] {
        let c = shape.channels;
        let x = coarse(1, samples * shape.elements());
        let dy = stored(gpu, values(2, samples * pooled(shape).elements()));
        let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
        let origins = twin::forward(shape, &x, &mut y);
        twin::backward(&origins, &dy, &mut dx);
        let ours = activations(gpu, "x", &padded(&x, c))?;
        let gradient = activations(gpu, "dy", &padded(&dy, c))?;
        let (result, back) = (padded(&y, c).len(), padded(&x, c).len());
        let (result, back) = (unwritten_activations(gpu, result)?, unwritten_activations(gpu, back)?);
        let calls = [
            max_pool::forward(gpu, "forward", shape, &ours, &result)?,
            max_pool::backward(gpu, "backward", shape, &ours, &gradient, &back)?,
        ];
        execute(gpu, &calls, samples, StepUniform::default())?;
        for (variant, ours, twin) in [("forward", &result, &y), ("backward", &back, &dx)] {
            let error = distance(&unpadded(&read_activations(gpu, ours)?, c), twin);
            let sizes = sizes(shape, samples);
            tell(Check { operation: "max_pool", variant: variant.into(), sizes, error, allowed: 0.0 });
        }
    }
    nan(gpu, tell)
}

/// A NaN wins wherever it is, and minus infinity loses.
fn nan(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    let (shape, low) = (Shape::new(2, 2, 4), f32::NEG_INFINITY);
    let x =
        [[f32::NAN, -1.0, low, low], [2.0, f32::NAN, low, -0.5], [3.0, 7.0, low, low], [4.0, 9.0, low, f32::INFINITY]];
    let (x, result) = (activations(gpu, "x", &x.concat())?, unwritten_activations(gpu, 4)?);
    let calls = [max_pool::forward(gpu, "forward", shape, &x, &result)?];
    execute(gpu, &calls, 1, StepUniform::default())?;
    let y = read_activations(gpu, &result)?;
    let good = y[0].is_nan() && y[1].is_nan() && y[2] == low && y[3] == f32::INFINITY;
    let (error, sizes) = (if good { 0.0 } else { f64::INFINITY }, "NaN and infinities".into());
    tell(Check { operation: "max_pool", variant: "forward".into(), sizes, error, allowed: 0.0 });
    Ok(())
}
