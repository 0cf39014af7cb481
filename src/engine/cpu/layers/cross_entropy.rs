//! Softmax cross-entropy with label smoothing (torch.nn.CrossEntropyLoss, mean over the batch), its gradient, and hits.
//! Batches of logits are small, so it computes in f64 on one thread.

use crate::engine::cpu::reference::cross_entropy::hits;
use crate::engine::sample::Target;
use crate::engine::settling::Outcome;

/// Loss and hits of logits [n, classes] of a batch of `batch` samples, whose gradient is written to `gradient` [n, classes].
/// With `teaching`, a weight and rows [n, classes], so much of the target is the rows.
pub fn outcome(
    logits: &[f32],
    targets: &[Target],
    batch: usize,
    smoothing: f32,
    teaching: Option<(f32, &[f32])>,
    gradient: &mut [f32],
) -> Outcome {
    let classes = logits.len() / targets.len().max(1);
    let (batch_inverse, smoothing) = (1.0 / batch as f64, f64::from(smoothing));
    let (taught, rows) = teaching.map_or((0.0, &[][..]), |(weight, rows)| (f64::from(weight), rows));
    let spread = (1.0 - taught) * smoothing / classes as f64;
    let mut loss = 0.0;
    for (sample, (row, gradient)) in logits.chunks_exact(classes).zip(gradient.chunks_exact_mut(classes)).enumerate() {
        let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let shifted = |v: f32| f64::from(v) - f64::from(highest);
        let total: f64 = row.iter().map(|v| shifted(*v).exp()).sum();
        let log_total = total.ln();
        let labelled = (1.0 - taught) * (1.0 - smoothing);
        let labels = targets[sample].shares().map(|(label, share)| (label, labelled * f64::from(share)));
        // A share of 0 must not turn an infinite logit into NaN.
        for (label, share) in labels.into_iter().filter(|(_, share)| *share > 0.0) {
            loss -= share * (shifted(row[label]) - log_total);
        }
        if spread > 0.0 {
            loss -= spread * row.iter().map(|v| shifted(*v) - log_total).sum::<f64>();
        }
        let teacher = rows.get(sample * classes..(sample + 1) * classes).unwrap_or(&[]);
        for (v, share) in row.iter().zip(teacher).filter(|(_, share)| **share > 0.0) {
            loss -= taught * f64::from(*share) * (shifted(*v) - log_total);
        }
        for (class, (g, v)) in gradient.iter_mut().zip(row).enumerate() {
            let mut target =
                labels.iter().fold(spread, |t, (label, share)| t + if class == *label { *share } else { 0.0 });
            target += teacher.get(class).map_or(0.0, |share| taught * f64::from(*share));
            *g = ((shifted(*v).exp() / total - target) * batch_inverse) as f32;
        }
    }
    let (top1, top5) = hits(logits, targets);
    Outcome { loss, top1, top5 }
}
