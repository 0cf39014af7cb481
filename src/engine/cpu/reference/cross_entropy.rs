//! Softmax cross-entropy with label smoothing e, averaged over the batch, and the hits of a batch:
//! loss = mean over n of -sum over k of t[k] * log softmax(z)[k], with t = e / K everywhere and 1 - e more at the label, or
//! shared out between two; of which teachers, where there are any, replace a part by what they say.
//!
//! logits z [n, classes], targets [n]. Source: torch.nn.CrossEntropyLoss; Szegedy et al. 2016, section 7.

use super::{Real, count};
use crate::engine::sample::Target;

/// Returns the mean loss and overwrites `gradient` [n, classes] with (softmax(z) - t) / n.
pub fn forward_backward<T: Real>(logits: &[T], targets: &[Target], smoothing: T, gradient: &mut [T]) -> T {
    taught(logits, targets, smoothing, None, gradient)
}

/// The same with t = (1 - w) of that and w of the rows [n, classes] of `teaching`, (w, rows).
/// Source: Hinton et al. 2015, section 2, at temperature 1.
pub fn taught<T: Real>(
    logits: &[T],
    targets: &[Target],
    smoothing: T,
    teaching: Option<(T, &[f32])>,
    gradient: &mut [T],
) -> T {
    let samples: T = count(targets.len());
    let classes = logits.len() / targets.len();
    let everywhere = smoothing / count(classes);
    let mut loss = T::zero();
    let samples_of = logits.chunks_exact(classes).zip(gradient.chunks_exact_mut(classes)).zip(targets);
    for (sample, ((z, d), target)) in samples_of.enumerate() {
        let log_sum = log_sum_exp(z);
        for (k, (z, d)) in z.iter().zip(d.iter_mut()).enumerate() {
            let at_label = |(label, share): (usize, f32)| if k == label { T::of(share.into()) } else { T::zero() };
            let labelled = target.shares().into_iter().fold(T::zero(), |sum, share| sum + at_label(share));
            let mut target = everywhere + (T::one() - smoothing) * labelled;
            if let Some((weight, rows)) = teaching {
                target = (T::one() - weight) * target + weight * T::of(rows[sample * classes + k].into());
            }
            // A target of 0 must not turn an infinite logit into NaN.
            if target > T::zero() {
                loss += target * (log_sum - *z);
            }
            *d = ((*z - log_sum).exp() - target) / samples;
        }
    }
    loss / samples
}

/// log of the sum of exp(z), with the maximum taken out so that nothing overflows.
fn log_sum_exp<T: Real>(z: &[T]) -> T {
    let highest = z.iter().fold(T::neg_infinity(), |a, b| if *b > a || b.is_nan() { *b } else { a });
    highest + z.iter().fold(T::zero(), |sum, v| sum + (*v - highest).exp()).ln()
}

/// How many samples have their target's first label as the highest logit, and among the five highest.
/// Of equal logits the lower class index is the higher; a label whose logit is NaN is never a hit.
pub fn hits<T: Real>(logits: &[T], targets: &[Target]) -> (u32, u32) {
    let classes = logits.len() / targets.len().max(1);
    let (mut top1, mut top5) = (0, 0);
    for (z, target) in logits.chunks_exact(classes.max(1)).zip(targets) {
        let label = target.label() as usize;
        let ahead = z.iter().enumerate().filter(|(k, v)| **v > z[label] || (**v == z[label] && *k < label)).count();
        if !z[label].is_nan() {
            top1 += u32::from(ahead < 1);
            top5 += u32::from(ahead < 5);
        }
    }
    (top1, top5)
}
