//! ReLU with and without pooling, and the bias gradient, against
//! [`reference::relu`](crate::engine::cpu::reference::relu) and `max_pool`.

use super::comparison::{
    Check, activations, coarse, distance, execute, execute_part, narrow, padded, read_activations, sizes, stored,
    unpadded, unwritten, unwritten_activations, values, wide,
};
use crate::engine::cpu::reference::{max_pool, relu as twin};
use crate::engine::gpu::layers::chunks::pooled;
use crate::engine::gpu::layers::relu;
use crate::engine::gpu::plumbing::device::{Gpu, Slice};
use crate::engine::gpu::plumbing::step::StepUniform;
use crate::error::Result;
use crate::vgg::Shape;

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    for (shape, samples) in [
        (Shape::new(1, 1, 1), 1),
        (Shape::new(2, 2, 3), 2),
        (Shape::new(5, 7, 6), 3),
        (Shape::new(8, 6, 5), 2),
        (Shape::new(9, 4, 64), 5),
    ] {
        for pool in [false, true] {
            if !pool || shape.height > 1 {
                both(gpu, tell, shape, samples, pool)?;
            }
        }
    }
    nan(gpu, tell)?;
    for (shape, samples) in [
        (Shape::new(1, 1, 10), 1),
        (Shape::new(1, 1, 1030), 70),
        (Shape::new(33, 31, 6), 9),
        (Shape::new(64, 64, 3), 20),
    ] {
        bias(gpu, tell, shape, samples)?;
    }
    Ok(())
}

fn both(gpu: &Gpu, tell: &mut dyn FnMut(Check), shape: Shape, samples: usize, pool: bool) -> Result<()> {
    let output = if pool { pooled(shape) } else { shape };
    let z = coarse(1, samples * shape.elements());
    let dy = stored(gpu, values(2, samples * output.elements()));
    let mut y = z.clone();
    twin::forward(&mut y);
    let mut dz = dy.clone();
    let y = if pool {
        let mut maxima = vec![0.0; dy.len()];
        let origins = max_pool::forward(shape, &y, &mut maxima);
        dz = vec![0.0; z.len()];
        max_pool::backward(&origins, &dy, &mut dz);
        twin::backward(&y, &mut dz);
        maxima
    } else {
        twin::backward(&y, &mut dz);
        y
    };
    let c = shape.channels;
    let ours = activations(gpu, "z", &padded(&z, c))?;
    let result = unwritten_activations(gpu, padded(&y, c).len())?;
    let gradient = activations(gpu, "dy", &padded(&dy, c))?;
    let calls = [relu::forward(gpu, "forward", shape, pool, &ours, &result)?];
    execute(gpu, &calls, samples, StepUniform::default())?;
    let error = distance(&unpadded(&read_activations(gpu, &result)?, c), &y);
    let sizes = sizes(shape, samples);
    let variant = if pool { "forward, pooled" } else { "forward" };
    tell(Check { operation: "relu", variant: variant.into(), sizes: sizes.clone(), error, allowed: 0.0 });
    let calls = [relu::backward(gpu, "backward", shape, pool, &ours, &gradient)?];
    execute(gpu, &calls, samples, StepUniform::default())?;
    let error = distance(&unpadded(&read_activations(gpu, &ours)?, c), &dz);
    let variant = if pool { "backward, pooled" } else { "backward" };
    tell(Check { operation: "relu", variant: variant.into(), sizes, error, allowed: 0.0 });
    Ok(())
}

/// A NaN must come through, pooled or not, and infinities as they are.
fn nan(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    let shape = Shape::new(2, 2, 4);
    let mut z = vec![-1.0f32; 16];
    z[5] = f32::NAN; // channel 1
    z[2] = f32::INFINITY; // channel 2
    z[3] = f32::NEG_INFINITY; // channel 3
    z[11] = -0.0;
    let ours = activations(gpu, "z", &z)?;
    let (plain, maxima) = (unwritten_activations(gpu, 16)?, unwritten_activations(gpu, 4)?);
    let forward = |pool, to: &Slice| relu::forward(gpu, "forward", shape, pool, &ours, to);
    let calls = [forward(false, &plain)?, forward(true, &maxima)?];
    execute(gpu, &calls, 1, StepUniform::default())?;
    let (plain, maxima) = (read_activations(gpu, &plain)?, read_activations(gpu, &maxima)?);
    let expected = z.iter().map(|v| if *v < 0.0 { 0.0 } else { *v });
    let same = |a: f32, b: f32| a == b || (a.is_nan() && b.is_nan());
    let good = plain.iter().zip(expected).all(|(a, b)| same(*a, b))
        && maxima.iter().zip([0.0, f32::NAN, f32::INFINITY, 0.0]).all(|(a, b)| same(*a, b));
    let error = if good { 0.0 } else { f64::INFINITY };
    let sizes = "NaN and infinities".into();
    tell(Check { operation: "relu", variant: "forward".into(), sizes, error, allowed: 0.0 });
    Ok(())
}

fn bias(gpu: &Gpu, tell: &mut dyn FnMut(Check), shape: Shape, samples: usize) -> Result<()> {
    let c = shape.channels;
    let dz: Vec<f32> = values(3, samples * shape.elements()).into_iter().map(|v| v + 0.1).collect();
    let dz = stored(gpu, dz);
    let mut sums = vec![0.0; c];
    wide(&dz).chunks_exact(c).for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += v));
    let ours = activations(gpu, "dz", &padded(&dz, c))?;
    let width = c.next_multiple_of(4);
    let gradient = unwritten(gpu, width)?;
    let scratch = unwritten(gpu, relu::scratch(shape, samples))?;
    let calls = relu::bias_gradient(gpu, "bias", shape, &ours, &gradient, &scratch)?;
    let sizes = sizes(shape, samples);
    // Once over what is there, then added to it.
    for accumulate in [0, 1] {
        let step = StepUniform { samples: samples as u32, batch: 1000, first: 7, accumulate, ..StepUniform::default() };
        execute_part(gpu, &calls, step)?;
        let expected = narrow(&sums.iter().map(|s| s * f64::from(accumulate + 1)).collect::<Vec<_>>());
        let error = distance(&unpadded(&gpu.read::<f32>(&gradient)?, c), &expected);
        let variant = if accumulate == 1 { "bias gradient, added" } else { "bias gradient" };
        tell(Check { operation: "relu", variant: variant.into(), sizes: sizes.clone(), error, allowed: 1e-6 });
    }
    Ok(())
}
