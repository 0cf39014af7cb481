//! The static layout of a plan on the CPU engine: fused steps, where each parameter lies, and which buffer holds which
//! activation or gradient when. Allocates nothing; what it says is what the engine then allocates.

use std::ops::Range;

use rayon::prelude::*;

use super::layers::activation::Activation;
use super::layers::gradient_norm;
use super::layers::linear::Linear;
use super::layers::local_response_normalisation;
use super::plumbing::buffer::Buffer;
use super::plumbing::simd::InstructionSet;
use super::products::shape::{Convolution, WorkspaceSizes};
use super::products::winograd_prepared::Prepared;
use crate::engine::Settings;
use crate::engine::lifetime::Values;
use crate::engine::peers::Together;
use crate::engine::stages::{self, Stage, first_trained, stages};
use crate::engine::update::by_decay;
use crate::error::{Error, Kind, Result};
use crate::vgg::plan::Role;
use crate::vgg::{Plan, Shape};

/// Index of a buffer.
pub type Slot = usize;

/// Bytes that an engine allocates, by purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Parameters and running statistics, the averaged ones too where they are kept, and convolutions' filters that are kept
    /// transformed.
    pub parameters: u64,
    /// A gradient a parameter.
    pub gradients: u64,
    /// The optimiser's moments.
    pub moments: u64,
    /// Activations and their gradients, which share buffers by lifetime.
    pub activations: u64,
    /// What kernels need in between, for all threads.
    pub scratch: u64,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.parameters + self.gradients + self.moments + self.activations + self.scratch
    }
}

/// Where a tensor of [`Plan::tensors`] lies and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Whether it lies among the parameters, or among the running statistics.
    pub parameter: bool,
    /// Whether it has a gradient and moments, which lie as the parameters do.
    pub trained: bool,
    /// Where.
    pub range: Range<usize>,
    /// [outputs, inputs, taps] of a convolution's weight, which is kept as [taps, inputs, outputs].
    pub convolution: Option<[usize; 3]>,
}

impl Place {
    /// Copies a tensor out of where it lies, in torchvision's layout.
    pub fn unpack(&self, from: &[f32]) -> Vec<f32> {
        let from = &from[self.range.clone()];
        let Some([outputs, inputs, taps]) = self.convolution else { return from.to_vec() };
        let mut to = vec![0.0; from.len()];
        to.par_chunks_mut(inputs * taps).enumerate().for_each(|(o, to)| {
            for (j, v) in to.iter_mut().enumerate() {
                *v = from[((j % taps) * inputs + j / taps) * outputs + o];
            }
        });
        to
    }

    /// Copies a tensor in torchvision's layout to where it lies, by all threads for the reason of [`Buffer::zero`].
    pub fn pack(&self, values: &[f32], to: &mut [f32]) {
        const PART: usize = 1 << 16;
        let to = &mut to[self.range.clone()];
        let Some([outputs, inputs, taps]) = self.convolution else {
            return to
                .par_chunks_mut(PART)
                .zip(values.par_chunks(PART))
                .for_each(|(to, from)| to.copy_from_slice(from));
        };
        to.par_chunks_mut(outputs).enumerate().for_each(|(row, to)| {
            for (o, v) in to.iter_mut().enumerate() {
                *v = values[(o * inputs + row % inputs) * taps + row / inputs];
            }
        });
    }
}

/// Batch normalisation of a step: ranges of parameters, running statistics and saved statistics.
#[derive(Clone, Debug)]
pub struct Norm {
    pub gamma: Range<usize>,
    pub beta: Range<usize>,
    pub mean: Range<usize>,
    pub variance: Range<usize>,
    /// Start of scale, shift, mean and inverse deviation, a value a channel each.
    pub saved_statistics: usize,
}

/// What a step computes.
#[derive(Clone, Debug)]
pub enum Work {
    /// Convolution, then batch normalisation where there is one, ReLU, and pooling where it follows. In engines that only
    /// infer, its filters may be `prepared`.
    Convolution {
        convolution: Convolution,
        prepared: Option<Box<Prepared>>,
        activation: Activation,
        norm: Option<Norm>,
        z: Slot,
    },
    /// Local response normalisation.
    LocalResponseNorm,
    /// 2x2 maxima that follow no convolution directly.
    MaxPool,
    /// Adaptive averages, flattened channel first.
    AveragePool { size: usize },
    /// Linear, then ReLU and dropout where they follow; `drop` is the dropout's index into [`Plan::layers`].
    Linear { linear: Linear, relu: bool, dropout: f32, drop: usize },
}

