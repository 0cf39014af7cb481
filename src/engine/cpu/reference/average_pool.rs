//! Adaptive average pooling to `size` x `size`: output row i is the mean of the input rows
//! floor(i * height / size) .. ceil((i + 1) * height / size), columns likewise; windows may overlap.
//!
//! x [n, height, width, channels] is NHWC, but y is [n, channels, size, size]: flattened channel first, so that the
//! linear weights that follow are torchvision's. Source: torch.nn.AdaptiveAvgPool2d.

use std::ops::Range;

use super::{Real, count};
use crate::vgg::Shape;

/// Input positions that output position `i` averages.
pub fn window(i: usize, input: usize, size: usize) -> Range<usize> {
    i * input / size..((i + 1) * input).div_ceil(size)
}

/// Calls `visit(output, input, window area)` for every pair of an output and an input that it averages.
fn for_each<T: Real>(input: Shape, size: usize, samples: usize, mut visit: impl FnMut(usize, usize, T)) {
    for n in 0..samples {
        for c in 0..input.channels {
            for i in 0..size {
                for j in 0..size {
                    let (rows, columns) = (window(i, input.height, size), window(j, input.width, size));
                    let area = count(rows.len() * columns.len());
                    let y = ((n * input.channels + c) * size + i) * size + j;
                    for h in rows {
                        for w in columns.clone() {
                            visit(y, ((n * input.height + h) * input.width + w) * input.channels + c, area);
                        }
                    }
                }
            }
        }
    }
}

/// y; overwritten.
pub fn forward<T: Real>(input: Shape, size: usize, x: &[T], y: &mut [T]) {
    y.fill(T::zero());
    for_each(input, size, x.len() / input.elements(), |to, from, area: T| y[to] += x[from] / area);
}

/// dx = dy / area, summed over the windows that a pixel is in; overwritten.
pub fn backward<T: Real>(input: Shape, size: usize, dy: &[T], dx: &mut [T]) {
    dx.fill(T::zero());
    for_each(input, size, dx.len() / input.elements(), |to, from, area: T| dx[from] += dy[to] / area);
}
