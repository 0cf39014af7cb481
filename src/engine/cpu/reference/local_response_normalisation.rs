//! Local response normalisation across channels: y[c] = x[c] / d[c]^beta with
//! d[c] = k + alpha * sum of x[j]^2 over the `size` channels j around c, cut at the ends.
//!
//! x, y [pixels, channels]. Source: Krizhevsky, Sutskever & Hinton 2012, section 3.3, with its constants.
//! torch.nn.LocalResponseNorm divides alpha by `size`: the same is alpha = 5e-4 there.

use super::Real;

/// k.
pub const K: f64 = 2.0;
/// Channels in a window.
pub const SIZE: usize = 5;
/// alpha, of the sum of squares.
pub const ALPHA: f64 = 1e-4;
/// beta.
pub const BETA: f64 = 0.75;

/// The window around channel c.
fn window(c: usize, channels: usize) -> std::ops::Range<usize> {
    c.saturating_sub(SIZE / 2)..(c + SIZE / 2 + 1).min(channels)
}

/// d of every channel of one pixel.
fn denominators<T: Real>(x: &[T]) -> Vec<T> {
    (0..x.len())
        .map(|c| {
            let squares = x[window(c, x.len())].iter().fold(T::zero(), |sum, v| sum + *v * *v);
            T::of(K) + T::of(ALPHA) * squares
        })
        .collect()
}

/// y; overwritten.
pub fn forward<T: Real>(channels: usize, x: &[T], y: &mut [T]) {
    for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
        for ((y, x), d) in y.iter_mut().zip(x).zip(denominators(x)) {
            *y = *x * d.powf(T::of(-BETA));
        }
    }
}

/// dx[c] = dy[c] * d[c]^-beta - 2 * alpha * beta * x[c] * sum over the j that see c of dy[j] * x[j] * d[j]^(-beta - 1);
/// overwritten. The window is symmetric: the j that see c are those that c sees.
pub fn backward<T: Real>(channels: usize, x: &[T], dy: &[T], dx: &mut [T]) {
    let pixels = x.chunks_exact(channels).zip(dy.chunks_exact(channels)).zip(dx.chunks_exact_mut(channels));
    for ((x, dy), dx) in pixels {
        let d = denominators(x);
        for c in 0..channels {
            let through =
                window(c, channels).fold(T::zero(), |sum, j| sum + dy[j] * x[j] * d[j].powf(T::of(-BETA - 1.0)));
            dx[c] = dy[c] * d[c].powf(T::of(-BETA)) - T::of(2.0 * ALPHA * BETA) * x[c] * through;
        }
    }
}