/// A fused group of layers.
#[derive(Clone, Debug)]
pub struct Step {
    /// Name of its first layer.
    pub name: String,
    pub work: Work,
    /// One sample's input.
    pub input: Shape,
    /// One sample's output.
    pub output: Shape,
    /// Whether the backward pass comes to it: only in training, and not where it and all ahead of it are frozen.
    pub trained: bool,
    pub weight: Range<usize>,
    pub bias: Range<usize>,
    pub x: Slot,
    pub y: Slot,
    /// Gradient of y; only where it is trained.
    pub dy: Slot,
    /// Gradient of x; only where a step ahead of it is trained.
    pub dx: Option<Slot>,
}

impl Step {
    /// Where its trained parameters lie: weights, then the bias or what batch normalisation has in its place.
    pub fn parameters(&self) -> [Range<usize>; 3] {
        match &self.work {
            Work::Convolution { norm: Some(norm), .. } => [self.weight.clone(), norm.gamma.clone(), norm.beta.clone()],
            _ => [self.weight.clone(), self.bias.clone(), 0..0],
        }
    }
}

/// The whole layout.
#[derive(Clone, Debug)]
pub struct CpuLayout {
    pub steps: Vec<Step>,
    /// Floats of each buffer.
    pub slots: Vec<usize>,
    pub input: Slot,
    pub logits: Slot,
    pub d_logits: Slot,
    pub places: Vec<Place>,
    /// Parts of what is trained, each with whether weight decay concerns it.
    pub updates: Vec<(Range<usize>, bool)>,
    /// Floats of all parameters, and of those that are trained, which come first.
    pub parameters: usize,
    pub trained: usize,
    /// Floats of all running statistics, and of those that move, which come first.
    pub running: usize,
    pub moving: usize,
    /// Floats of all prepared filters.
    pub prepared: usize,
    /// Floats that kernels need in between.
    pub workspace: WorkspaceSizes,
    /// f64 partial sums.
    pub partials: usize,
    /// Micro-batches that are computed at once, and samples of one.
    pub parts: usize,
    pub micro_batch: usize,
    /// Samples of all of them.
    pub samples: usize,
    /// Floats of saved statistics of a micro-batch, and of factors of one layer.
    pub saved_statistics: usize,
    pub factors: usize,
}

impl CpuLayout {
    /// Lays `plan` out. Errors: an order of layers that the engine does not know, a batch size or thread count of 0.
    pub fn new(plan: &Plan, settings: &Settings, together: Option<&Together>, set: InstructionSet) -> Result<Self> {
        if settings.batch_size == 0 || settings.threads == 0 {
            return Err(Error::usage("batch size and threads must be at least 1"));
        }
        // Past this no sum or product below overflows; no machine has as much memory by far.
        let numbers: usize = plan.layers.iter().map(|l| l.output.elements()).sum();
        if settings.batch_size.saturating_mul(numbers.max(plan.input().elements())) > 1 << 56 {
            let message = format!("a batch of {} images needs more memory than any machine has", settings.batch_size);
            return Err(Error::new(Kind::Engine, message).with_help("choose a smaller batch (-b)"));
        }
        let mut layout = Self::parameters(plan, settings);
        layout.micro_batch = settings.batch_size;
        layout.samples = settings.batch_size;
        if let Some(Together { peers, .. }) = together {
            layout.micro_batch = peers.micro_batch().min(settings.batch_size);
            layout.samples = peers.share(settings.batch_size).len().max(layout.micro_batch);
        }
        layout.parts = layout.samples.div_ceil(layout.micro_batch);
        layout.fuse(plan, settings, set)?;
        layout.assign_buffers(plan, settings);
        layout.size_scratch(settings);
        Ok(layout)
    }

