//! The static layout of a plan: where each tensor lies, and which buffer holds which activation or gradient when. An engine says in
//! a [`Format`] what is its own. Allocates nothing and needs no device; what it says is what an engine then allocates.

use std::ops::Range;

use super::Settings;
use super::lifetime::Values;
use super::stages::{Stage, Work, first_trained, stages};
use super::update::by_decay;
use crate::error::Result;
use crate::vgg::plan::{Role, TensorSpec};
use crate::vgg::{Plan, Shape};

/// Index of a buffer of activations.
pub type Slot = usize;

/// How an engine's memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Numbers that a tensor begins at a multiple of.
    pub alignment: usize,
    /// Channels, of activations and of weights on both sides, are padded to a multiple of it.
    pub padding: usize,
    /// Whether activations and their gradients are f16, but for the logits.
    pub half: bool,
    /// Samples that a buffer is for.
    pub samples: usize,
    /// Whether a convolution's output stays where it is through ReLU and normalisation, where no pooling follows and no backward
    /// pass asks for it.
    pub in_place: bool,
    /// Whether the logits can be asked for after a backward pass.
    pub keeps_logits: bool,
}

impl Format {
    /// Numbers of one sample of `shape`, channels padded.
    pub fn numbers(&self, shape: Shape) -> usize {
        shape.pixels() * shape.channels.next_multiple_of(self.padding)
    }

    /// Four-byte words of activations of `shape`, or of their gradient.
    pub fn words(&self, shape: Shape) -> usize {
        let numbers = self.samples * self.numbers(shape);
        if self.half { numbers / 2 } else { numbers }
    }

    /// What a stage multiplies with its weight. A linear layer is a 1x1 convolution of one pixel, whose channels are its features.
    fn convolution(&self, stage: &Stage) -> Option<Convolution> {
        let [inputs, features, outputs] = [stage.input.channels, stage.input.elements(), stage.inner.channels]
            .map(|channels| channels.next_multiple_of(self.padding));
        match stage.work {
            Work::Convolution { kernel, .. } => {
                let Shape { height, width, .. } = stage.input;
                Some(Convolution { kernel, height, width, inputs, outputs })
            }
            Work::Linear { .. } => Some(Convolution { kernel: 1, height: 1, width: 1, inputs: features, outputs }),
            _ => None,
        }
    }
}

/// One convolution; channels as the engine has them. A linear layer is kernel 1 on a 1x1 map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// 1 or 3.
    pub kernel: usize,
    /// Rows of the map, in and out.
    pub height: usize,
    /// Columns of the map, in and out.
    pub width: usize,
    /// Channels of x.
    pub inputs: usize,
    /// Channels of y.
    pub outputs: usize,
}

impl Convolution {
    /// Pixels of a map.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Of the kernel: 1 or 9.
    pub fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Numbers of its weight, [taps][inputs][outputs].
    pub fn weights(&self) -> usize {
        self.taps() * self.inputs * self.outputs
    }
}

/// Where a tensor of [`Plan::tensors`] lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Whether it lies among the parameters, or among the running statistics.
    pub parameter: bool,
    /// Whether it has a gradient and moments, which lie as the parameters do.
    pub trained: bool,
    /// Where, padding included.
    pub range: Range<usize>,
    /// torchvision's: a convolution's weight is [outputs, inputs, height, width], a linear one [outputs, inputs], all others a vector.
    pub shape: Vec<usize>,
}

impl Place {
    /// Of a tensor that begins at `start`.
    pub fn of(tensor: &TensorSpec, start: usize, format: &Format) -> Self {
        let padded = |channels: usize| channels.next_multiple_of(format.padding);
        let numbers = match *tensor.shape.as_slice() {
            [outputs, inputs, ref taps @ ..] if tensor.role == Role::Weight => {
                padded(outputs) * padded(inputs) * taps.iter().product::<usize>()
            }
            _ => padded(tensor.elements()),
        };
        Self {
            parameter: tensor.role.trained(),
            trained: tensor.trained(),
            range: start..start + numbers,
            shape: tensor.shape.clone(),
        }
    }

