//! Loss and accuracy of logits, on the host and in f64: what validation and evaluation report.

use crate::engine::peers::Peers;
use crate::engine::tree;
use crate::engine::{Batch, Engine, Pick, Source, View};
use crate::error::{Error, Kind, Result};

/// Scores over a labelled split.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// Number of images.
    pub images: usize,
    /// Mean cross-entropy, without label smoothing.
    pub loss: f64,
    /// Fraction in 0..1.
    pub top1: f64,
    /// Fraction in 0..1.
    pub top5: f64,
}

/// Natural logarithm of the sum of exponentials, without overflow.
pub fn log_sum_exp<T: Copy + Into<f64>>(logits: &[T]) -> f64 {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(v.into()));
    largest + logits.iter().map(|&v| (v.into() - largest).exp()).sum::<f64>().ln()
}

/// Softmax probabilities.
pub fn softmax<T: Copy + Into<f64>>(logits: &[T]) -> Vec<f64> {
    let total = log_sum_exp(logits);
    logits.iter().map(|&v| (v.into() - total).exp()).collect()
}

/// Cross-entropy of one sample.
pub fn cross_entropy(logits: &[f32], label: u32) -> f64 {
    log_sum_exp(logits) - f64::from(logits[label as usize])
}

/// How many classes come before `label` when sorted by falling score, a logit or a probability; equal scores are sorted by
/// class index.
pub fn rank<T: PartialOrd>(scores: &[T], label: u32) -> usize {
    let own = &scores[label as usize];
    scores.iter().enumerate().filter(|(i, v)| *v > own || (*v == own && *i < label as usize)).count()
}

/// The class with the highest score; the lowest index among equals.
pub fn predicted<T: PartialOrd>(scores: &[T]) -> usize {
    let mut best = 0;
    for (i, v) in scores.iter().enumerate() {
        if *v > scores[best] {
            best = i;
        }
    }
    best
}

/// Runs `count` validation images through the engine in batches of `batch_size` and shows each one's logits to `visit`,
/// in order. `progress` is told after each batch how many are done.
pub fn for_each_logits(
    engine: &mut dyn Engine,
    count: usize,
    batch_size: usize,
    visit: impl FnMut(usize, &[f32]),
    progress: impl FnMut(usize),
) -> Result<()> {
    for_each_view(engine, count, batch_size, View::default(), visit, progress)
}

/// [`for_each_logits`] of each image as `view` shows it, whatever its index.
pub fn for_each_view(
    engine: &mut dyn Engine,
    count: usize,
    batch_size: usize,
    view: View,
    visit: impl FnMut(usize, &[f32]),
    progress: impl FnMut(usize),
) -> Result<()> {
    logits_of(engine, (Source::Validation, &seen(count, view)?), batch_size, visit, progress)
}

/// All of `count` images as they are.
pub fn all(count: usize) -> Result<Vec<Pick>> {
    seen(count, View::default())
}

/// All of `count` images as `view` shows them.
fn seen(count: usize, view: View) -> Result<Vec<Pick>> {
    let count = u32::try_from(count).map_err(|_| Error::new(Kind::Engine, "more than 2^32 images"))?;
    Ok((0..count).map(|index| View { index, ..view }.into()).collect())
}

/// The same for these picks; `visit` is told the place of each among them.
pub fn logits_of(
    engine: &mut dyn Engine,
    (source, picks): (Source, &[Pick]),
    batch_size: usize,
    mut visit: impl FnMut(usize, &[f32]),
    mut progress: impl FnMut(usize),
) -> Result<()> {
    let classes = engine.plan().network.classes;
    let mut done = 0;
    let mut batches = picks.chunks(batch_size.max(1)).map(|picks| Batch::Picks(source, picks));
    engine.infer(&mut batches, &mut |logits| {
        for row in logits.chunks_exact(classes) {
            visit(done, row);
            done += 1;
        }
        progress(done);
    })
}

/// Scores of these images, as they are, against their labels. Each of the `peers` computes a share, in the same batches as one
/// alone would, and all come to the same bits.
pub fn measure(
    engine: &mut dyn Engine,
    (source, picks): (Source, &[Pick]),
    labels: &[u32],
    batch_size: usize,
    peers: Option<&dyn Peers>,
    mut progress: impl FnMut(usize),
) -> Result<Scores> {
    let mut tally = Tally::default();
    let Some(peers) = peers else {
        let visit = |i: usize, logits: &[f32]| tally.add(logits, labels[i]);
        logits_of(engine, (source, picks), batch_size, visit, progress)?;
        return Ok(tally.scores());
    };
    let batches = tree::leaves(picks.len(), batch_size);
    let share = tree::share(batches, peers.ranks(), peers.rank());
    let share = tree::samples_of(share, picks.len(), batch_size);
    let mut mine = Vec::with_capacity(2 * share.len());
    let visit = |i: usize, logits: &[f32]| {
        let label = labels[share.start + i];
        mine.extend([cross_entropy(logits, label), rank(logits, label) as f64]);
    };
    let told = |done: usize| progress((done * peers.ranks()).min(picks.len()));
    logits_of(engine, (source, &picks[share.clone()]), batch_size, visit, told)?;
    for of_one in peers.all(&mine)? {
        of_one.as_chunks::<2>().0.iter().for_each(|[loss, rank]| tally.count(*loss, *rank as usize));
    }
    Ok(tally.scores())
}

/// Sums that become [`Scores`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    images: usize,
    loss: f64,
    top1: usize,
    top5: usize,
}

impl Tally {
    /// Counts one image by its logits.
    pub fn add(&mut self, logits: &[f32], label: u32) {
        self.count(cross_entropy(logits, label), rank(logits, label));
    }

    /// Counts one image of which this is known: its cross-entropy, and how many classes come before its label.
    pub fn count(&mut self, cross_entropy: f64, rank: usize) {
        self.images += 1;
        self.loss += cross_entropy;
        self.top1 += usize::from(rank < 1);
        self.top5 += usize::from(rank < 5);
    }

    /// Means over the images so far.
    pub fn scores(&self) -> Scores {
        let images = self.images.max(1) as f64;
        Scores {
            images: self.images,
            loss: self.loss / images,
            top1: self.top1 as f64 / images,
            top5: self.top5 as f64 / images,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_of_known_logits() {
        assert!((cross_entropy(&[0.0; 4], 2) - 4.0_f64.ln()).abs() < 1e-12);
        assert!(cross_entropy(&[1000.0, -1000.0], 0).abs() < 1e-12);
        assert!((cross_entropy(&[1000.0, -1000.0], 1) - 2000.0).abs() < 1e-9);
        assert!(cross_entropy(&[f32::NAN, 0.0], 1).is_nan());
        let sum: f64 = softmax(&[3.0, -1.0, 0.5]).iter().sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }

    #[test]
    fn equal_logits_favour_the_lower_class() {
        let logits = [1.0, 2.0, 2.0, 0.0];
        assert_eq!(predicted(&logits), 1);
        assert_eq!((rank(&logits, 1), rank(&logits, 2), rank(&logits, 0), rank(&logits, 3)), (0, 1, 2, 3));
    }
}
