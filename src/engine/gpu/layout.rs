//! The static layout of a plan on the GPU: where each parameter lies, and which buffer holds which activation or gradient
//! when. Allocates nothing and needs no device; what it says is what the engine then allocates.

use std::ops::Range;

use super::products::operands::Convolution;
use crate::engine::Settings;
use crate::engine::lifetime::Values;
use crate::engine::stages::{Stage, Work, first_trained, stages};
use crate::engine::update::by_decay;
use crate::error::{Error, Kind, Result};
use crate::vgg::plan::{Role, TensorSpec};
use crate::vgg::{Plan, Shape};

/// Index of an activation buffer.
pub type Slot = usize;

/// Numbers that every range starts at a multiple of: an alignment that all adapters accept, of a copy in f16 too.
const ALIGNMENT: usize = 128;

/// Numbers of one sample of `shape` on the device: channels padded to a multiple of four.
pub fn padded(shape: Shape) -> usize {
    shape.pixels() * shape.channels.next_multiple_of(4)
}

/// Four-byte numbers of one sample of `shape`, as activations are in memory.
fn words(shape: Shape, half: bool) -> usize {
    if half { padded(shape) / 2 } else { padded(shape) }
}

/// Where a tensor of [`Plan::tensors`] lies and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Whether it lies among the parameters, or among the running statistics.
    pub parameter: bool,
    /// Whether it has a gradient and moments, which lie as the parameters do.
    pub trained: bool,
    /// Where, padding included.
    pub range: Range<usize>,
    /// torchvision's [outputs, inputs, taps]; a vector has one input and one tap.
    shape: [usize; 3],
    /// Inputs on the device.
    rows: usize,
}

impl Place {
    /// Of a tensor that begins at `start`.
    pub fn of(tensor: &TensorSpec, start: usize) -> Self {
        let shape = match *tensor.shape.as_slice() {
            [o, i, h, w] if tensor.role == Role::Weight => [o, i, h * w],
            [o, i] => [o, i, 1],
            _ => [tensor.elements(), 1, 1],
        };
        let [outputs, inputs, taps] = shape;
        // A weight of one input still has four rows: the activations that it meets are padded.
        let rows = if tensor.role == Role::Weight { inputs.next_multiple_of(4) } else { 1 };
        let range = start..start + outputs.next_multiple_of(4) * rows * taps;
        Self { parameter: tensor.role.trained(), trained: tensor.trained(), range, shape, rows }
    }

    /// Numbers in torchvision's layout.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Index on the device, from the range's start, of each number in torchvision's order: [taps][inputs][outputs],
    /// inputs and outputs padded to four.
    fn indices(&self) -> impl Iterator<Item = usize> {
        let ([outputs, inputs, taps], rows) = (self.shape, self.rows);
        let columns = outputs.next_multiple_of(4);
        (0..outputs)
            .flat_map(move |o| (0..inputs).flat_map(move |i| (0..taps).map(move |tap| (tap * rows + i) * columns + o)))
    }

    /// Outputs on the device: the length of a row.
    pub fn columns(&self) -> usize {
        self.shape[0].next_multiple_of(4)
    }

    /// Numbers on the device in torchvision's layout. `device` holds this tensor's range.
    pub fn unpack(&self, device: &[f32]) -> Vec<f32> {
        self.indices().map(|i| device[i]).collect()
    }

    /// The other way round; padding is zero.
    pub fn pack(&self, values: &[f32]) -> Vec<f32> {
        let mut device = vec![0.0; self.range.len()];
        self.indices().zip(values).for_each(|(i, v)| device[i] = *v);
        device
    }
}

