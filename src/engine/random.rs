//! Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as
//! 1, 2, 3" (SC 2011): any number of a stream is computed from its position alone, so the CPU and the GPU, in any
//! order and on any number of threads, draw the same dropout masks.
//!
//! It draws masks only; weights and the order of samples are drawn by the host with ChaCha.

/// Multipliers of the two halves of a round.
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// Added to the key between rounds (golden ratio and sqrt(3) - 1).
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Four random words for a counter under a key.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let [high0, low0] = wide_product(MULTIPLIERS[0], counter[0]);
        let [high1, low1] = wide_product(MULTIPLIERS[1], counter[2]);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
    }
    counter
}

/// High and low word of a 64-bit product.
#[expect(clippy::cast_possible_truncation, reason = "the two halves are taken apart")]
fn wide_product(a: u32, b: u32) -> [u32; 2] {
    let product = u64::from(a) * u64::from(b);
    [(product >> 32) as u32, product as u32]
}

/// The dropout masks of one layer at one step. Element `e` counts over the whole batch, row-major [n, features].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropoutMask {
    key: [u32; 2],
    layer: u32,
    step: u64,
    /// A word below this drops its element.
    threshold: u64,
}

impl DropoutMask {
    /// `layer` is the index into `Plan::layers`, `step` the number of steps done before this one, `probability` in 0..1
    /// the chance that an element is dropped.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "halves of a seed; a count up to 2^32")]
    pub fn new(seed: u64, layer: usize, step: u64, probability: f32) -> Self {
        let threshold = (f64::from(probability.clamp(0.0, 1.0)) * 4_294_967_296.0).round() as u64;
        Self { key: [seed as u32, (seed >> 32) as u32], layer: layer as u32, step, threshold }
    }

    /// Whether elements `4 * block .. 4 * block + 4` are kept. One call of the generator.
    #[expect(clippy::cast_possible_truncation, reason = "the counter's words; a batch has fewer than 2^34 elements")]
    pub fn keeps_block(&self, block: usize) -> [bool; 4] {
        // The layer shares its word with the top of the step: below 2^16 layers and 2^48 steps nothing overlaps.
        let high = (self.layer << 16) ^ ((self.step >> 32) as u32);
        let counter = [block as u32, (block as u64 >> 32) as u32, self.step as u32, high];
        philox4x32(counter, self.key).map(|word| u64::from(word) >= self.threshold)
    }

    /// Whether one element is kept.
    pub fn keeps(&self, element: usize) -> bool {
        self.keeps_block(element / 4)[element % 4]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_random123() {
        // kat_vectors of the authors' Random123 library, rows "philox4x32 10".
        for (counter, key, expected) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(philox4x32(counter, key), expected);
        }
    }

    #[test]
    fn masks_keep_the_asked_share_and_differ_by_seed_layer_and_step() {
        let draw = |seed, layer, step| {
            let mask = DropoutMask::new(seed, layer, step, 0.3);
            (0..40_000).map(|e| mask.keeps(e)).collect::<Vec<_>>()
        };
        let mask = draw(7, 20, 5);
        let kept = mask.iter().filter(|k| **k).count() as f64 / 40_000.0;
        assert!((kept - 0.7).abs() < 0.01, "{kept}");
        for other in
            [draw(8, 20, 5), draw(7 | 1 << 40, 20, 5), draw(7, 23, 5), draw(7, 20, 6), draw(7, 20, 5 | 1 << 33)]
        {
            let same = mask.iter().zip(&other).filter(|(a, b)| a == b).count() as f64 / 40_000.0;
            assert!((same - (0.7 * 0.7 + 0.3 * 0.3)).abs() < 0.02, "masks are not independent: {same}");
        }
    }

    #[test]
    fn probability_zero_keeps_everything() {
        let mask = DropoutMask::new(1, 2, 3, 0.0);
        assert!((0..1000).all(|e| mask.keeps(e)));
    }
}
