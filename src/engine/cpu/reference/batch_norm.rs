//! Batch normalisation over N, H and W: y = (x - mean) / sqrt(variance + eps) * scale + shift, per channel.
//!
//! x, y [rows, channels] with rows = n * height * width; everything else [channels]. In training mean and (biased)
//! variance are the batch's, and the running ones move by 0.1 towards them, the variance unbiased
//! (rows / (rows - 1)); in inference they are the running ones.
//! Source: Ioffe & Szegedy 2015, algorithm 1; torch.nn.BatchNorm2d.

use super::{Real, count};

/// Added to the variance.
pub const EPSILON: f64 = 1e-5;
/// Weight of the batch in the running statistics.
pub const MOMENTUM: f64 = 0.1;

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
    let mut mean = vec![T::zero(); channels];
    for row in x.chunks_exact(channels) {
        for (m, v) in mean.iter_mut().zip(row) {
            *m += *v;
        }
    }
    mean.iter_mut().for_each(|m| *m /= count(rows));
    let mut variance = vec![T::zero(); channels];
    for row in x.chunks_exact(channels) {
        for c in 0..channels {
            let d = row[c] - mean[c];
            variance[c] += d * d;
        }
    }
    let momentum = T::of(MOMENTUM);
    for c in 0..channels {
        // One row has no unbiased variance (PyTorch refuses it); no plan has one: maps are at least 2x2.
        let unbiased = variance[c] / count(rows.saturating_sub(1).max(1));
        running_mean[c] += momentum * (mean[c] - running_mean[c]);
        running_variance[c] += momentum * (unbiased - running_variance[c]);
        variance[c] /= count(rows);
    }
    let inverse_std: Vec<T> = variance.iter().map(|v| (*v + T::of(EPSILON)).sqrt().recip()).collect();
    normalise(x, &mean, &inverse_std, scale, shift, y);
    Saved { mean, inverse_std }
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
    dscale.fill(T::zero());
    dshift.fill(T::zero());
    for (row, gradient) in x.chunks_exact(channels).zip(dy.chunks_exact(channels)) {
        for c in 0..channels {
            dscale[c] += gradient[c] * normalised(row, c);
            dshift[c] += gradient[c];
        }
    }
    let pixels = x.chunks_exact(channels).zip(dy.chunks_exact(channels)).zip(dx.chunks_exact_mut(channels));
    for ((row, gradient), out) in pixels {
        for c in 0..channels {
            let centred = gradient[c] - dshift[c] / rows - normalised(row, c) * dscale[c] / rows;
            out[c] = scale[c] * saved.inverse_std[c] * centred;
        }
    }
}