    /// Bytes by purpose.
    pub fn memory(&self, settings: &Settings) -> Memory {
        let (parameters, trained) = (Buffer::bytes(self.parameters), Buffer::bytes(self.trained));
        let moments = settings.optimizer.map_or(0, |o| o.moments().len() as u64);
        let sets = if settings.keeps_average() { 2 } else { 1 };
        Memory {
            parameters: sets * (parameters + Buffer::bytes(self.running)) + Buffer::bytes(self.prepared),
            gradients: if settings.optimizer.is_some() { trained } else { 0 },
            moments: moments * trained,
            activations: self.slots.iter().map(|len| Buffer::bytes(*len)).sum(),
            scratch: Buffer::bytes(self.workspace.scratch) * settings.threads as u64
                + Buffer::bytes(self.workspace.shared)
                + Buffer::bytes(self.workspace.filters)
                + Buffer::bytes(self.parts * self.saved_statistics)
                + Buffer::bytes(self.factors)
                + ((self.partials + self.parts * (self.saved_statistics / 2 + 2 * self.factors)) * size_of::<f64>())
                    as u64,
        }
    }

    /// Classes that it tells apart.
    pub fn classes(&self) -> usize {
        self.steps.last().map_or(0, |step| step.output.elements())
    }

    fn parameters(plan: &Plan, settings: &Settings) -> Self {
        let (mut parameters, mut trained, mut running, mut moving) = (0, 0, 0, 0);
        let tensors = plan.tensors();
        let mut places = vec![Place::default(); tensors.len()];
        for index in by_decay(&tensors) {
            let tensor = &tensors[index];
            let (end, of_those_trained) = match tensor.role.trained() {
                true => (&mut parameters, &mut trained),
                false => (&mut running, &mut moving),
            };
            let range = *end..*end + tensor.elements();
            *end = range.end.next_multiple_of(16);
            if !tensor.frozen {
                *of_those_trained = *end;
            }
            let convolution = match *tensor.shape.as_slice() {
                [o, i, h, w] if tensor.role == Role::Weight => Some([o, i, h * w]),
                _ => None,
            };
            places[index] = Place { parameter: tensor.role.trained(), trained: tensor.trained(), range, convolution };
        }
        let roles = tensors.iter().zip(&places).filter(|(tensor, _)| tensor.trained());
        let roles = roles.map(|(tensor, place)| (tensor.role, place.range.clone()));
        let updates = settings.update.no_decay.ranges(&roles.collect::<Vec<_>>(), trained);
        Self {
            steps: Vec::new(),
            slots: Vec::new(),
            input: 0,
            logits: 0,
            d_logits: 0,
            places,
            updates,
            parameters,
            trained,
            running,
            moving,
            prepared: 0,
            workspace: WorkspaceSizes::default(),
            partials: 0,
            parts: 1,
            micro_batch: 0,
            samples: 0,
            saved_statistics: 0,
            factors: 0,
        }
    }

    /// Groups layers into steps.
    fn fuse(&mut self, plan: &Plan, settings: &Settings, set: InstructionSet) -> Result<()> {
        let stages = stages(plan)?;
        let first_trained = first_trained(plan, &stages);
        for (index, stage) in stages.into_iter().enumerate() {
            let trained = settings.optimizer.is_some() && index >= first_trained;
            let Stage { name, work, input, inner, output, tensors } = stage;
            let range = |index: usize| self.places[tensors.start + index].range.clone();
            let (weight, bias) = if tensors.is_empty() { (0..0, 0..0) } else { (range(0), range(1)) };
            let work = match work {
                stages::Work::Convolution { kernel, norm, pool } => {
                    let norm = norm.then(|| {
                        let saved_statistics = self.saved_statistics;
                        self.saved_statistics += 4 * inner.channels;
                        Norm { gamma: range(2), beta: range(3), mean: range(4), variance: range(5), saved_statistics }
                    });
                    let Shape { height, width, channels } = inner;
                    let (inputs, precise, batch) = (input.channels, settings.precise, self.micro_batch);
                    let convolution =
                        Convolution { kernel, height, width, inputs, outputs: channels, batch, precise, set };
                    let prepared = match settings.optimizer {
                        Some(_) => None, // weights change at each step
                        None => Prepared::new(convolution, self.prepared).map(Box::new),
                    };
                    self.prepared = prepared.as_ref().map_or(self.prepared, |prepared| prepared.range().end);
                    let activation = Activation { shape: inner, pool, set };
                    Work::Convolution { convolution, prepared, activation, norm, z: 0 }
                }
                stages::Work::LocalResponseNorm => Work::LocalResponseNorm,
                stages::Work::MaxPool => Work::MaxPool,
                stages::Work::AveragePool { size } => Work::AveragePool { size },
                stages::Work::Linear { relu, dropout, drop } => {
                    let linear = Linear { inputs: input.elements(), outputs: output.channels, set };
                    Work::Linear { linear, relu, dropout, drop }
                }
            };
            let (x, y, dy, dx) = (0, 0, 0, None);
            self.steps.push(Step { name, work, input, output, trained, weight, bias, x, y, dy, dx });
        }
        Ok(())
    }