    /// The same in a part of the memory that begins at `start`.
    pub fn from(&self, start: usize) -> Self {
        Self { range: self.range.start - start..self.range.end - start, ..self.clone() }
    }

    /// Numbers in torchvision's layout.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Numbers of all tensors together.
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

/// A stage with its buffers, and what an engine needs to know of it besides.
#[derive(Clone, Debug)]
pub struct Step<W = ()> {
    /// What it computes.
    pub stage: Stage,
    /// For convolutions and linear layers.
    pub convolution: Option<Convolution>,
    /// The engine's own.
    pub work: W,
    /// Whether the backward pass comes to it: only in training, and not where it and all ahead of it are frozen.
    pub trained: bool,
    /// Where its weight lies among the parameters; empty where there is none.
    pub weight: Range<usize>,
    /// Likewise its bias.
    pub bias: Range<usize>,
    /// Input.
    pub x: Slot,
    /// What a convolution puts out ahead of normalisation, ReLU and pooling; its gradient takes its place. Elsewhere the output.
    pub z: Slot,
    /// Output.
    pub y: Slot,
    /// Gradient of y; only where it is trained.
    pub dy: Slot,
    /// Gradient of x; only where a step ahead of it is trained.
    pub dx: Option<Slot>,
}

impl<W> Step<W> {
    fn convolves(&self) -> bool {
        matches!(self.stage.work, Work::Convolution { .. })
    }
}

/// The whole layout.
#[derive(Clone, Debug)]
pub struct Layout<W = ()> {
    /// What was laid out for.
    pub format: Format,
    /// In forward order.
    pub steps: Vec<Step<W>>,
    /// Four-byte words of each buffer.
    pub slots: Vec<usize>,
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
    /// Numbers that lie where.
    pub extent: Extent,
}

impl Layout {
    /// Lays `plan` out. Errors: an order of layers that no engine knows.
    pub fn new(plan: &Plan, settings: &Settings, format: Format) -> Result<Self> {
        let (places, extent) = places(plan, &format);
        let roles = plan.tensors().into_iter().zip(&places).filter(|(tensor, _)| tensor.trained());
        let roles = roles.map(|(tensor, place)| (tensor.role, place.range.clone()));
        let updates = settings.update.no_decay.ranges(&roles.collect::<Vec<_>>(), extent.trained);
        let stages = stages(plan)?;
        let first = first_trained(plan, &stages);
        let steps = stages.into_iter().enumerate().map(|(index, stage)| {
            let trained = settings.optimizer.is_some() && index >= first;
            let range = |tensor: usize| match stage.tensors.is_empty() {
                true => 0..0,
                false => places[stage.tensors.start + tensor].range.clone(),
            };
            let (convolution, weight, bias) = (format.convolution(&stage), range(0), range(1));
            Step { stage, convolution, work: (), trained, weight, bias, x: 0, z: 0, y: 0, dy: 0, dx: None }
        });
        let (steps, slots) = (steps.collect(), Vec::new());
        let (input, logits, d_logits) = (0, 0, 0);
        let mut layout = Self { format, steps, slots, input, logits, d_logits, places, updates, extent };
        layout.assign_buffers(plan, settings.optimizer.is_some());
        Ok(layout)
    }

    /// The same with what `work` says of each step.
    pub fn with<W>(self, mut work: impl FnMut(&Step, &[Place]) -> W) -> Layout<W> {
        let Self { format, steps, slots, input, logits, d_logits, places, updates, extent } = self;
        let steps = steps.into_iter().map(|step| {
            let work = work(&step, &places);
            let Step { stage, convolution, work: (), trained, weight, bias, x, z, y, dy, dx } = step;
            Step { stage, convolution, work, trained, weight, bias, x, z, y, dy, dx }
        });
        let steps = steps.collect();
        Layout { format, steps, slots, input, logits, d_logits, places, updates, extent }
    }

