//! A plan executed with the plain loops: forward in training and inference mode, and backward to the first layer that is not
//! frozen.
//!
//! It keeps every activation of a pass and knows nothing of batches, metrics or optimisers; `engine` does.

use std::ops::Range;

use super::{
    Real, average_pool, batch_norm, convolution, dropout, linear, local_response_normalisation, max_pool, relu,
};
use crate::engine::random::DropoutMask;
use crate::vgg::{Layer, Operation, Plan};

/// Parameters and buffers of a plan, executable.
pub struct ReferenceNetwork<T> {
    plan: Plan,
    /// One vector for each of [`Plan::tensors`].
    pub tensors: Vec<Vec<T>>,
    /// Where each layer's tensors lie among them.
    ranges: Vec<Range<usize>>,
}

/// How a forward pass is run.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// Batch statistics (the running ones are updated) and dropout; in frozen layers as in inference.
    Training {
        /// Key of the dropout masks.
        seed: u64,
        /// Steps done before this one.
        step: u64,
    },
    /// Running statistics, no dropout.
    Inference,
}

/// All activations of a forward pass.
pub struct Pass<T> {
    mode: Mode,
    batch: usize,
    /// `[0]` is the input, `[l + 1]` the output of layer l.
    activations: Vec<Vec<T>>,
    saved: Vec<Saved<T>>,
}

/// What a layer's backward pass needs besides activations.
enum Saved<T> {
    Nothing,
    BatchNorm(batch_norm::Saved<T>),
    MaxPool(Vec<usize>),
}

impl<T: Real> Pass<T> {
    /// [n, classes].
    pub fn logits(&self) -> &[T] {
        self.activations.last().map_or(&[], Vec::as_slice)
    }
}

impl<T: Real> ReferenceNetwork<T> {
    /// `tensors` as in [`Plan::tensors`].
    pub fn new(plan: Plan, tensors: Vec<Vec<T>>) -> Self {
        let mut start = 0;
        let ranges = plan
            .layers
            .iter()
            .map(|layer| {
                let end = start + layer.tensors().len();
                std::mem::replace(&mut start, end)..end
            })
            .collect();
        Self { plan, tensors, ranges }
    }

    /// The plan that it executes.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs `input` [n, image_size, image_size, 3] through all layers.
    pub fn forward(&mut self, input: Vec<T>, mode: Mode) -> Pass<T> {
        let batch = input.len() / self.plan.input().elements();
        let mut pass = Pass { mode, batch, activations: vec![input], saved: Vec::new() };
        for (index, layer) in self.plan.layers.iter().enumerate() {
            let x = &pass.activations[index];
            let mode = if index < self.plan.frozen { Mode::Inference } else { mode };
            let mut y = vec![T::nan(); batch * layer.output.elements()];
            let saved = forward(index, layer, mode, x, &mut self.tensors[self.ranges[index].clone()], &mut y);
            pass.activations.push(y);
            pass.saved.push(saved);
        }
        pass
    }

    /// Gradients of every tensor that is trained, in the order of [`Plan::tensors`], from those of the logits.
    /// The bias of a convolution ahead of batch normalisation has gradient zero by algebra, and here exactly.
    pub fn backward(&self, pass: &Pass<T>, logits: Vec<T>) -> Vec<Vec<T>> {
        let mut dy = logits;
        let mut gradients = Vec::new();
        for (index, layer) in self.plan.layers.iter().enumerate().skip(self.plan.frozen).rev() {
            let tensors = &self.tensors[self.ranges[index].clone()];
            let mut dx = vec![T::nan(); pass.batch * layer.input.elements()];
            let mut own = backward(index, layer, pass, tensors, dy, &mut dx);
            let normalised = self.plan.layers.get(index + 1).is_some_and(|l| l.operation == Operation::BatchNorm2d);
            if let (Operation::Conv2d { .. }, true, [_, bias]) = (layer.operation, normalised, own.as_mut_slice()) {
                bias.fill(T::zero());
            }
            gradients.extend(own.into_iter().rev());
            dy = dx;
        }
        gradients.reverse();
        gradients
    }
}

fn convolution_sizes(layer: &Layer, kernel: usize, batch: usize) -> convolution::Sizes {
    convolution::Sizes {
        batch,
        height: layer.input.height,
        width: layer.input.width,
        inputs: layer.input.channels,
        outputs: layer.output.channels,
        kernel,
    }
}

