//! First weights, as the replaced project drew them: convolutions kaiming normal with fan-out
//! (He et al. 2015, gain for ReLU), linear layers N(0, 0.01), biases 0, batch normalisation 1 and 0.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use rayon::prelude::*;

use super::operation::Operation;
use super::plan::{Layer, Plan, Role, TensorSpec};

/// Standard deviation of a linear layer's first weights.
const LINEAR_STD: f32 = 0.01;

/// One vector for each of [`Plan::tensors`], in that order and in torchvision's layout.
/// Each tensor has a stream of its own, so that a change of classes leaves the other layers' draws as they were, and any
/// number of threads draws the same.
pub fn initialise(plan: &Plan, seed: u64) -> Vec<Vec<f32>> {
    let tensors: Vec<_> =
        plan.layers.iter().flat_map(|layer| layer.tensors().into_iter().map(move |tensor| (layer, tensor))).collect();
    let draw = |(index, (layer, tensor)): (usize, &(&Layer, TensorSpec))| match tensor.role {
        Role::Weight => {
            let std = match layer.operation {
                Operation::Conv2d { kernel } => (2.0 / (layer.output.channels * kernel * kernel) as f32).sqrt(),
                _ => LINEAR_STD,
            };
            normal(tensor.elements(), std, seed, index as u64 + 1)
        }
        Role::Scale | Role::RunningVariance => vec![1.0; tensor.elements()],
        Role::Bias | Role::Shift | Role::RunningMean => vec![0.0; tensor.elements()],
    };
    tensors.par_iter().enumerate().map(draw).collect()
}

/// `count` draws of N(0, std) from stream `stream` of `seed`.
fn normal(count: usize, std: f32, seed: u64, stream: u64) -> Vec<f32> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(stream);
    Normal::new(0.0, std).map_or_else(
        |_| vec![0.0; count], // std is a finite positive constant: not reached
        |distribution| (0..count).map(|_| distribution.sample(&mut generator)).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vgg::Network;

    #[test]
    fn spread_is_what_the_paper_of_he_asks_for() {
        let plan = Network { width: 0.25, ..Network::default() }.plan().expect("valid");
        let tensors = initialise(&plan, 3);
        for (spec, values) in plan.tensors().iter().zip(&tensors) {
            assert_eq!(spec.elements(), values.len());
            if spec.role == Role::Weight && values.len() > 10_000 {
                let expected = if spec.shape.len() == 4 { (2.0 / (spec.shape[0] * 9) as f64).sqrt() } else { 0.01 };
                let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
                let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / values.len() as f64;
                assert!((variance.sqrt() / expected - 1.0).abs() < 0.05, "{}: {}", spec.name, variance.sqrt());
            }
        }
        assert_eq!(tensors, initialise(&plan, 3));
        assert_ne!(tensors[0], initialise(&plan, 4)[0]);
    }
}
