//! Maxima that stand alone, after local response normalisation. Those right after a convolution are fused with it
//! (`activation`).

use rayon::prelude::*;

use crate::vgg::Shape;

/// Offsets of a window's four pixels within a sample, in row-major order.
fn corners(pixel: usize, shape: Shape) -> [usize; 4] {
    let columns = shape.width / 2;
    let first = (2 * (pixel / columns) * shape.width + 2 * (pixel % columns)) * shape.channels;
    let below = first + shape.width * shape.channels;
    [first, first + shape.channels, below, below + shape.channels]
}

/// y [n,h/2,w/2,c] = maxima of 2x2 windows of x [n,h,w,c]; an odd last row or column is under no window.
pub fn forward(x: &[f32], shape: Shape, y: &mut [f32]) {
    let output = (shape.height / 2) * (shape.width / 2) * shape.channels;
    x.par_chunks(shape.elements()).zip(y.par_chunks_mut(output)).for_each(|(x, y)| {
        for (pixel, y) in y.chunks_exact_mut(shape.channels).enumerate() {
            let at = corners(pixel, shape);
            for (l, y) in y.iter_mut().enumerate() {
                *y = x[at[first_greatest(x, at, l)] + l];
            }
        }
    });
}

/// dx of [`maximum`]: the first of equal values in row-major order gets the gradient.
pub fn backward(x: &[f32], dy: &[f32], shape: Shape, dx: &mut [f32]) {
    let output = (shape.height / 2) * (shape.width / 2) * shape.channels;
    let samples = dx.par_chunks_mut(shape.elements()).zip(x.par_chunks(shape.elements())).zip(dy.par_chunks(output));
    samples.for_each(|((dx, x), dy)| {
        dx.fill(0.0);
        for (pixel, dy) in dy.chunks_exact(shape.channels).enumerate() {
            let at = corners(pixel, shape);
            for (l, dy) in dy.iter().enumerate() {
                dx[at[first_greatest(x, at, l)] + l] = *dy;
            }
        }
    });
}

/// Which corner of channel `l` is greatest; the first of equal ones.
fn first_greatest(x: &[f32], at: [usize; 4], l: usize) -> usize {
    let mut best = 0;
    for corner in 1..4 {
        // A NaN wins, as it does in torch.
        if x[at[corner] + l] > x[at[best] + l] || x[at[corner] + l].is_nan() {
            best = corner;
        }
    }
    best
}