    /// Finds out when each value lives and shares buffers. Forward passes run at times 2 i, the loss after them, then
    /// backward passes from the last stage to the first: gradients of z and of the weights first, of x after that.
    fn assign_buffers(&mut self, plan: &Plan, training: bool) {
        let format = self.format;
        let count = self.steps.len();
        let (forward, loss) = (|i: usize| 2 * i, 2 * count);
        let backward = |i: usize| loss + 1 + 2 * (count - 1 - i);
        let mut values = Values::default();
        let mut current = values.new_at(format.words(plan.input()), 0);
        self.input = current;
        for (i, step) in self.steps.iter_mut().enumerate() {
            step.x = current;
            values.used(step.x, forward(i));
            let full = Format { half: false, ..format };
            let output = if i + 1 == count { full } else { format }.words(step.stage.output);
            if let Work::Convolution { norm, pool, .. } = step.stage.work {
                step.z = values.new_at(format.words(step.stage.inner), forward(i));
                let apart = !format.in_place || pool || (norm && step.trained);
                step.y = if apart { values.new_at(output, forward(i)) } else { step.z };
            } else {
                step.y = values.new_at(output, forward(i));
                step.z = step.y;
            }
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
        values.used(current, if training && format.keeps_logits { backward(0) + 1 } else { loss });
        if training {
            let mut gradient = values.new_at(format.words(Shape::new(1, 1, plan.network.classes)), loss);
            self.d_logits = gradient;
            let first = self.steps.iter().position(|step| step.trained).unwrap_or_default();
            for (i, step) in self.steps.iter_mut().enumerate().skip(first).rev() {
                step.dy = gradient;
                values.used(gradient, backward(i) + usize::from(!step.convolves()));
                if i > first {
                    gradient = values.new_at(format.words(step.stage.input), backward(i) + 1);
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
}

impl<W> Layout<W> {
    /// Classes that it tells apart.
    pub fn classes(&self) -> usize {
        self.steps.last().map_or(0, |step| step.stage.output.elements())
    }

    /// Whether `step` is the one that makes the logits.
    pub fn is_last(&self, step: &Step<W>) -> bool {
        self.steps.last().is_some_and(|last| last.stage.name == step.stage.name)
    }

    /// Bytes of what every engine allocates, where a buffer of some words has `bytes`, and buffers of activations are made for
    /// `times` as many samples as [`Format::samples`] says.
    pub fn memory(&self, settings: &Settings, times: usize, bytes: impl Fn(usize) -> u64) -> Memory {
        let Extent { parameters, trained, running, .. } = self.extent;
        let sets = if settings.keeps_average() { 2 } else { 1 };
        let moments = settings.optimizer.map_or(0, |optimizer| optimizer.moments().len() as u64);
        Memory {
            parameters: sets * (bytes(parameters) + bytes(running)),
            gradients: if settings.optimizer.is_some() { bytes(trained) } else { 0 },
            moments: moments * bytes(trained),
            activations: self.slots.iter().map(|words| bytes(words * times)).sum(),
            ..Memory::default()
        }
    }
}

/// Where each tensor lies, and the numbers of all.
fn places(plan: &Plan, format: &Format) -> (Vec<Place>, Extent) {
    let mut extent = Extent::default();
    let tensors = plan.tensors();
    let mut places = vec![Place::default(); tensors.len()];
    for index in by_decay(&tensors) {
        let tensor = &tensors[index];
        let (end, of_those_trained) = match tensor.role.trained() {
            true => (&mut extent.parameters, &mut extent.trained),
            false => (&mut extent.running, &mut extent.moving),
        };
        let place = Place::of(tensor, *end, format);
        *end = place.range.end.next_multiple_of(format.alignment);
        if !tensor.frozen {
            *of_those_trained = *end;
        }
        places[index] = place;
    }
    (places, extent)
}

/// Bytes that an engine allocates, by purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Parameters and running statistics, twice where an average is kept, and the forms of weights that products read: a copy in
    /// f16, filters that are kept transformed.
    pub parameters: u64,
    /// A gradient a parameter.
    pub gradients: u64,
    /// The optimiser's moments.
    pub moments: u64,
    /// Activations and their gradients, which share buffers by lifetime.
    pub activations: u64,
    /// What kernels need in between, for all threads.
    pub scratch: u64,
    /// Images that live on a device.
    #[serde(skip_serializing_if = "is_zero")]
    pub images: u64,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.parameters + self.gradients + self.moments + self.activations + self.scratch + self.images
    }
}

fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}
