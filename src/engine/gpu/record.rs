//! The calls of each stage, forward and backward: which operation on which buffers.

use super::buffers::{Buffers, Weights};
use super::chosen::Chosen;
use super::layers::batch_norm::{Gradients, Tensors};
use super::layers::{average_pool, batch_norm, dropout, local_response_normalisation, max_pool, relu};
use super::plumbing::device::{Gpu, Slice};
use super::plumbing::dispatch::Dispatch;
use super::products::convolution;
use super::products::operands::{After, Operands, Pass};
use crate::engine::layout::{Layout, Step};
use crate::engine::stages::Work;
use crate::error::Result;
use crate::vgg::Shape;

/// The ranges that one stage reads and writes, no longer than they are for the largest number of samples.
pub struct Ranges {
    x: Slice,
    z: Slice,
    y: Slice,
    dy: Slice,
    dx: Option<Slice>,
    /// Weight as products read it, bias and the weight's gradient, where there are such.
    weights: Option<[Slice; 3]>,
}

/// Records the calls of a layout on its buffers.
pub struct Recorder<'a> {
    pub gpu: &'a Gpu,
    pub layout: &'a Layout,
    pub buffers: &'a Buffers,
    /// What is computed with.
    pub weights: &'a Weights,
    /// Samples at once, at most.
    pub samples: usize,
    pub chosen: &'a [Chosen],
}

