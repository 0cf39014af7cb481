//! Calibration: is a network right as often as it says? Images are put into bins by the probability of their prediction,
//! and in each bin the mean of that confidence is held against the share of hits.
//!
//! The expected calibration error is that of Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks"
//! (ICML 2017), equations 2 and 3 and section 2: 15 bins of equal width, each open below and closed above.

use serde::{Deserialize, Serialize};

/// Bins of equal width between 0 and 1.
pub const BINS: usize = 15;

/// How the confidences of an evaluation lie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Expected calibration error: over the bins, the mean of |top1 - confidence|, each weighing as its images; 0..1.
    pub error: f64,
    /// [`BINS`] of them; bin b, counted from 0, holds confidences above b / 15 and up to (b + 1) / 15.
    pub bins: Vec<Bin>,
}

/// One bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Images in it.
    pub images: usize,
    /// Mean probability of their predictions; 0 where there are none.
    pub confidence: f64,
    /// Share of them whose prediction is right; 0 where there are none.
    pub top1: f64,
}

impl Calibration {
    /// Of answers, each the probability of a prediction and whether it is right; added up in their order.
    pub fn of(answers: impl IntoIterator<Item = (f64, bool)>) -> Self {
        let mut bins = vec![Bin::default(); BINS]; // of sums at first
        for (confidence, right) in answers {
            let bin = &mut bins[bin_of(confidence)];
            bin.images += 1;
            bin.confidence += confidence;
            bin.top1 += f64::from(u8::from(right));
        }
        let all = bins.iter().map(|bin| bin.images).sum::<usize>().max(1) as f64;
        let error = bins.iter().map(|bin| (bin.top1 - bin.confidence).abs()).sum::<f64>() / all;
        for bin in &mut bins {
            let images = bin.images.max(1) as f64;
            (bin.confidence, bin.top1) = (bin.confidence / images, bin.top1 / images);
        }
        Self { error, bins }
    }
}

/// The bin of a confidence. What is not a number is in the first, and makes its mean none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a negative or no number becomes 0")]
fn bin_of(confidence: f64) -> usize {
    ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_mean_gap_weighed_by_images() {
        // By hand: two at .9 of which one is right (gap .4), one wrong at .7 (gap .7), one right at 1 (gap 0).
        let Calibration { error, bins } = Calibration::of([(0.9, true), (0.9, false), (0.7, false), (1.0, true)]);
        assert!((error - (2.0 * 0.4 + 0.7) / 4.0).abs() < 1e-12, "{error}");
        assert_eq!(bins.len(), BINS);
        assert_eq!((bins[13], bins[14].images, bins[10].images), (Bin { images: 2, confidence: 0.9, top1: 0.5 }, 1, 1));
        assert_eq!((bins[10].confidence, bins[10].top1, bins[0]), (0.7, 0.0, Bin::default()));
    }

    #[test]
    fn bins_are_open_below_and_closed_above() {
        for (confidence, bin) in
            [(0.0, 0), (1.0 / 15.0, 0), (0.067, 1), (0.2, 2), (0.2 + 1e-9, 3), (0.999, 14), (1.0, 14)]
        {
            assert_eq!(bin_of(confidence), bin, "{confidence}");
        }
    }

    #[test]
    fn nothing_and_the_perfect_are_without_error() {
        assert_eq!(Calibration::of([]).error, 0.0);
        // Right as often as it says: 3 of 4 at .75.
        assert!(Calibration::of([(0.75, true), (0.75, true), (0.75, false), (0.75, true)]).error < 1e-15);
    }
}