fn mask(index: usize, mode: Mode, probability: f32) -> Option<DropoutMask> {
    match mode {
        Mode::Training { seed, step } if probability > 0.0 => Some(DropoutMask::new(seed, index, step, probability)),
        _ => None,
    }
}

fn forward<T: Real>(index: usize, layer: &Layer, mode: Mode, x: &[T], tensors: &mut [Vec<T>], y: &mut [T]) -> Saved<T> {
    match (layer.operation, tensors) {
        (Operation::Conv2d { kernel }, [weight, bias]) => {
            let batch = x.len() / layer.input.elements();
            convolution::forward(convolution_sizes(layer, kernel, batch), x, weight, bias, y);
        }
        (Operation::BatchNorm2d, [scale, shift, mean, variance]) => match mode {
            Mode::Training { .. } => {
                return Saved::BatchNorm(batch_norm::forward_train(x, scale, shift, mean, variance, y));
            }
            Mode::Inference => batch_norm::forward_inference(x, scale, shift, mean, variance, y),
        },
        (Operation::Relu, []) => {
            y.copy_from_slice(x);
            relu::forward(y);
        }
        (Operation::LocalResponseNorm, []) => local_response_normalisation::forward(layer.input.channels, x, y),
        (Operation::MaxPool2d, []) => return Saved::MaxPool(max_pool::forward(layer.input, x, y)),
        (Operation::AdaptiveAvgPool2d { size }, []) => average_pool::forward(layer.input, size, x, y),
        (Operation::Linear, [weight, bias]) => linear::forward(layer.input.elements(), x, weight, bias, y),
        (Operation::Dropout { probability }, []) => {
            y.copy_from_slice(x);
            if let Some(mask) = mask(index, mode, probability) {
                dropout::apply(&mask, probability, y);
            }
        }
        (operation, tensors) => unreachable!("{operation:?} with {} tensors: the plan decides both", tensors.len()),
    }
    Saved::Nothing
}

/// Fills `dx` and returns the gradients of the layer's trained tensors.
fn backward<T: Real>(
    index: usize,
    layer: &Layer,
    pass: &Pass<T>,
    tensors: &[Vec<T>],
    dy: Vec<T>,
    dx: &mut Vec<T>,
) -> Vec<Vec<T>> {
    let (x, y) = (&pass.activations[index], &pass.activations[index + 1]);
    let mut own: Vec<Vec<T>> = layer
        .tensors()
        .iter()
        .zip(tensors)
        .filter(|(spec, _)| spec.role.trained())
        .map(|(_, tensor)| vec![T::nan(); tensor.len()])
        .collect();
    match (layer.operation, tensors, own.as_mut_slice(), &pass.saved[index]) {
        (Operation::Conv2d { kernel }, [weight, _], [dweight, dbias], _) => {
            let sizes = convolution_sizes(layer, kernel, pass.batch);
            convolution::backward_weight(sizes, x, &dy, dweight, dbias);
            convolution::backward_input(sizes, weight, &dy, dx);
        }
        (Operation::BatchNorm2d, [scale, ..], [dscale, dshift], Saved::BatchNorm(saved)) => {
            batch_norm::backward(x, scale, saved, &dy, dx, dscale, dshift);
        }
        (Operation::Relu, ..) => {
            *dx = dy;
            relu::backward(y, dx);
        }
        (Operation::LocalResponseNorm, ..) => {
            local_response_normalisation::backward(layer.input.channels, x, &dy, dx);
        }
        (Operation::MaxPool2d, _, _, Saved::MaxPool(origins)) => max_pool::backward(origins, &dy, dx),
        (Operation::AdaptiveAvgPool2d { size }, ..) => average_pool::backward(layer.input, size, &dy, dx),
        (Operation::Linear, [weight, _], [dweight, dbias], _) => {
            linear::backward_weight(layer.input.elements(), x, &dy, dweight, dbias);
            linear::backward_input(layer.input.elements(), weight, &dy, dx);
        }
        (Operation::Dropout { probability }, ..) => {
            *dx = dy;
            if let Some(mask) = mask(index, pass.mode, probability) {
                dropout::apply(&mask, probability, dx);
            }
        }
        (operation, ..) => unreachable!("{operation:?} without what its forward pass saves: only training goes back"),
    }
    own
}
