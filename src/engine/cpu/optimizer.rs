//! Adam and SGD over all parameters in one parallel pass, with the arithmetic of torch.optim (L2 weight decay).

use rayon::prelude::*;

use super::buffer::Buffer;
use super::simd::{InstructionSet, vectorised};
use crate::engine::Optimizer;

/// Parameters of one task.
const CHUNK: usize = 16 * 1024;

/// Below these a moment is zero. One whose gradient stays zero would shrink until it stuck at a denormal number, and a
/// processor takes some hundred cycles for each of those; a weight moves by less than 1e-21 of the learning rate for it.
const LEAST_FIRST_MOMENT: f32 = 1e-30;
/// Its square root is 1e-9 of Adam's epsilon.
const LEAST_SECOND_MOMENT: f32 = 1e-35;

/// Updates `parameters` from `gradients`. `moments` are as long as the parameters, one for each of
/// [`Optimizer::moments`]; `step` counts from 1.
pub fn update(
    set: InstructionSet,
    optimizer: &Optimizer,
    learning_rate: f32,
    step: u64,
    parameters: &mut [f32],
    gradients: &[f32],
    moments: &mut [Buffer],
) {
    let chunks = parameters.par_chunks_mut(CHUNK).zip(gradients.par_chunks(CHUNK));
    match (optimizer, moments) {
        (Optimizer::Adam { beta1, beta2, epsilon, weight_decay }, [first, second, ..]) => {
            let t = step as f64;
            let corrected = f64::from(learning_rate) / (1.0 - beta1.powf(t));
            let root = 1.0 / (1.0 - beta2.powf(t)).sqrt();
            let chunks = chunks.zip(first.par_chunks_mut(CHUNK)).zip(second.par_chunks_mut(CHUNK));
            let constants = [1.0 - beta1, *beta2, 1.0 - beta2, *epsilon, *weight_decay, corrected, root];
            let constants = constants.map(|c| c as f32);
            chunks.for_each(|(((p, g), m), v)| adam(set, constants, p, g, m, v));
        }
        (Optimizer::Sgd { momentum, weight_decay }, [buffer, ..]) => {
            // The buffer starts at zero, so that it is the gradient after the first step.
            let constants = [*momentum as f32, *weight_decay as f32, learning_rate];
            chunks.zip(buffer.par_chunks_mut(CHUNK)).for_each(|((p, g), b)| sgd(set, constants, p, g, b));
        }
        // An engine is built with the moments of its optimiser.
        _ => unreachable!("moments do not belong to the optimiser"),
    }
}

/// A NaN stays one.
#[inline(always)]
fn unless_below(least: f32, moment: f32) -> f32 {
    if moment.abs() < least { 0.0 } else { moment }
}

vectorised! {
    fn adam(constants: [f32; 7], p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let [rest1, beta2, rest2, epsilon, weight_decay, rate, root] = constants;
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = g + weight_decay * *p;
            *m = unless_below(LEAST_FIRST_MOMENT, *m + (g - *m) * rest1);
            *v = unless_below(LEAST_SECOND_MOMENT, *v * beta2 + rest2 * g * g);
            *p -= rate * *m / (v.sqrt() * root + epsilon);
        }
    }
}

vectorised! {
    fn sgd(constants: [f32; 3], p: &mut [f32], g: &[f32], b: &mut [f32]) {
        let [momentum, weight_decay, rate] = constants;
        for ((p, g), b) in p.iter_mut().zip(g).zip(b) {
            let g = g + weight_decay * *p;
            *b = unless_below(LEAST_FIRST_MOMENT, momentum * *b + g);
            *p -= rate * *b;
        }
    }
}
