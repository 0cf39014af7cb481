//! Local response normalisation (Krizhevsky et al. 2012, section 3.3) over NHWC activations:
//! y = x / d^beta with d = k + alpha * sum of x^2 over `SIZE` neighbouring channels.
//!
//! The paper's constants are fixed here; beta = 3/4 lets square roots stand for the power.

use rayon::prelude::*;

use crate::engine::cpu::plumbing::buffer::Scratch;

const K: f32 = 2.0;
const SIZE: usize = 5;
const ALPHA: f32 = 1e-4;
const BETA: f32 = 0.75;

/// Floats of scratch a thread needs.
pub fn scratch(channels: usize) -> usize {
    2 * channels
}

/// Channels that take part in channel `l`.
fn neighbours(l: usize, channels: usize) -> std::ops::Range<usize> {
    l.saturating_sub(SIZE / 2)..(l + SIZE / 2 + 1).min(channels)
}

/// d^-3/4.
fn power(d: f32) -> f32 {
    1.0 / (d * d.sqrt()).sqrt()
}

fn denominator(x: &[f32], l: usize) -> f32 {
    K + ALPHA * x[neighbours(l, x.len())].iter().map(|v| v * v).sum::<f32>()
}

/// y from x, both [pixels, channels], `sample` floats a task.
pub fn forward(x: &[f32], channels: usize, sample: usize, y: &mut [f32]) {
    x.par_chunks(sample).zip(y.par_chunks_mut(sample)).for_each(|(x, y)| {
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
            for (l, y) in y.iter_mut().enumerate() {
                *y = x[l] * power(denominator(x, l));
            }
        }
    });
}

/// dx from x and dy: dx_i = dy_i d_i^-beta - 2 alpha beta x_i * sum over neighbours j of dy_j x_j d_j^(-beta - 1).
pub fn backward(x: &[f32], dy: &[f32], channels: usize, sample: usize, dx: &mut [f32], scratch: &Scratch) {
    x.par_chunks(sample).zip(dy.par_chunks(sample)).zip(dx.par_chunks_mut(sample)).for_each(|((x, dy), dx)| {
        scratch.with(|scratch| {
            let (powers, products) = scratch.split_at_mut(channels);
            let pixels = x.chunks_exact(channels).zip(dy.chunks_exact(channels)).zip(dx.chunks_exact_mut(channels));
            for ((x, dy), dx) in pixels {
                for l in 0..channels {
                    let d = denominator(x, l);
                    powers[l] = power(d);
                    products[l] = dy[l] * x[l] * powers[l] / d;
                }
                for l in 0..channels {
                    let sum: f32 = products[neighbours(l, channels)].iter().sum();
                    dx[l] = dy[l] * powers[l] - 2.0 * ALPHA * BETA * x[l] * sum;
                }
            }
        });
    });
}
