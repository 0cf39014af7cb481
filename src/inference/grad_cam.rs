//! Grad-CAM (Selvaraju et al. 2017): where in an image a network found what speaks for a class.
//!
//! With A the activations of the last convolution after its ReLU and z the class's logit, channel k weighs
//! a[k] = mean over pixels of dz/dA[k], and the map is max(0, sum over k of a[k] A[k]). The gradient passes through the
//! average pooling and the classifier only, so those are all that is known here: plain loops over one image, generic, so
//! that the gradient is tested against differences in f64. Dropout is idle, as in inference.

use crate::engine::cpu::reference::{Real, average_pool, linear, relu};
use crate::vgg::{Operation, Plan, Shape};

/// What follows the last convolution: average pooling, then linear layers with ReLUs between them.
pub struct Head<'a, T> {
    /// Of one image's A.
    pub features: Shape,
    size: usize,
    /// Weight [outputs, inputs] and bias of each linear layer.
    layers: Vec<(&'a [T], &'a [T])>,
}

impl<'a, T: Real> Head<'a, T> {
    /// The head of a plan; `tensors` as in [`Plan::tensors`]. `None` for a plan without average pooling.
    pub fn new(plan: &Plan, tensors: &'a [Vec<T>]) -> Option<Self> {
        let mut next = 0;
        let mut pooling = None;
        let mut layers = Vec::new();
        for layer in &plan.layers {
            match layer.operation {
                Operation::AdaptiveAvgPool2d { size } => pooling = Some((layer.input, size)),
                Operation::Linear => layers.push((tensors.get(next)?.as_slice(), tensors.get(next + 1)?.as_slice())),
                _ => {}
            }
            next += layer.tensors().len();
        }
        pooling.map(|(features, size)| Self { features, size, layers })
    }

    /// Inputs of each linear layer, and last the logits. `activations` is A, [height, width, channels].
    pub(super) fn forward(&self, activations: &[T]) -> Vec<Vec<T>> {
        let mut x = vec![T::zero(); self.size * self.size * self.features.channels];
        average_pool::forward(self.features, self.size, activations, &mut x);
        let mut values = vec![x];
        for (index, (weight, bias)) in self.layers.iter().enumerate() {
            let mut y = vec![T::zero(); bias.len()];
            linear::forward(values[index].len(), &values[index], weight, bias, &mut y);
            if index + 1 < self.layers.len() {
                relu::forward(&mut y);
            }
            values.push(y);
        }
        values
    }

    /// Logits of the image whose A is `activations`.
    pub fn logits(&self, activations: &[T]) -> Vec<T> {
        self.forward(activations).pop().unwrap_or_default()
    }

    /// dz/dA for the logit z of `class`, in the shape of A.
    pub fn gradient(&self, activations: &[T], class: usize) -> Vec<T> {
        let values = self.forward(activations);
        let mut dy = vec![T::zero(); values.last().map_or(0, Vec::len)];
        dy[class] = T::one();
        for (index, (weight, _)) in self.layers.iter().enumerate().rev() {
            if index + 1 < self.layers.len() {
                relu::backward(&values[index + 1], &mut dy);
            }
            let mut dx = vec![T::zero(); values[index].len()];
            linear::backward_input(dx.len(), weight, &dy, &mut dx);
            dy = dx;
        }
        let mut gradient = vec![T::zero(); self.features.elements()];
        average_pool::backward(self.features, self.size, &dy, &mut gradient);
        gradient
    }

