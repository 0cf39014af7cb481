//! What is the CPU engine's own in the static layout of a plan: what each step computes with, how tensors lie, and the sizes of
//! what kernels need in between. Allocates nothing; what it says is what the engine then allocates.

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
use crate::engine::layout::{self, Format, Layout, Memory, Place};
use crate::engine::peers::Together;
use crate::engine::stages::{self, Stage};
use crate::error::{Error, Kind, Result};
use crate::vgg::{Plan, Shape};

/// [outputs, inputs, taps] of a convolution's weight, which lies as [taps, inputs, outputs]; all others lie as torchvision has them.
fn turned(place: &Place) -> Option<[usize; 3]> {
    match *place.shape.as_slice() {
        [outputs, inputs, height, width] => Some([outputs, inputs, height * width]),
        _ => None,
    }
}

/// Copies a tensor out of where it lies, in torchvision's layout.
pub fn unpack(place: &Place, from: &[f32]) -> Vec<f32> {
    let from = &from[place.range.clone()];
    let Some([outputs, inputs, taps]) = turned(place) else { return from.to_vec() };
    let mut to = vec![0.0; from.len()];
    to.par_chunks_mut(inputs * taps).enumerate().for_each(|(o, to)| {
        for (j, v) in to.iter_mut().enumerate() {
            *v = from[((j % taps) * inputs + j / taps) * outputs + o];
        }
    });
    to
}

/// Copies a tensor in torchvision's layout to where it lies, by all threads for the reason of [`Buffer::zero`].
pub fn pack(place: &Place, values: &[f32], to: &mut [f32]) {
    const PART: usize = 1 << 16;
    let to = &mut to[place.range.clone()];
    let Some([outputs, inputs, taps]) = turned(place) else {
        return to.par_chunks_mut(PART).zip(values.par_chunks(PART)).for_each(|(to, from)| to.copy_from_slice(from));
    };
    to.par_chunks_mut(outputs).enumerate().for_each(|(row, to)| {
        for (o, v) in to.iter_mut().enumerate() {
            *v = values[(o * inputs + row % inputs) * taps + row / inputs];
        }
    });
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

/// A step of the CPU engine.
pub type Step = layout::Step<Work>;

impl Step {
    /// Where its trained parameters lie: weights, then the bias or what batch normalisation has in its place.
    pub fn parameters(&self) -> [Range<usize>; 3] {
        match &self.work {
            Work::Convolution { norm: Some(norm), .. } => [self.weight.clone(), norm.gamma.clone(), norm.beta.clone()],
            _ => [self.weight.clone(), self.bias.clone(), 0..0],
        }
    }
}

/// Numbers of what a network needs besides what every engine lays out.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
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

/// The whole layout.
#[derive(Clone, Debug)]
pub struct CpuLayout {
    pub layout: Layout<Work>,
    pub sizes: Sizes,
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
        let mut sizes = Sizes { micro_batch: settings.batch_size, samples: settings.batch_size, ..Sizes::default() };
        if let Some(Together { peers, .. }) = together {
            sizes.micro_batch = peers.micro_batch().min(settings.batch_size);
            sizes.samples = peers.share(settings.batch_size).len().max(sizes.micro_batch);
        }
        sizes.parts = sizes.samples.div_ceil(sizes.micro_batch);
        let samples = sizes.samples;
        let format = Format { alignment: 16, padding: 1, half: false, samples, in_place: true, keeps_logits: false };
        let layout = Layout::new(plan, settings, format)?;
        let layout = layout.with(|step, places| sizes.work(step, places, settings, set));
        sizes.fit(&layout, settings);
        Ok(Self { layout, sizes })
    }

    /// Bytes by purpose.
    pub fn memory(&self, settings: &Settings) -> Memory {
        let Sizes { prepared, workspace, partials, parts, saved_statistics, factors, .. } = self.sizes;
        let mut memory = self.layout.memory(settings, 1, Buffer::bytes);
        memory.parameters += Buffer::bytes(prepared);
        memory.scratch = Buffer::bytes(workspace.scratch) * settings.threads as u64
            + Buffer::bytes(workspace.shared)
            + Buffer::bytes(workspace.filters)
            + Buffer::bytes(parts * saved_statistics)
            + Buffer::bytes(factors)
            + ((partials + parts * (saved_statistics / 2 + 2 * factors)) * size_of::<f64>()) as u64;
        memory
    }
}

impl Sizes {
    /// What `step` computes with; counts what it needs for itself.
    fn work(&mut self, step: &layout::Step, places: &[Place], settings: &Settings, set: InstructionSet) -> Work {
        let Stage { work, input, inner, output, ref tensors, .. } = step.stage;
        let range = |index: usize| places[tensors.start + index].range.clone();
        match work {
            stages::Work::Convolution { kernel, norm, pool } => {
                let norm = norm.then(|| {
                    let saved_statistics = self.saved_statistics;
                    self.saved_statistics += 4 * inner.channels;
                    Norm { gamma: range(2), beta: range(3), mean: range(4), variance: range(5), saved_statistics }
                });
                let Shape { height, width, channels } = inner;
                let (inputs, precise, batch) = (input.channels, settings.precise, self.micro_batch);
                let convolution = Convolution { kernel, height, width, inputs, outputs: channels, batch, precise, set };
                let prepared = match settings.optimizer {
                    Some(_) => None, // weights change at each step
                    None => Prepared::new(convolution, self.prepared).map(Box::new),
                };
                self.prepared = prepared.as_ref().map_or(self.prepared, |prepared| prepared.range().end);
                Work::Convolution { convolution, prepared, activation: Activation { shape: inner, pool, set }, norm }
            }
            stages::Work::LocalResponseNorm => Work::LocalResponseNorm,
            stages::Work::MaxPool => Work::MaxPool,
            stages::Work::AveragePool { size } => Work::AveragePool { size },
            stages::Work::Linear { relu, dropout, drop } => {
                let linear = Linear { inputs: input.elements(), outputs: output.channels, set };
                Work::Linear { linear, relu, dropout, drop }
            }
        }
    }

    /// Makes room for what each step of `layout` needs in between.
    fn fit(&mut self, layout: &Layout<Work>, settings: &Settings) {
        if settings.optimizer.is_some() && settings.update.clip_norm.is_some() {
            self.partials = gradient_norm::partials(layout.extent.trained);
        }
        for step in &layout.steps {
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
                        self.workspace.scratch.max(local_response_normalisation::scratch(step.stage.input.channels));
                }
                _ => {}
            }
        }
    }
}
