//! What the micro-batches of a training step came to, wherever each was computed: loss and hits, and the moments that batch
//! normalisation saw, which its running statistics follow. The same for every engine.
//!
//! torch.nn.BatchNorm2d: the running statistics move by 0.1 towards a batch's, the variance unbiased.

use std::ops::Range;

use super::StepMetrics;
use super::layout::Layout;
use super::stages::Work;

/// Added to the variance (eps).
pub const EPSILON: f64 = 1e-5;
/// Share of the batch in the running statistics (momentum).
pub const MOMENTUM: f64 = 0.1;

/// Deviations beyond 1e19 overflow: a network that is lost must not look normalised.
pub fn finite(squares: f64) -> f64 {
    if squares.is_finite() { squares } else { f64::NAN }
}

/// What some samples of a batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Sum of their losses.
    pub loss: f64,
    /// Samples whose highest logit is the label's.
    pub top1: u32,
    /// Samples whose label is among the five highest.
    pub top5: u32,
}

impl Outcome {
    /// Numbers that it is told by.
    pub const NUMBERS: usize = 3;

    /// Adds what later samples came to.
    pub fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.top1 += other.top1;
        self.top5 += other.top5;
    }

    /// Of a whole batch of `samples`, as the metrics of step `step`.
    pub fn of(&self, step: u64, samples: usize) -> StepMetrics {
        let Self { loss, top1, top5 } = *self;
        StepMetrics { step, samples: samples as u32, loss: (loss * (1.0 / samples as f64)) as f32, top1, top5 }
    }

    /// As it is told.
    pub fn told(&self) -> [f64; Self::NUMBERS] {
        [self.loss, f64::from(self.top1), f64::from(self.top5)]
    }
}

/// A layer with batch normalisation. Its moments are its channels' means, then their sums of squared deviations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalised {
    /// Which step of the layout.
    pub step: usize,
    /// Of what is normalised.
    pub channels: usize,
    /// Likewise, of one sample.
    pub pixels: usize,
    /// Whether it is trained, so that its running statistics move.
    pub trained: bool,
    /// Where these lie.
    pub mean: Range<usize>,
    /// Likewise.
    pub variance: Range<usize>,
}

/// All of `layout`, in its order.
pub fn normalised<W>(layout: &Layout<W>) -> Vec<Normalised> {
    let layers = layout.steps.iter().enumerate().filter_map(|(index, step)| {
        let Work::Convolution { norm: true, .. } = step.stage.work else { return None };
        let (channels, pixels, trained) = (step.stage.inner.channels, step.stage.inner.pixels(), step.trained);
        let statistics = |tensor: usize| {
            let start = layout.places[step.stage.tensors.start + tensor].range.start;
            start..start + channels
        };
        Some(Normalised { step: index, channels, pixels, trained, mean: statistics(4), variance: statistics(5) })
    });
    layers.collect()
}

/// Numbers of the moments of `layers`.
pub fn moments(layers: &[Normalised]) -> usize {
    layers.iter().map(|layer| 2 * layer.channels).sum()
}

/// Moves the running statistics by the `moments` of all `layers` of a forward pass over `samples` samples.
pub fn follow(layers: &[Normalised], moments: &[f64], samples: usize, running: &mut [f32]) {
    let moved = |old: f32, new: f64| (f64::from(old) * (1.0 - MOMENTUM) + MOMENTUM * new) as f32;
    let mut rest = moments;
    for layer in layers {
        let (means, after) = rest.split_at(layer.channels);
        let (squares, after) = after.split_at(layer.channels);
        rest = after;
        if !layer.trained {
            continue;
        }
        let count = (layer.pixels * samples) as f64;
        for channel in 0..layer.channels {
            let (mean, variance) = (layer.mean.start + channel, layer.variance.start + channel);
            running[mean] = moved(running[mean], means[channel]);
            running[variance] = moved(running[variance], finite(squares[channel]) / (count - 1.0).max(1.0));
        }
    }
}

/// What a whole batch came to, by what all ranks told of their micro-batches, in order of rank: [`Outcome::told`] and the moments of
/// each. `sizes` are the samples of each micro-batch of the batch. The running statistics follow one micro-batch after another, or,
/// where all were `normalised_together`, the batch.
pub fn settle(
    told: &[Vec<f64>],
    layers: &[Normalised],
    sizes: impl Iterator<Item = usize> + Clone,
    normalised_together: bool,
    running: &mut [f32],
) -> Outcome {
    let parts = told.iter().flat_map(|of_one| of_one.chunks_exact(Outcome::NUMBERS + moments(layers)));
    let (mut whole, samples) = (Outcome::default(), sizes.clone().sum());
    for (part, (numbers, size)) in parts.zip(sizes).enumerate() {
        let (outcome, moments) = numbers.split_at(Outcome::NUMBERS);
        whole.add(Outcome { loss: outcome[0], top1: outcome[1] as u32, top5: outcome[2] as u32 });
        match normalised_together {
            false => follow(layers, moments, size, running),
            true if part == 0 => follow(layers, moments, samples, running), // all have the same
            true => {}
        }
    }
    whole
}
