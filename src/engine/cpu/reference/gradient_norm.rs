//! The L2 norm of all gradients together, and what they are multiplied by so that it is at most `most`:
//! torch.nn.utils.clip_grad_norm_
//! (<https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html>): most / (norm + 1e-6), but 1 at most.

use super::Real;

/// The root of the sum of all squares.
pub fn norm<T: Real>(gradients: &[Vec<T>]) -> T {
    gradients.iter().flatten().fold(T::zero(), |sum, g| sum + *g * *g).sqrt()
}

/// What every gradient is multiplied by, where together they have the norm `norm`.
pub fn factor<T: Real>(norm: T, most: T) -> T {
    (most / (norm + T::of(1e-6))).min(T::one())
}
