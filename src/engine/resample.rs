//! The windows and weights with which images are resized: a triangle filter with antialiasing, one table for rows and
//! one for columns, as PIL's `BILINEAR` and torchvision's `Resize(antialias=True)` have it (half-pixel centres,
//! `align_corners=False`). Every engine takes its weights from here; none rounds the result to u8.
//!
//! It touches no pixels.

/// What one output position is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// First input position.
    pub start: usize,
    /// Weights of the inputs from `start` on; they sum to 1.
    pub weights: Vec<f64>,
}

/// A window for each of `output` positions over `input` ones. With scale = input / output, the filter is
/// max(0, 1 - |x| / max(scale, 1)) around (i + 0.5) * scale - 0.5, cut at the borders and normalised.
/// Equal sizes give the identity.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positions in an image, clamped at 0")]
pub fn windows(input: usize, output: usize) -> Vec<Window> {
    let scale = input as f64 / output as f64;
    let reach = scale.max(1.0);
    (0..output)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            // Truncation after adding a half is how PIL and PyTorch cut the window.
            let start = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(input);
            let mut weights: Vec<f64> =
                (start..end).map(|j| (1.0 - ((j as f64 + 0.5 - centre) / reach).abs()).max(0.0)).collect();
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= sum);
            Window { start, weights }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sizes_are_the_identity() {
        for (i, window) in windows(7, 7).iter().enumerate() {
            for (j, weight) in window.weights.iter().enumerate() {
                assert_eq!(*weight, if window.start + j == i { 1.0 } else { 0.0 });
            }
        }
    }

    #[test]
    fn weights_sum_to_one_and_stay_inside() {
        for (input, output) in [(64, 32), (64, 33), (33, 64), (1, 5), (5, 1), (64, 224), (500, 37)] {
            for window in windows(input, output) {
                assert!((window.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                assert!(window.start + window.weights.len() <= input && !window.weights.is_empty());
            }
        }
    }

    #[test]
    fn halving_is_the_four_tap_triangle() {
        // Distances 0.75, 0.25, 0.25, 0.75 of the reach: weights 1/8, 3/8, 3/8, 1/8.
        assert_eq!(windows(8, 4)[1], Window { start: 1, weights: vec![0.125, 0.375, 0.375, 0.125] });
    }
}
