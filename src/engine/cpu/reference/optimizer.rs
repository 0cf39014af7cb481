//! One update of one tensor, exactly as PyTorch does it; g is the gradient plus weight_decay * parameter.
//!
//! Adam (<https://docs.pytorch.org/docs/stable/generated/torch.optim.Adam.html>; Kingma & Ba 2015):
//! m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2,
//! p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon), t from 1.
//! AdamW (<https://docs.pytorch.org/docs/stable/generated/torch.optim.AdamW.html>): the same with g the gradient alone, after
//! p *= 1 - lr * weight_decay.
//! SGD (<https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html>): b = momentum * b + g, p -= lr * b; with
//! Nesterov's momentum p -= lr * (g + momentum * b). b starts at 0, so the first b is g.
//! Constants are combined in f64 and rounded once, as Python does for PyTorch.

use super::Real;
use crate::engine::Optimizer;

/// Updates `parameter` and its `moments` (one slice for each name of [`Optimizer::moments`], zeros before the first
/// step). `t` is the number of this step, from 1.
pub fn update<T: Real>(
    optimizer: &Optimizer,
    learning_rate: f64,
    t: u64,
    parameter: &mut [T],
    gradient: &[T],
    moments: &mut [&mut [T]],
) {
    match (*optimizer, moments) {
        (
            Optimizer::Adam { beta1, beta2, epsilon, weight_decay }
            | Optimizer::AdamW { beta1, beta2, epsilon, weight_decay },
            [first, second],
        ) => {
            let steps = t as f64;
            let step_size = T::of(learning_rate / (1.0 - beta1.powf(steps)));
            let root_correction = T::of((1.0 - beta2.powf(steps)).sqrt());
            let decoupled = matches!(optimizer, Optimizer::AdamW { .. });
            let decay = T::of(if decoupled { 0.0 } else { weight_decay });
            let kept = T::of(if decoupled { 1.0 - learning_rate * weight_decay } else { 1.0 });
            for (((p, g), m), v) in parameter.iter_mut().zip(gradient).zip(first.iter_mut()).zip(second.iter_mut()) {
                *p *= kept;
                let g = *g + decay * *p;
                *m += T::of(1.0 - beta1) * (g - *m);
                *v = T::of(beta2) * *v + T::of(1.0 - beta2) * g * g;
                *p -= step_size * *m / (v.sqrt() / root_correction + T::of(epsilon));
            }
        }
        (Optimizer::Sgd { momentum, weight_decay, nesterov }, [buffer]) => {
            let (rate, momentum, decay) = (T::of(learning_rate), T::of(momentum), T::of(weight_decay));
            for ((p, g), b) in parameter.iter_mut().zip(gradient).zip(buffer.iter_mut()) {
                let g = *g + decay * *p;
                *b = momentum * *b + g;
                *p -= rate * if nesterov { g + momentum * *b } else { *b };
            }
        }
        (optimizer, moments) => unreachable!("{} moments for {optimizer:?}", moments.len()),
    }
}
