//! Dense evaluation (Simonyan and Zisserman 2015, section 3.2): the classifier is applied at every position of the last
//! feature map of a larger image, as the convolution that its linear layers are.
//!
//! No engine knows of it. At one position the first linear layer, with the average pooling ahead of it, is a linear layer
//! on the whole map whose weights are 0 outside a window: that is a plan and weights like any others. A classifier of one
//! linear layer alone is applied at all positions at once, by the mean of those weights.

use crate::error::{Error, Kind, Result};
use crate::vgg::plan::TensorSpec;
use crate::vgg::{Network, Operation, Plan, Shape};

/// Pixels between two positions: four poolings halve the image.
pub const STRIDE: usize = 16;

/// A network's plan on images of another size, with the classifier on the whole last feature map.
pub struct Dense {
    /// Of an engine that applies it at one position, or at all of them.
    pub plan: Plan,
    /// Of the plan that the weights are of: rows and columns of the map, and to how many it is averaged.
    window: usize,
    cells: usize,
    /// Of the larger map.
    map: usize,
    channels: usize,
    /// Index of the first linear layer's weight among [`Plan::tensors`], and the number of its outputs.
    weight: usize,
    outputs: usize,
    /// There is no other linear layer.
    single: bool,
}

impl Dense {
    /// For `plan` on images of `size`, at least its own. Errors: a size that no network takes, a plan of another form.
    pub fn new(plan: &Plan, size: usize) -> Result<Self> {
        let form = || Error::new(Kind::Engine, "the network has no average pooling ahead of a linear layer");
        let mut larger = Network { image_size: size, ..plan.network.clone() }.plan()?;
        let pooling = |plan: &Plan| {
            let is = |operation| matches!(operation, Operation::AdaptiveAvgPool2d { .. });
            plan.layers.iter().position(|layer| is(layer.operation))
        };
        let at = pooling(plan).ok_or_else(form)?;
        let Operation::AdaptiveAvgPool2d { size: cells } = plan.layers[at].operation else { return Err(form()) };
        let (window, Shape { height: map, channels, .. }) = (plan.layers[at].input.height, larger.layers[at].input);
        let after = larger.layers.get(at + 1).ok_or_else(form)?;
        let (outputs, linear) = (after.output.channels, |o| o == Operation::Linear);
        if !linear(after.operation) {
            return Err(form());
        }
        let single = larger.layers[at + 2..].iter().all(|layer| !linear(layer.operation));
        let weight = larger.layers[..=at].iter().map(|layer| layer.tensors().len()).sum();
        let whole = Shape::new(map, map, channels);
        let average = &mut larger.layers[at];
        (average.operation, average.output) = (Operation::AdaptiveAvgPool2d { size: map }, whole); // each pixel its own mean
        let first = &mut larger.layers[at + 1];
        first.input = whole;
        first.macs = (whole.elements() * outputs) as u64;
        first.parameters = first.tensors().iter().map(TensorSpec::elements).sum();
        Ok(Self { plan: larger, window, cells, map, channels, weight, outputs, single })
    }