    /// The map of `class`, row by row; 0 and above, in the logit's units.
    pub fn map(&self, activations: &[T], class: usize) -> Vec<f64> {
        let (channels, pixels) = (self.features.channels, self.features.pixels());
        let mut weights = vec![0.0; channels];
        for pixel in self.gradient(activations, class).chunks_exact(channels) {
            weights.iter_mut().zip(pixel).for_each(|(sum, d)| *sum += d.wide() / pixels as f64);
        }
        let value = |pixel: &[T]| weights.iter().zip(pixel).map(|(w, a)| w * a.wide()).sum::<f64>().max(0.0);
        activations.chunks_exact(channels).map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cpu::CpuEngine;
    use crate::engine::{Batch, Engine, Settings, State};
    use crate::error::Result;
    use crate::test_support::values;
    use crate::vgg::{Network, initialisation};

    /// Every network there is, with and without batch normalisation, narrow, and of an awkward size.
    fn plans() -> Result<Vec<Plan>> {
        let mut plans = Vec::new();
        for (depth, conv1x1, lrn) in [(11, false, false), (11, false, true), (13, false, false), (16, false, false)]
            .into_iter()
            .chain([(16, true, false), (19, false, false)])
        {
            for (batch_norm, image_size) in [(true, 49), (false, 32)] {
                let base = Network { depth, conv1x1, lrn, batch_norm, image_size, ..Network::default() };
                plans.push(Network { width: 0.04, classes: 5, ..base }.plan()?);
            }
        }
        Ok(plans)
    }

    fn settings(plan: &Plan) -> Settings {
        Settings { seed: plan.network.depth as u64, precise: true, ..Settings::inference(2, 2) }
    }

    #[test]
    fn the_head_on_the_engines_features_gives_the_engines_logits() -> Result<()> {
        for plan in plans()? {
            let state = State::new(initialisation::initialise(&plan, 3));
            let mut engine = CpuEngine::new(plan.clone(), settings(&plan), &state)?;
            let input = values(2 * plan.input().elements());
            let batch = || Batch::Activations { input: &input, labels: &[] };
            let mut logits = Vec::new();
            engine.logits(batch(), &mut logits)?;
            let features = engine.features(batch())?;
            let head = Head::new(&plan, &state.tensors).expect("every plan has one");
            assert_eq!(features.len(), 2 * head.features.elements());
            assert!(features.iter().any(|v| *v > 0.0) && features.iter().all(|v| *v >= 0.0), "after the ReLU");
            let samples = features.chunks_exact(head.features.elements()).zip(logits.chunks_exact(5));
            for (features, expected) in samples {
                for (own, theirs) in head.logits(features).iter().zip(expected) {
                    let (title, scale) = (plan.network.title(), expected.iter().fold(0.0, |m: f32, v| m.max(v.abs())));
                    assert!((own - theirs).abs() <= 1e-5 * scale, "{title}: {own} and {theirs}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_gradient_agrees_with_differences() -> Result<()> {
        for plan in plans()? {
            let tensors: Vec<Vec<f64>> = initialisation::initialise(&plan, 5)
                .iter()
                .map(|t| t.iter().map(|v| f64::from(*v)).collect())
                .collect();
            let head = Head::new(&plan, &tensors).expect("every plan has one");
            let at: Vec<f64> = values(head.features.elements()).iter().map(|v| f64::from(*v).abs()).collect();
            let class = 3;
            let gradient = head.gradient(&at, class);
            assert!(gradient.iter().any(|d| *d != 0.0));
            let step = 1e-6;
            for i in (0..at.len()).step_by(3) {
                let moved = |by: f64| {
                    let mut x = at.clone();
                    x[i] += by;
                    head.logits(&x)[class]
                };
                let expected = (moved(step) - moved(-step)) / (2.0 * step);
                let error = (expected - gradient[i]).abs() / gradient.iter().fold(0.0, |m: f64, d| m.max(d.abs()));
                assert!(error < 1e-6, "{} [{i}]: {} and {expected}", plan.network.title(), gradient[i]);
            }
        }
        Ok(())
    }

    #[test]
    fn a_map_is_what_its_definition_says() {
        // 1x2 pixels of 2 channels, pooled to 1x1, one class: z = 2 mean(A0) - 3 mean(A1), so dz/dA = (1, -1.5).
        let (weight, bias) = (vec![2.0, -3.0], vec![0.5]);
        let head = Head { features: Shape::new(1, 2, 2), size: 1, layers: vec![(&weight[..], &bias[..])] };
        assert_eq!(head.gradient(&[4.0, 0.0, 1.0, 2.0], 0), [1.0, -1.5, 1.0, -1.5]);
        assert_eq!(head.map(&[4.0, 0.0, 1.0, 2.0], 0), [4.0, 0.0], "1 * 1 - 1.5 * 2 is below 0");
    }
}
