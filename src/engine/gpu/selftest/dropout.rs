//! ReLU and dropout against [`DropoutMask`], bit by bit.

use super::comparison::{
    Check, activations, coarse, distance, execute_part, padded, read_activations, stored, unpadded, values,
};
use crate::engine::gpu::layers::dropout;
use crate::engine::gpu::plumbing::device::Gpu;
use crate::engine::gpu::plumbing::step::StepUniform;
use crate::engine::random::DropoutMask;
use crate::error::Result;
use crate::vgg::Shape;

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    // The seed and the number of the step have both halves set.
    let (seed, done, layer) = (0x0123_4567_89ab_cdefu64, 5 | 3 << 32, 21);
    let halves = |v: u64| [v as u32, (v >> 32) as u32];
    for (features, samples, first, probability) in [
        (1, 1, 0, 0.5),
        (4, 3, 0, 0.5),
        (5, 7, 2, 0.3),
        (6, 5, 1, 0.9),
        (7, 9, 3, 0.01),
        (1028, 6, 100, 0.5),
        (10, 4, 1, 0.0),
    ] {
        let shape = Shape::new(1, 1, features);
        let z = coarse(1, samples * features);
        let d = stored(gpu, values(2, samples * features));
        let mask = DropoutMask::new(seed, layer, done, probability);
        let scale = (1.0 / (1.0 - f64::from(probability))) as f32;
        let result = |(i, v): (usize, &f32)| {
            if mask.keeps(first as usize * features + i) { v.max(0.0) * scale } else { 0.0 }
        };
        let y: Vec<f32> = z.iter().enumerate().map(result).collect();
        let y = stored(gpu, y);
        let dz: Vec<f32> = d.iter().zip(&y).map(|(d, y)| if *y > 0.0 { d * scale } else { 0.0 }).collect();

        let dz = stored(gpu, dz);
        let ours = activations(gpu, "y", &padded(&z, features))?;
        let gradient = activations(gpu, "dy", &padded(&d, features))?;
        let calls = [
            dropout::forward(gpu, "forward", shape, layer, probability, &ours)?,
            dropout::backward(gpu, "backward", shape, probability, &ours, &gradient)?,
        ];
        let (samples, seed, done) = (samples as u32, halves(seed), halves(done));
        execute_part(gpu, &calls, StepUniform { samples, batch: 200, first, seed, done, ..StepUniform::default() })?;
        for (variant, ours, twin) in [("forward", &ours, &y), ("backward", &gradient, &dz)] {
            let error = distance(&unpadded(&read_activations(gpu, ours)?, features), twin);
            let sizes = format!("{samples} x {features} from sample {first}, probability {probability}");
            tell(Check { operation: "dropout", variant: variant.into(), sizes, error, allowed: 0.0 });
        }
    }
    Ok(())
}