    /// Finds out when each value lives and shares buffers. Forward passes run at times 2 i, the loss after them, then
    /// backward passes from the last step to the first: gradients of z and of the weights first, of x after that.
    fn assign_buffers(&mut self, plan: &Plan, settings: &Settings) {
        let training = settings.optimizer.is_some();
        let n = self.samples;
        let count = self.steps.len();
        let (forward, loss) = (|i: usize| 2 * i, 2 * count);
        let backward = |i: usize| loss + 1 + 2 * (count - 1 - i);
        let mut values = Values::default();
        let mut current = values.new_at(n * plan.input().elements(), 0);
        self.input = current;
        for (i, step) in self.steps.iter_mut().enumerate() {
            let output = n * step.output.elements();
            step.x = current;
            values.used(step.x, forward(i));
            match &mut step.work {
                Work::Convolution { activation, norm, z, .. } => {
                    *z = values.new_at(n * activation.shape.elements(), forward(i));
                    let apart = activation.pool || (norm.is_some() && step.trained);
                    step.y = if apart { values.new_at(output, forward(i)) } else { *z };
                    if step.trained {
                        values.used(*z, backward(i) + 1);
                    }
                }
                _ => step.y = values.new_at(output, forward(i)),
            }
            if step.trained {
                let last = match step.work {
                    Work::Convolution { .. } | Work::Linear { .. } => backward(i),
                    Work::LocalResponseNorm | Work::MaxPool => backward(i) + 1,
                    Work::AveragePool { .. } => forward(i),
                };
                values.used(step.x, last);
                if let Work::Linear { relu: true, .. } = step.work {
                    values.used(step.y, backward(i));
                }
            }
            current = step.y;
        }
        self.logits = current;
        values.used(current, loss);
        if training {
            let mut gradient = values.new_at(n * plan.network.classes, loss);
            self.d_logits = gradient;
            let first = self.steps.iter().position(|step| step.trained).unwrap_or_default();
            for (i, step) in self.steps.iter_mut().enumerate().skip(first).rev() {
                step.dy = gradient;
                values.used(gradient, backward(i) + usize::from(!matches!(step.work, Work::Convolution { .. })));
                if i > first {
                    gradient = values.new_at(n * step.input.elements(), backward(i) + 1);
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
            for v in [&mut step.x, &mut step.y, &mut step.dy].into_iter().chain(step.dx.as_mut()) {
                *v = slot_of[*v];
            }
            if let Work::Convolution { z, .. } = &mut step.work {
                *z = slot_of[*z];
            }
        }
    }

    fn size_scratch(&mut self, settings: &Settings) {
        if settings.optimizer.is_some() && settings.update.clip_norm.is_some() {
            self.partials = gradient_norm::partials(self.trained);
        }
        for step in &self.steps {
            match &step.work {
                Work::Convolution { convolution, prepared, activation, norm, .. } => {
                    self.workspace = self.workspace.max(match prepared {
                        Some(prepared) => prepared.workspace(self.micro_batch),
                        None => convolution.workspace(self.micro_batch, step.trained),
                    });
                    if step.trained {
                        self.partials = self.partials.max(activation.partials(self.micro_batch));
                    }
                    if norm.is_some() {
                        self.factors = self.factors.max(2 * activation.shape.channels);
                    }
                }
                Work::Linear { linear, .. } => {
                    self.workspace.shared = self.workspace.shared.max(linear.workspace(self.micro_batch));
                }
                Work::LocalResponseNorm => {
                    self.workspace.scratch =
                        self.workspace.scratch.max(local_response_normalisation::scratch(step.input.channels));
                }
                _ => {}
            }
        }
    }
}
