//! How far a measured fraction can be trusted, and a difference between two.

/// The 97.5 % point of the standard normal distribution: 95 % lie between minus and plus this.
const Z: f64 = 1.959_963_984_540_054;

/// The 95 % score interval of Wilson (1927) for a fraction measured on `images` images. Unlike the usual
/// `p +- 1.96 s`, it stays inside 0..1 and holds near its ends. `None` without images.
pub fn wilson(fraction: f64, images: usize) -> Option<(f64, f64)> {
    if images == 0 {
        return None;
    }
    let n = images as f64;
    let centre = fraction + Z * Z / (2.0 * n);
    let half = Z * (fraction * (1.0 - fraction) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    Some((((centre - half) / scale).max(0.0), ((centre + half) / scale).min(1.0)))
}

/// McNemar's exact test: the probability that two networks of equal accuracy differ at least so much on the same images,
/// where the first alone is right on `first` of them and the second alone on `second`. Two-sided, binomial (McNemar 1947;
/// exact as in Dietterich, Neural Computation 10, 1998); in 0..1.
pub fn mcnemar(first: usize, second: usize) -> f64 {
    let (fewer, all) = (first.min(second), first + second);
    // Logarithms, because 2^-all is 0 in f64 from 1075 on.
    let mut term = -(all as f64) * std::f64::consts::LN_2;
    let mut tail = term.exp();
    for k in 1..=fewer {
        term += ((all - k + 1) as f64 / k as f64).ln();
        tail += term.exp();
    }
    (2.0 * tail).min(1.0)
}

/// Holm's correction (1979): each of several probabilities raised so that all that stay below a level hold together at
/// that level. Same order.
pub fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]));
    let mut adjusted = vec![0.0; probabilities.len()];
    let mut least: f64 = 0.0;
    for (rank, index) in order.into_iter().enumerate() {
        least = least.max(((probabilities.len() - rank) as f64 * probabilities[index]).min(1.0));
        adjusted[index] = least;
    }
    adjusted
}

/// The middle of the values (the lower of the two middles); `None` for none.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_agrees_with_the_published_example() {
        // Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263 and 0 of 20.
        let (low, high) = wilson(81.0 / 263.0, 263).expect("there are images");
        assert!((low - 0.2553).abs() < 5e-5 && (high - 0.3662).abs() < 5e-5, "{low} {high}");
        let (low, high) = wilson(0.0, 20).expect("there are images");
        assert!(low == 0.0 && (high - 0.1611).abs() < 5e-5, "{low} {high}");
        assert_eq!(wilson(0.5, 0), None);
    }

    #[test]
    fn mcnemar_agrees_with_the_binomial() {
        // Two-sided sums over C(n, k) / 2^n by hand.
        for (first, second, expected) in
            [(0, 0, 1.0), (5, 5, 1.0), (0, 1, 1.0), (0, 6, 2.0 / 64.0), (1, 9, 22.0 / 1024.0), (10, 2, 158.0 / 4096.0)]
        {
            assert!((mcnemar(first, second) - expected).abs() < 1e-12, "{first} {second}: {}", mcnemar(first, second));
        }
        // Where 2^-n underflows; expected from whole numbers of any size.
        let far = mcnemar(1911, 2163);
        assert!((far / 8.367_775_455_642_193e-5 - 1.0).abs() < 1e-9, "{far}");
    }

    #[test]
    fn holm_multiplies_by_what_is_left() {
        let adjusted = holm(&[0.04, 0.001, 0.03]);
        for (found, expected) in adjusted.iter().zip([0.06, 0.003, 0.06]) {
            assert!((found - expected).abs() < 1e-15, "{adjusted:?}");
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }

    #[test]
    fn the_median_is_the_lower_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.0));
        assert_eq!(median(std::iter::empty()), None);
    }
}
