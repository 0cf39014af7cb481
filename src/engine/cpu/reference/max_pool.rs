//! Maximum over 2x2 windows with stride 2; an odd last row or column is dropped.
//!
//! x [n, height, width, channels], y [n, height/2, width/2, channels] (floor). Where two values tie, the first in
//! row-major order counts. Source: torch.nn.MaxPool2d(2, 2); NaN wins over any number, as there.

use super::Real;
use crate::vgg::Shape;

/// Offsets into x of the four values of an output, in row-major order.
fn window(input: Shape, sample: usize, row: usize, column: usize, channel: usize) -> [usize; 4] {
    let at = |r: usize, c: usize| {
        ((sample * input.height + 2 * row + r) * input.width + 2 * column + c) * input.channels + channel
    };
    [at(0, 0), at(0, 1), at(1, 0), at(1, 1)]
}

/// y is overwritten; returns for each output the offset into x that it came from.
pub fn forward<T: Real>(input: Shape, x: &[T], y: &mut [T]) -> Vec<usize> {
    let (height, width) = (input.height / 2, input.width / 2);
    let samples = x.len() / input.elements();
    let mut origins = Vec::with_capacity(y.len());
    for n in 0..samples {
        for h in 0..height {
            for w in 0..width {
                for c in 0..input.channels {
                    let [mut best, rest @ ..] = window(input, n, h, w, c);
                    for candidate in rest {
                        if x[candidate] > x[best] || x[candidate].is_nan() {
                            best = candidate;
                        }
                    }
                    y[origins.len()] = x[best];
                    origins.push(best);
                }
            }
        }
    }
    origins
}

/// dx[origin] = dy, 0 elsewhere; overwritten. Windows do not overlap.
pub fn backward<T: Real>(origins: &[usize], dy: &[T], dx: &mut [T]) {
    dx.fill(T::zero());
    for (origin, d) in origins.iter().zip(dy) {
        dx[*origin] = *d;
    }
}
