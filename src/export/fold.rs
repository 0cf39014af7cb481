//! Batch normalisation folded into the convolution ahead of it, in f64: y = (w x + b - mean) / sqrt(var + eps) * scale + shift
//! is a convolution with w * factor and (b - mean) * factor + shift, where factor = scale / sqrt(var + eps).
//!
//! Of inference only: in training the statistics are the batch's.

use crate::engine::settling::EPSILON;

/// Of each channel the factor of its filter and what is added at last.
fn factors([scale, shift, mean, variance]: [&[f32]; 4], bias: &[f32]) -> Vec<(f64, f64)> {
    (0..bias.len())
        .map(|c| {
            let factor = f64::from(scale[c]) / (f64::from(variance[c]) + EPSILON).sqrt();
            (factor, (f64::from(bias[c]) - f64::from(mean[c])) * factor + f64::from(shift[c]))
        })
        .collect()
}

/// Changes weight [O, ...] and bias [O] of a convolution to what computes the batch normalisation behind it as well, whose scale,
/// shift, running mean and running variance are [O] each.
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what is asked for")]
pub fn into_convolution(weight: &mut [f32], bias: &mut [f32], batch_norm: [&[f32]; 4]) {
    let factors = factors(batch_norm, bias);
    let filter = weight.len() / bias.len();
    for ((filter, bias), (factor, added)) in weight.chunks_exact_mut(filter).zip(bias).zip(factors) {
        filter.iter_mut().for_each(|w| *w = (f64::from(*w) * factor) as f32);
        *bias = added as f32;
    }
}
