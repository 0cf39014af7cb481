//! Adam, AdamW and SGD over parameters in one parallel pass, with the arithmetic of torch.optim; twin `reference::optimizer`.

use std::ops::Range;

use rayon::prelude::*;

use crate::engine::Optimizer;
use crate::engine::cpu::plumbing::buffer::Buffer;
use crate::engine::cpu::plumbing::simd::{InstructionSet, vectorised};

/// Parameters of one task.
const CHUNK: usize = 16 * 1024;

/// Below these a moment is zero. One whose gradient stays zero would shrink until it stuck at a denormal number, and a
/// processor takes some hundred cycles for each of those; a weight moves by less than 1e-21 of the learning rate for it.
const LEAST_FIRST_MOMENT: f32 = 1e-30;
/// Its square root is 1e-9 of Adam's epsilon.
const LEAST_SECOND_MOMENT: f32 = 1e-35;

/// One update, of some or all parameters.
pub struct Hyperparameters {
    /// The rule, with the weight decay that they have.
    pub rule: Optimizer,
    /// Its learning rate.
    pub learning_rate: f32,
    /// Its number, from 1.
    pub t: u64,
    /// What gradients are multiplied by ahead of everything else.
    pub factor: f32,
}

/// Updates the `range` of `parameters` from its `gradients`. `moments` are as long as the parameters, one for each of
/// [`Optimizer::moments`].
pub fn update(
    set: InstructionSet,
    hyperparameters: &Hyperparameters,
    range: &Range<usize>,
    parameters: &mut [f32],
    gradients: &[f32],
    moments: &mut [Buffer],
) {
    let range = || range.clone();
    let chunks = parameters[range()].par_chunks_mut(CHUNK).zip(gradients.par_chunks(CHUNK));
    let (rate, t) = (f64::from(hyperparameters.learning_rate), hyperparameters.t as f64);
    match (&hyperparameters.rule, moments) {
        (
            Optimizer::Adam { beta1, beta2, epsilon, weight_decay }
            | Optimizer::AdamW { beta1, beta2, epsilon, weight_decay },
            [first, second, ..],
        ) => {
            let corrected = rate / (1.0 - beta1.powf(t));
            let root = 1.0 / (1.0 - beta2.powf(t)).sqrt();
            let [added, kept] = match hyperparameters.rule {
                Optimizer::AdamW { .. } => [0.0, 1.0 - rate * weight_decay],
                _ => [*weight_decay, 1.0],
            };
            let chunks = chunks.zip(first[range()].par_chunks_mut(CHUNK)).zip(second[range()].par_chunks_mut(CHUNK));
            let constants = [1.0 - beta1, *beta2, 1.0 - beta2, *epsilon, added, corrected, root, kept];
            let constants = constants.map(|c| c as f32);
            chunks.for_each(|(((p, g), m), v)| adam(set, constants, hyperparameters.factor, p, g, m, v));
        }
        (Optimizer::Sgd { momentum, weight_decay, nesterov }, [buffer, ..]) => {
            // The buffer starts at zero, so that it is the gradient after the first hyperparameters.
            let constants =
                [*momentum as f32, *weight_decay as f32, hyperparameters.learning_rate, hyperparameters.factor];
            let chunks = chunks.zip(buffer[range()].par_chunks_mut(CHUNK));
            let rule = if *nesterov { sgd_nesterov } else { sgd };
            chunks.for_each(|((p, g), b)| rule(set, constants, p, g, b));
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
    fn adam(constants: [f32; 8], factor: f32, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let [rest1, beta2, rest2, epsilon, weight_decay, rate, root, kept] = constants;
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            *p *= kept;
            let g = factor * g + weight_decay * *p;
            *m = unless_below(LEAST_FIRST_MOMENT, *m + (g - *m) * rest1);
            *v = unless_below(LEAST_SECOND_MOMENT, *v * beta2 + rest2 * g * g);
            *p -= rate * *m / (v.sqrt() * root + epsilon);
        }
    }
}

vectorised! {
    fn sgd(constants: [f32; 4], p: &mut [f32], g: &[f32], b: &mut [f32]) {
        let [momentum, weight_decay, rate, factor] = constants;
        for ((p, g), b) in p.iter_mut().zip(g).zip(b) {
            let g = factor * g + weight_decay * *p;
            *b = unless_below(LEAST_FIRST_MOMENT, momentum * *b + g);
            *p -= rate * *b;
        }
    }
}

vectorised! {
    fn sgd_nesterov(constants: [f32; 4], p: &mut [f32], g: &[f32], b: &mut [f32]) {
        let [momentum, weight_decay, rate, factor] = constants;
        for ((p, g), b) in p.iter_mut().zip(g).zip(b) {
            let g = factor * g + weight_decay * *p;
            *b = unless_below(LEAST_FIRST_MOMENT, momentum * *b + g);
            *p -= rate * (g + momentum * *b);
        }
    }
}
