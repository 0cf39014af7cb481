//! Batch normalisation over N, H and W: y = (x - mean) / sqrt(variance + eps) * scale + shift, per channel.
//!
//! x, y [rows, channels] with rows = n * height * width; everything else [channels]. In training mean and (biased)
//! variance are the batch's, and the running ones move by 0.1 towards them, the variance unbiased
//! (rows / (rows - 1)); in inference they are the running ones.
//! Sums over rows are kept in f64, whatever the numbers are.
//! Source: Ioffe & Szegedy 2015, algorithm 1; torch.nn.BatchNorm2d.

use super::{Real, count};
use crate::engine::settling::{EPSILON, MOMENTUM};

/// What the forward pass leaves for the backward pass, per channel.
#[derive(Clone, Debug)]
pub struct Saved<T> {
    /// Mean of the batch.
    pub mean: Vec<T>,
    /// 1 / sqrt(biased variance of the batch + eps).
    pub inverse_std: Vec<T>,
}

/// Training: y is overwritten, the running statistics are updated.
pub fn forward_train<T: Real>(
    x: &[T],
    scale: &[T],
    shift: &[T],
    running_mean: &mut [T],
    running_variance: &mut [T],
    y: &mut [T],
) -> Saved<T> {
    let channels = scale.len();
    let rows = x.len() / channels;
    let mean: Vec<f64> = sums(channels, x, |c, v| v[c].wide()).iter().map(|sum| sum / rows as f64).collect();
    let squares = sums(channels, x, |c, v| (v[c].wide() - mean[c]).powi(2));
    for c in 0..channels {
        // One row has no unbiased variance (PyTorch refuses it); no plan has one: maps are at least 2x2.
        let unbiased = squares[c] / (rows.max(2) - 1) as f64;
        running_mean[c] += T::of(MOMENTUM) * (T::of(mean[c]) - running_mean[c]);
        running_variance[c] += T::of(MOMENTUM) * (T::of(unbiased) - running_variance[c]);
    }
    let mean: Vec<T> = mean.into_iter().map(T::of).collect();
    let inverse_std: Vec<T> = squares.iter().map(|sum| T::of((sum / rows as f64 + EPSILON).sqrt().recip())).collect();
    normalise(x, &mean, &inverse_std, scale, shift, y);
    Saved { mean, inverse_std }
}

/// Sum of `term(channel, row)` over all rows, per channel.
fn sums<T>(channels: usize, x: &[T], term: impl Fn(usize, &[T]) -> f64) -> Vec<f64> {
    (0..channels).map(|c| x.chunks_exact(channels).map(|row| term(c, row)).sum()).collect()
}

/// Inference with the running statistics; y is overwritten.
pub fn forward_inference<T: Real>(
    x: &[T],
    scale: &[T],
    shift: &[T],
    running_mean: &[T],
    running_variance: &[T],
    y: &mut [T],
) {
    let inverse_std: Vec<T> = running_variance.iter().map(|v| (*v + T::of(EPSILON)).sqrt().recip()).collect();
    normalise(x, running_mean, &inverse_std, scale, shift, y);
}

fn normalise<T: Real>(x: &[T], mean: &[T], inverse_std: &[T], scale: &[T], shift: &[T], y: &mut [T]) {
    let channels = scale.len();
    for (row, out) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
        for c in 0..channels {
            out[c] = (row[c] - mean[c]) * inverse_std[c] * scale[c] + shift[c];
        }
    }
}

/// With xhat = (x - mean) * inverse_std: dshift = sum dy, dscale = sum dy * xhat,
/// dx = scale * inverse_std * (dy - dshift / rows - xhat * dscale / rows). All three are overwritten.
pub fn backward<T: Real>(
    x: &[T],
    scale: &[T],
    saved: &Saved<T>,
    dy: &[T],
    dx: &mut [T],
    dscale: &mut [T],
    dshift: &mut [T],
) {
    let channels = scale.len();
    let rows: T = count(x.len() / channels);
    let normalised = |row: &[T], c: usize| (row[c] - saved.mean[c]) * saved.inverse_std[c];
    let mut scale_sums = vec![0.0; channels];
    let mut shift_sums = vec![0.0; channels];
    for (row, gradient) in x.chunks_exact(channels).zip(dy.chunks_exact(channels)) {
        for c in 0..channels {
            scale_sums[c] += (gradient[c] * normalised(row, c)).wide();
            shift_sums[c] += gradient[c].wide();
        }
    }
    for c in 0..channels {
        dscale[c] = T::of(scale_sums[c]);
        dshift[c] = T::of(shift_sums[c]);
    }
    let pixels = x.chunks_exact(channels).zip(dy.chunks_exact(channels)).zip(dx.chunks_exact_mut(channels));
    for ((row, gradient), out) in pixels {
        for c in 0..channels {
            let centred = gradient[c] - dshift[c] / rows - normalised(row, c) * dscale[c] / rows;
            out[c] = scale[c] * saved.inverse_std[c] * centred;
        }
    }
}