/// A stage with its buffers.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it computes.
    pub stage: Stage,
    /// For convolutions and linear layers.
    pub convolution: Option<Convolution>,
    /// Whether the backward pass comes to it: only in training, and not where it and all ahead of it are frozen.
    pub trained: bool,
    /// Input.
    pub x: Slot,
    /// What a convolution puts out ahead of normalisation, ReLU and pooling; its gradient takes its place.
    pub z: Slot,
    /// Output.
    pub y: Slot,
    /// Gradient of y; only where it is trained.
    pub dy: Slot,
    /// Gradient of x; only where a stage ahead of it is trained.
    pub dx: Option<Slot>,
}

/// The whole layout.
#[derive(Clone, Debug)]
pub struct GpuLayout {
    /// In forward order.
    pub steps: Vec<Step>,
    /// Four-byte numbers of each buffer for one sample.
    pub slots: Vec<usize>,
    /// Whether activations and their gradients are f16, but for the logits.
    pub half: bool,
    /// The network's input.
    pub input: Slot,
    /// The network's output.
    pub logits: Slot,
    /// Its gradient.
    pub d_logits: Slot,
    /// One for each of [`Plan::tensors`].
    pub places: Vec<Place>,
    /// Parts of what is trained, each with whether weight decay concerns it.
    pub updates: Vec<(Range<usize>, bool)>,
    /// Floats that lie where.
    pub extent: Extent,
}

/// Floats of all tensors together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Of all parameters.
    pub parameters: usize,
    /// Of those that are trained, which come first.
    pub trained: usize,
    /// Of all running statistics.
    pub running: usize,
    /// Of those that move, which come first.
    pub moving: usize,
}

impl GpuLayout {
    /// Lays `plan` out, with activations in f16 where `half`. Errors: an order of layers that no engine knows.
    pub fn new(plan: &Plan, settings: &Settings, half: bool) -> Result<Self> {
        let (places, extent) = places(plan);
        let roles = plan.tensors().into_iter().zip(&places).filter(|(tensor, _)| tensor.trained());
        let roles = roles.map(|(tensor, place)| (tensor.role, place.range.clone()));
        let updates = settings.update.no_decay.ranges(&roles.collect::<Vec<_>>(), extent.trained);
        let stages = stages(plan)?;
        let first = first_trained(plan, &stages);
        let steps = stages.into_iter().enumerate().map(|(index, stage)| {
            let trained = settings.optimizer.is_some() && index >= first;
            Step { convolution: convolution(&stage), stage, trained, x: 0, z: 0, y: 0, dy: 0, dx: None }
        });
        let steps = steps.collect();
        let slots = Vec::new();
        let (input, logits, d_logits) = (0, 0, 0);
        let mut layout = Self { steps, slots, half, input, logits, d_logits, places, updates, extent };
        layout.assign_buffers(plan, settings.optimizer.is_some());
        Ok(layout)
    }

