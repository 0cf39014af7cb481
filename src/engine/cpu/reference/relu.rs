//! ReLU: y = max(x, 0), element by element; any shape.
//!
//! Source: torch.nn.ReLU. NaN passes through, so that a diverged network is seen in its loss.

use super::Real;

/// y = max(x, 0), in place.
pub fn forward<T: Real>(x: &mut [T]) {
    for v in x {
        if *v < T::zero() {
            *v = T::zero();
        }
    }
}

/// dx = dy where y > 0, else 0; in place on `dy`. The gradient at 0 is 0.
pub fn backward<T: Real>(y: &[T], dy: &mut [T]) {
    for (d, y) in dy.iter_mut().zip(y) {
        if *y <= T::zero() {
            *d = T::zero();
        }
    }
}
