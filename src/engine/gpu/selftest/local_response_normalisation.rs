//! Local response normalisation against
//! [`reference::local_response_normalisation`](crate::engine::cpu::reference::local_response_normalisation) in f64.

use super::comparison::{
    Check, activations, distance, execute, narrow, padded, read_activations, rounding, sizes, stored, unpadded,
    unwritten_activations, values, wide,
};
use crate::engine::cpu::reference::local_response_normalisation as twin;
use crate::engine::gpu::layers::local_response_normalisation;
use crate::engine::gpu::plumbing::device::Gpu;
use crate::engine::gpu::plumbing::step::StepUniform;
use crate::error::Result;
use crate::vgg::Shape;

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    // Large values too: with small ones every d is about 2.
    for (shape, samples, factor) in [
        (Shape::new(1, 1, 1), 1, 100.0),
        (Shape::new(3, 5, 3), 2, 100.0),
        (Shape::new(4, 2, 5), 3, 300.0),
        (Shape::new(2, 3, 6), 2, 1.0),
        (Shape::new(5, 4, 64), 3, 100.0),
    ] {
        let c = shape.channels;
        let x: Vec<f32> = values(1, samples * shape.elements()).into_iter().map(|v| v * factor).collect();
        let x = stored(gpu, x);
        let dy = stored(gpu, values(2, x.len()));
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        twin::forward(c, &wide(&x), &mut y);
        twin::backward(c, &wide(&x), &wide(&dy), &mut dx);
        let ours = activations(gpu, "x", &padded(&x, c))?;
        let gradient = activations(gpu, "dy", &padded(&dy, c))?;
        let width = padded(&x, c).len();
        let (result, back) = (unwritten_activations(gpu, width)?, unwritten_activations(gpu, width)?);
        let calls = [
            local_response_normalisation::forward(gpu, "forward", shape, &ours, &result)?,
            local_response_normalisation::backward(gpu, "backward", shape, &ours, &gradient, &back)?,
        ];
        execute(gpu, &calls, samples, StepUniform::default())?;
        for (variant, ours, twin) in [("forward", &result, &y), ("backward", &back, &dx)] {
            let error = distance(&unpadded(&read_activations(gpu, ours)?, c), &stored(gpu, narrow(twin)));
            let (operation, variant) = ("local_response_normalisation", variant.to_owned());
            let allowed = rounding(gpu, 1e-6);
            tell(Check { operation, variant, sizes: sizes(shape, samples), error, allowed });
        }
    }
    Ok(())
}
