//! Inverted dropout: y = x / (1 - p) where the mask keeps an element, 0 where it does not. Any shape, elements counted
//! over the whole batch.
//!
//! The mask is a pure function of seed, layer, step and element ([`DropoutMask`]), so the backward pass draws it again.
//! Source: Srivastava et al. 2014; torch.nn.Dropout (whose own random numbers are others).

use super::Real;
use crate::engine::random::DropoutMask;

/// In place; the backward pass is the same with dy.
pub fn apply<T: Real>(mask: &DropoutMask, probability: f32, x: &mut [T]) {
    let scale = T::of(1.0 / (1.0 - f64::from(probability)));
    for (element, v) in x.iter_mut().enumerate() {
        *v = if mask.keeps(element) { *v * scale } else { T::zero() };
    }
}