    /// The weights of each engine's run over the images, made of `tensors`, those of the network as it was trained. The class
    /// scores of an image are the mean of those of all runs.
    pub fn runs<'a>(&'a self, tensors: &'a [Vec<f32>]) -> impl Iterator<Item = Vec<Vec<f32>>> + 'a {
        let side = self.map - self.window + 1;
        let all: Vec<(usize, usize)> = (0..side * side).map(|at| (at / side, at % side)).collect();
        let groups: Vec<Vec<(usize, usize)>> =
            if self.single { vec![all] } else { all.into_iter().map(|p| vec![p]).collect() };
        groups.into_iter().map(|positions| {
            let own = |(index, tensor): (usize, &Vec<f32>)| match index == self.weight {
                true => self.spread(tensor, &positions),
                false => tensor.clone(),
            };
            tensors.iter().enumerate().map(own).collect()
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        if self.single { 1 } else { (self.map - self.window + 1).pow(2) }
    }

    /// The weight [outputs, channels, cells, cells] of the first linear layer as one on the map, [outputs, channels, map, map]:
    /// the mean over windows at `positions` of what is averaged to a cell.
    fn spread(&self, weight: &[f32], positions: &[(usize, usize)]) -> Vec<f32> {
        let Self { window, cells, map, channels, outputs, .. } = *self;
        // First and one past the last row of each cell, as torch.nn.AdaptiveAvgPool2d has them.
        let bounds = |cell: usize| (cell * window / cells, ((cell + 1) * window).div_ceil(cells));
        let mut spread = vec![0.0; outputs * channels * map * map];
        let share = 1.0 / positions.len() as f32;
        for (from, to) in weight.chunks_exact(cells * cells).zip(spread.chunks_exact_mut(map * map)) {
            for (cell, value) in from.iter().enumerate() {
                let ((top, bottom), (left, right)) = (bounds(cell / cells), bounds(cell % cells));
                let value = share * value / ((bottom - top) * (right - left)) as f32;
                for (row, column) in positions {
                    for y in top + row..bottom + row {
                        to[y * map + left + column..y * map + right + column].iter_mut().for_each(|w| *w += value);
                    }
                }
            }
        }
        spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cpu::CpuEngine;
    use crate::engine::{Batch, Engine, Settings, State};
    use crate::inference::grad_cam;
    use crate::vgg::{Head, initialisation};

    /// The definition: features of the larger image, and on each window of them the classifier as it was trained.
    #[test]
    fn it_is_the_mean_of_the_classifier_over_all_windows() -> Result<()> {
        let (classic, linear, average) = (Head::Classic, Head::Linear, Head::Average);
        for (depth, batch_norm, image_size, larger, head) in [
            (11, true, 64, 80, classic),
            (13, false, 32, 64, classic),
            (16, true, 49, 70, classic),
            (11, true, 49, 80, linear),
            (13, true, 64, 96, average),
        ] {
            let base = Network { depth, batch_norm, image_size, head, width: 0.04, classes: 5, ..Network::default() };
            let plan = base.plan()?;
            let tensors = initialisation::initialise(&plan, 3);
            let settings = Settings { precise: true, ..Settings::inference(2, 2) };
            let input = crate::test_support::values(2 * larger * larger * 3);
            let batch = || Batch::Activations { input: &input, labels: &[] };
            let dense = Dense::new(&plan, larger)?;
            let mut found = [0.0; 10];
            let mut runs = 0;
            for tensors in dense.runs(&tensors) {
                let mut engine = CpuEngine::new(dense.plan.clone(), settings.clone(), State::new(tensors))?;
                let mut logits = Vec::new();
                engine.logits(batch(), &mut logits)?;
                found.iter_mut().zip(&logits).for_each(|(sum, v)| *sum += f64::from(*v) / dense.count() as f64);
                runs += 1;
            }
            assert_eq!(runs, dense.count());
            assert_eq!(runs == 1, head != classic, "one layer is applied everywhere at once");

            let whole = Network { image_size: larger, ..base }.plan()?;
            let classifier = grad_cam::Head::new(&plan, &tensors).expect("every plan has one");
            let Shape { height: window, channels, .. } = classifier.features;
            let mut engine = CpuEngine::new(whole.clone(), settings, State::new(tensors.clone()))?;
            let map = grad_cam::Head::new(&whole, &tensors).expect("every plan has one").features.height;
            let features = engine.features(batch())?;
            let positions = (map - window + 1).pow(2);
            assert!(positions > 1 && (positions == dense.count() || head != classic), "{positions} positions");
            let mut expected = vec![0.0; 10];
            for (features, sums) in features.chunks_exact(map * map * channels).zip(expected.chunks_exact_mut(5)) {
                for at in 0..positions {
                    let (row, column) = (at / (map - window + 1), at % (map - window + 1));
                    let part = (row..row + window)
                        .flat_map(|y| &features[(y * map + column) * channels..][..window * channels])
                        .copied();
                    let logits = classifier.logits(&part.collect::<Vec<_>>());
                    sums.iter_mut().zip(logits).for_each(|(sum, v)| *sum += f64::from(v) / positions as f64);
                }
            }
            let scale = expected.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() <= 1e-5 * scale, "{depth}: {found} and {expected}");
            }
        }
        Ok(())
    }
}