    /// Finds out when each value lives and shares buffers. Forward passes run at times 2 i, the loss after them, then
    /// backward passes from the last stage to the first: gradients of z and of the weights first, of x after that.
    fn assign_buffers(&mut self, plan: &Plan, training: bool) {
        let count = self.steps.len();
        let (forward, loss) = (|i: usize| 2 * i, 2 * count);
        let backward = |i: usize| loss + 1 + 2 * (count - 1 - i);
        let half = self.half;
        let words = |shape| words(shape, half);
        let mut values = Values::default();
        let mut current = values.new_at(words(plan.input()), 0);
        self.input = current;
        for (i, step) in self.steps.iter_mut().enumerate() {
            let convolution = matches!(step.stage.work, Work::Convolution { .. });
            step.x = current;
            values.used(step.x, forward(i));
            let output = if i + 1 == count { padded(step.stage.output) } else { words(step.stage.output) };
            step.y = values.new_at(output, forward(i));
            step.z = if convolution { values.new_at(words(step.stage.inner), forward(i)) } else { step.y };
            if step.trained {
                match step.stage.work {
                    Work::Convolution { .. } => {
                        values.used(step.z, backward(i) + 1);
                        values.used(step.x, backward(i));
                    }
                    Work::Linear { relu, .. } => {
                        values.used(step.x, backward(i));
                        if relu {
                            values.used(step.y, backward(i));
                        }
                    }
                    Work::LocalResponseNorm | Work::MaxPool => values.used(step.x, backward(i) + 1),
                    Work::AveragePool { .. } => {}
                }
            }
            current = step.y;
        }
        self.logits = current;
        // To the end, so that they can be asked for after the step.
        values.used(current, if training { backward(0) + 1 } else { loss });
        if training {
            let mut gradient = values.new_at(words(Shape::new(1, 1, plan.network.classes)), loss);
            self.d_logits = gradient;
            let first = self.steps.iter().position(|step| step.trained).unwrap_or_default();
            for (i, step) in self.steps.iter_mut().enumerate().skip(first).rev() {
                let convolution = matches!(step.stage.work, Work::Convolution { .. });
                step.dy = gradient;
                values.used(gradient, backward(i) + usize::from(!convolution));
                if i > first {
                    gradient = values.new_at(words(step.stage.input), backward(i) + 1);
                    step.dx = Some(gradient);
                }
            }
        }
        let (slot_of, slots) = values.place();
        self.slots = slots;
        for v in [&mut self.input, &mut self.logits, &mut self.d_logits] {
            *v = slot_of[*v];
        }
        for step in &mut self.steps {
            for v in [&mut step.x, &mut step.z, &mut step.y, &mut step.dy].into_iter().chain(step.dx.as_mut()) {
                *v = slot_of[*v];
            }
        }
    }

    /// Whether `step` is the one that makes the logits.
    pub fn is_last(&self, step: &Step) -> bool {
        self.steps.last().is_some_and(|last| last.stage.name == step.stage.name)
    }

    /// Four-byte numbers of one sample of `shape`, activations or their gradient.
    pub fn words(&self, shape: Shape) -> usize {
        words(shape, self.half)
    }

    /// The largest number of samples whose buffers are no larger than `floats` four-byte numbers each.
    pub fn most_samples(&self, floats: usize) -> Result<usize> {
        let largest = self.slots.iter().copied().max().unwrap_or(1).max(1);
        match floats / largest {
            0 => Err(Error::new(
                Kind::Engine,
                format!("one sample's activations ({} MiB) are beyond what this adapter can bind", largest >> 18),
            )
            .with_help("choose smaller images (-i) or a smaller --width, or train with --engine cpu")),
            samples => Ok(samples),
        }
    }
}

/// Where each tensor lies, and the floats of all.
fn places(plan: &Plan) -> (Vec<Place>, Extent) {
    let mut extent = Extent::default();
    let tensors = plan.tensors();
    let mut places = vec![Place::default(); tensors.len()];
    for index in by_decay(&tensors) {
        let tensor = &tensors[index];
        let (end, of_those_trained) = match tensor.role.trained() {
            true => (&mut extent.parameters, &mut extent.trained),
            false => (&mut extent.running, &mut extent.moving),
        };
        let place = Place::of(tensor, *end);
        *end = place.range.end.next_multiple_of(ALIGNMENT);
        if !tensor.frozen {
            *of_those_trained = *end;
        }
        places[index] = place;
    }
    (places, extent)
}

/// What a stage multiplies with its weights. A linear layer is a 1x1 convolution of one pixel, whose channels are its
/// features.
fn convolution(stage: &Stage) -> Option<Convolution> {
    let even = |n: usize| n.next_multiple_of(4);
    match stage.work {
        Work::Convolution { kernel, .. } => Some(Convolution {
            kernel,
            height: stage.input.height,
            width: stage.input.width,
            inputs: even(stage.input.channels),
            outputs: even(stage.inner.channels),
        }),
        Work::Linear { .. } => Some(Convolution {
            kernel: 1,
            height: 1,
            width: 1,
            inputs: even(stage.input.elements()),
            outputs: even(stage.inner.channels),
        }),
        _ => None,
    }
}
