//! A plan's layers in the groups that engines execute in one go: a convolution with the normalisation, ReLU and pooling
//! after it, a linear layer with its ReLU and dropout. Says nothing of how.

use std::ops::Range;

use crate::error::{Error, Kind, Result};
use crate::vgg::{Layer, Operation, Plan, Shape};

/// What a stage computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// Convolution, batch normalisation where `norm`, ReLU, 2x2 maximum where `pool`.
    Convolution {
        /// 1 or 3.
        kernel: usize,
        /// Whether batch normalisation follows.
        norm: bool,
        /// Whether pooling follows.
        pool: bool,
    },
    /// Local response normalisation.
    LocalResponseNorm,
    /// 2x2 maxima that follow no convolution directly.
    MaxPool,
    /// Adaptive averages to `size` x `size`, flattened channel first.
    AveragePool {
        /// Height and width.
        size: usize,
    },
    /// Linear, then ReLU where `relu`, then dropout.
    Linear {
        /// Whether a ReLU follows.
        relu: bool,
        /// Probability of dropout; 0 for none.
        dropout: f32,
        /// The dropout's index into [`Plan::layers`], part of the masks' counter.
        drop: usize,
    },
}

/// A group of layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Name of its first layer.
    pub name: String,
    /// What it computes.
    pub work: Work,
    /// One sample's input.
    pub input: Shape,
    /// What comes out of its first layer.
    pub inner: Shape,
    /// One sample's output.
    pub output: Shape,
    /// Its tensors among [`Plan::tensors`]: weight and bias, then scale, shift, running mean and variance.
    pub tensors: Range<usize>,
}

/// Groups the layers of `plan`. Errors: an order of layers that no engine knows.
pub fn stages(plan: &Plan) -> Result<Vec<Stage>> {
    let mut stages = Vec::new();
    let mut layers = plan.layers.iter().enumerate().peekable();
    let mut next = 0;
    while let Some((_, layer)) = layers.next() {
        let first = next;
        next += layer.tensors().len();
        let mut output = layer.output;
        let work = match layer.operation {
            Operation::Conv2d { kernel } => {
                let norm = layers.next_if(|(_, l)| l.operation == Operation::BatchNorm2d);
                next += norm.map_or(0, |(_, l)| l.tensors().len());
                if layers.next_if(|(_, l)| l.operation == Operation::Relu).is_none() {
                    return Err(unknown(layer, "a ReLU after a convolution"));
                }
                let pool = layers.next_if(|(_, l)| l.operation == Operation::MaxPool2d);
                output = pool.map_or(output, |(_, pool)| pool.output);
                Work::Convolution { kernel, norm: norm.is_some(), pool: pool.is_some() }
            }
            Operation::LocalResponseNorm => Work::LocalResponseNorm,
            Operation::MaxPool2d => Work::MaxPool,
            Operation::AdaptiveAvgPool2d { size } => Work::AveragePool { size },
            Operation::Linear => {
                let relu = layers.next_if(|(_, l)| l.operation == Operation::Relu).is_some();
                let dropped = layers.next_if(|(_, l)| relu && matches!(l.operation, Operation::Dropout { .. }));
                let (drop, dropout) = match dropped.map(|(index, l)| (index, l.operation)) {
                    Some((index, Operation::Dropout { probability })) => (index, probability),
                    _ => (0, 0.0),
                };
                Work::Linear { relu, dropout, drop }
            }
            Operation::BatchNorm2d | Operation::Relu | Operation::Dropout { .. } => {
                return Err(unknown(layer, "a convolution or a linear layer ahead of it"));
            }
        };
        let (name, input, inner) = (layer.name.clone(), layer.input, layer.output);
        stages.push(Stage { name, work, input, inner, output, tensors: first..next });
    }
    if !matches!(stages.last().map(|s| s.work), Some(Work::Linear { relu: false, .. })) {
        return Err(Error::new(Kind::Engine, "the network does not end in a linear layer"));
    }
    Ok(stages)
}

/// Index of the first stage that has anything to train: the backward pass ends with it.
pub fn first_trained(plan: &Plan, stages: &[Stage]) -> usize {
    let frozen = plan.tensors().iter().filter(|spec| spec.frozen).count();
    stages.iter().position(|stage| stage.tensors.start >= frozen && !stage.tensors.is_empty()).unwrap_or_default()
}

fn unknown(layer: &Layer, expected: &str) -> Error {
    Error::new(Kind::Engine, format!("{}: engines need {expected}", layer.name))
}