impl Recorder<'_> {
    /// Tensor `index` of a stage, among the parameters or the running statistics.
    fn tensor(&self, step: &Step, index: usize) -> Slice {
        let place = &self.layout.places[step.stage.tensors.start + index];
        let from = if place.parameter { &self.weights.parameters } else { &self.weights.running };
        from.part(place.range.start, place.range.len())
    }

    /// A stage's weight as products read it: in the type of activations.
    fn weight(&self, step: &Step) -> Slice {
        let range = &self.layout.places[step.stage.tensors.start].range;
        match &self.weights.rounded {
            Some(rounded) => rounded.part(range.start / 2, range.len() / 2),
            None => self.weights.parameters.part(range.start, range.len()),
        }
    }

    /// Its gradient; where it is not trained there is none, and nothing asks for it.
    fn gradient(&self, step: &Step, index: usize) -> Slice {
        let range = self.layout.places[step.stage.tensors.start + index].range.clone();
        let gradients = self.buffers.gradients.as_ref().filter(|_| step.trained);
        let from = gradients.unwrap_or(&self.weights.parameters);
        from.part(range.start, range.len())
    }

    /// The ranges of `step`.
    pub fn ranges(&self, step: &Step) -> Ranges {
        let stage = &step.stage;
        let slot =
            |slot: usize, shape| self.buffers.slots[slot].part(0, self.layout.format.words(shape) * self.samples);
        let weights = || [self.weight(step), self.tensor(step, 1), self.gradient(step, 0)];
        let logits = self.layout.is_last(step).then(|| self.buffers.logits(self.layout, self.samples));
        Ranges {
            x: slot(step.x, stage.input),
            z: logits.clone().unwrap_or_else(|| slot(step.z, stage.inner)),
            y: logits.unwrap_or_else(|| slot(step.y, stage.output)),
            dy: slot(step.dy, if step.trained { stage.output } else { Shape::new(1, 1, 1) }),
            dx: step.dx.map(|dx| slot(dx, stage.input)),
            weights: step.convolution.is_some().then(weights),
        }
    }

    /// What a pass of a product reads and writes, where the stage has one. The gradient of z takes z's place in a
    /// convolution; a linear layer's lies in dy.
    pub fn operands<'a>(&'a self, step: &Step, pass: Pass, ranges: &'a Ranges) -> Option<Operands<'a>> {
        let Ranges { x, z, dy, dx, weights, .. } = ranges;
        let [weight, bias, d_weight] = weights.as_ref()?;
        let dz = if matches!(step.stage.work, Work::Convolution { .. }) { z } else { dy };
        let (input, weight, output) = match pass {
            Pass::Forward => (x, weight, z),
            Pass::InputGradient => (dz, weight, dx.as_ref()?),
            Pass::WeightGradient => (x, dz, d_weight),
        };
        let bias = (pass == Pass::Forward).then_some(bias);
        let full = pass == Pass::Forward && self.layout.is_last(step);
        Some(Operands { input, weight, bias, after: After::Nothing, full, output, scratch: &self.buffers.scratch })
    }

    fn product(
        &self,
        index: usize,
        pass: Pass,
        after: After<'_>,
        ranges: &Ranges,
        calls: &mut Vec<Dispatch>,
    ) -> Result<()> {
        let step = &self.layout.steps[index];
        if let (Some(convolution), Some(variant), Some(mut operands)) =
            (&step.convolution, self.chosen[index].of(pass), self.operands(step, pass, ranges))
        {
            operands.after = after;
            if matches!(after, After::Normalise(_)) {
                operands.output = &ranges.y;
            }
            let label = &step.stage.name;
            calls.extend(convolution::record(self.gpu, label, convolution, pass, variant, self.samples, &operands)?);
        }
        Ok(())
    }

    /// Whether the forward product of stage `index` can do more to its results than store them.
    fn fuses(&self, index: usize) -> bool {
        let variant = self.chosen[index].of(Pass::Forward);
        let capabilities = self.gpu.capabilities();
        let convolution = self.layout.steps[index].convolution.as_ref();
        convolution.zip(variant).is_some_and(|(c, v)| convolution::fuses(&capabilities, c, v, self.samples))
    }

    /// Forward pass of stage `index`; one that is not trained infers also in training.
    pub fn forward(&self, index: usize, training: bool, calls: &mut Vec<Dispatch>) -> Result<()> {
        let (gpu, step) = (self.gpu, &self.layout.steps[index]);
        let training = training && step.trained;
        let ranges = self.ranges(step);
        let Ranges { x, y, z, .. } = &ranges;
        let (input, inner) = (step.stage.input, step.stage.inner);
        let label = format!("{} forward", step.stage.name);
        match step.stage.work {
            Work::Convolution { norm, pool, .. } => {
                let label = format!("{} activation", step.stage.name);
                let Some(saved) = self.buffers.saved_statistics[index].as_ref().filter(|_| norm) else {
                    self.product(index, Pass::Forward, After::Nothing, &ranges, calls)?;
                    calls.push(relu::forward(gpu, &label, inner, pool, z, y)?);
                    return Ok(());
                };
                let [gamma, beta, running_mean, running_variance] =
                    [2, 3, 4, 5].map(|tensor| self.tensor(step, tensor));
                let tensors = Tensors {
                    gamma: &gamma,
                    beta: &beta,
                    running_mean: &running_mean,
                    running_variance: &running_variance,
                    saved,
                };
                let fuses = self.fuses(index);
                if training {
                    let (partials, label) = (&self.buffers.partials, format!("{} statistics", step.stage.name));
                    let after = if fuses { After::Moments(partials) } else { After::Nothing };
                    self.product(index, Pass::Forward, after, &ranges, calls)?;
                    if !fuses {
                        calls.push(batch_norm::moments(gpu, &label, inner, z, partials)?);
                    }
                    calls.push(batch_norm::join(gpu, &label, inner, &tensors, partials)?);
                } else {
                    calls.push(batch_norm::frozen(gpu, &label, inner, &tensors)?);
                    let whole = fuses && !pool;
                    let after = if whole { After::Normalise(saved) } else { After::Nothing };
                    self.product(index, Pass::Forward, after, &ranges, calls)?;
                    if whole {
                        return Ok(());
                    }
                }
                calls.push(batch_norm::apply(gpu, &label, inner, pool, z, saved, y)?);
            }
            Work::LocalResponseNorm => calls.push(local_response_normalisation::forward(gpu, &label, input, x, y)?),
            Work::MaxPool => calls.push(max_pool::forward(gpu, &label, input, x, y)?),
            Work::AveragePool { size } => calls.push(average_pool::forward(gpu, &label, input, size, x, y)?),
            Work::Linear { relu, dropout, drop } => {
                let drops = relu && training && dropout > 0.0;
                let after = if relu && !drops { After::Relu } else { After::Nothing };
                self.product(index, Pass::Forward, after, &ranges, calls)?;
                if drops {
                    let label = format!("{} activation", step.stage.name);
                    calls.push(dropout::forward(gpu, &label, inner, drop, dropout, y)?);
                }
            }
        }
        Ok(())
    }

    /// Backward pass of stage `index`.
    pub fn backward(&self, index: usize, calls: &mut Vec<Dispatch>) -> Result<()> {
        let (gpu, step) = (self.gpu, &self.layout.steps[index]);
        let ranges = self.ranges(step);
        let Ranges { x, y, z, dy, dx, .. } = &ranges;
        let (input, inner) = (step.stage.input, step.stage.inner);
        let partials = &self.buffers.partials;
        let label = format!("{} activation gradient", step.stage.name);
        match (step.stage.work, dx) {
            (Work::Convolution { pool, .. }, _) => {
                if let Some(saved) = &self.buffers.saved_statistics[index] {
                    // The bias ahead of it has gradient zero by algebra: nothing writes it, and it stays as allocated.
                    let (d_gamma, d_beta) = (self.gradient(step, 2), self.gradient(step, 3));
                    let tensors = Gradients { z, dy, saved, d_gamma: &d_gamma, d_beta: &d_beta, scratch: partials };
                    calls.extend(batch_norm::backward(gpu, &label, inner, pool, &tensors)?);
                } else {
                    calls.push(relu::backward(gpu, &label, inner, pool, z, dy)?);
                    let d_bias = self.gradient(step, 1);
                    calls.extend(relu::bias_gradient(gpu, &label, inner, z, &d_bias, partials)?);
                }
                self.product(index, Pass::WeightGradient, After::Nothing, &ranges, calls)?;
                self.product(index, Pass::InputGradient, After::Nothing, &ranges, calls)
            }
            (Work::Linear { relu, dropout, .. }, _) => {
                if relu {
                    calls.push(dropout::backward(gpu, &label, inner, dropout, y, dy)?);
                }
                let d_bias = self.gradient(step, 1);
                calls.extend(relu::bias_gradient(gpu, &label, inner, dy, &d_bias, partials)?);
                self.product(index, Pass::WeightGradient, After::Nothing, &ranges, calls)?;
                self.product(index, Pass::InputGradient, After::Nothing, &ranges, calls)
            }
            (_, None) => Ok(()),
            (Work::LocalResponseNorm, Some(dx)) => {
                calls.push(local_response_normalisation::backward(gpu, &label, input, x, dy, dx)?);
                Ok(())
            }
            (Work::MaxPool, Some(dx)) => {
                calls.push(max_pool::backward(gpu, &label, input, x, dy, dx)?);
                Ok(())
            }
            (Work::AveragePool { size }, Some(dx)) => {
                calls.push(average_pool::backward(gpu, &label, input, size, dy, dx)?);
                Ok(())
            }
        }
    }
}
