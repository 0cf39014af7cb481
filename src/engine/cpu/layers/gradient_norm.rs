//! What clipping multiplies all gradients by, as torch.nn.utils.clip_grad_norm_ does; twin `reference::gradient_norm`.
//!
//! Squares are added in f64, in parts of fixed length, and the parts one after another: the same bits for any number of
//! threads.

use rayon::prelude::*;

use crate::engine::cpu::plumbing::simd::{InstructionSet, vectorised};

/// Gradients of one task.
const CHUNK: usize = 16 * 1024;

/// How many partial sums `gradients` of them need.
pub fn partials(gradients: usize) -> usize {
    gradients.div_ceil(CHUNK)
}

/// The factor that brings the L2 norm of gradients, in `parts`, down to `most`; 1 where it is no larger.
#[expect(clippy::cast_possible_truncation, reason = "rounded once")]
pub fn factor<'a>(set: InstructionSet, parts: impl Iterator<Item = &'a [f32]>, most: f64, sums: &mut [f64]) -> f32 {
    let mut total = 0.0;
    for gradients in parts {
        let sums = &mut sums[..partials(gradients.len())];
        sums.par_iter_mut().zip(gradients.par_chunks(CHUNK)).for_each(|(sum, part)| squares(set, part, sum));
        total = sums.iter().fold(total, |total, sum| total + sum);
    }
    let norm = total.sqrt();
    (most / (norm + 1e-6)).min(1.0) as f32
}

vectorised! {
    fn squares(values: &[f32], sum: &mut f64) {
        let mut lanes = [0.0; 16];
        let (whole, rest) = values.as_chunks::<16>();
        for (lane, value) in whole.iter().flat_map(|values| values.iter().enumerate()).chain(rest.iter().enumerate()) {
            lanes[lane] += f64::from(*value) * f64::from(*value);
        }
        *sum = lanes.iter().sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cpu::reference::gradient_norm as twin;

    #[test]
    fn it_is_the_twins_at_every_length() {
        for count in [1, 15, 16, 17, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 13] {
            let gradients: Vec<f32> = (0..count).map(|i| (i as f32 * 0.618).fract() - 0.4).collect();
            let wide = vec![gradients.iter().map(|g| f64::from(*g)).collect::<Vec<f64>>()];
            let norm = twin::norm(&wide);
            let mut sums = vec![f64::NAN; partials(count)];
            for most in [0.25 * norm, norm, 4.0 * norm] {
                for set in [InstructionSet::Portable, InstructionSet::Avx2, InstructionSet::Avx512] {
                    let (ours, theirs) =
                        (factor(set, std::iter::once(gradients.as_slice()), most, &mut sums), twin::factor(norm, most));
                    assert!((f64::from(ours) - theirs).abs() < 1e-7, "{count} {most}: {ours} {theirs}");
                }
            }
        }
        assert_eq!(factor(InstructionSet::Portable, std::iter::once(&[0.0; 40][..]), 1.0, &mut [0.0]), 1.0);
    }
}
