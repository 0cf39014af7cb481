//! What a network has in a device's memory: one buffer for each thing that is kept, and those that activations and their
//! gradients share by lifetime, as `layout` says. `memory` tells their bytes ahead of that, without a device.

use super::layers::cross_entropy::TARGET;
use super::layers::gather::PICK;
use super::layers::{gradient_norm, loss_scaling};
use super::memory;
use super::plumbing::device::{Gpu, Slice};
use crate::engine::Settings;
use crate::engine::layout::Layout;
use crate::engine::stages::Work;
use crate::error::Result;

/// One set of weights.
pub struct Weights {
    pub parameters: Slice,
    /// The same in f16, in a network whose products read such.
    pub rounded: Option<Slice>,
    /// Running statistics.
    pub running: Slice,
}

/// Everything that is allocated.
pub struct Buffers {
    pub slots: Vec<Slice>,
    /// What is trained.
    pub live: Weights,
    /// Its moving average, where one is kept.
    pub averaged: Option<Weights>,
    pub gradients: Option<Slice>,
    pub moments: Vec<Slice>,
    /// What the device decides of an update: how the loss is scaled, in a training in f16, and how gradients are clipped.
    pub decided: Option<Slice>,
    /// Partial sums of the norm of all gradients, where they are clipped.
    pub squares: Option<Slice>,
    /// The gradient of the logits ahead of it, in f32.
    pub unscaled: Option<Slice>,
    /// Scale, shift, mean and inverse deviation of each stage with batch normalisation.
    pub saved_statistics: Vec<Option<Slice>>,
    pub scratch: [Slice; 3],
    /// Partial sums of batch normalisation and biases.
    pub partials: Slice,
    pub targets: Slice,
    /// What teachers say of a batch, where there are any.
    pub rows: Option<Slice>,
    pub picks: Slice,
    pub losses: Slice,
    pub metrics: Slice,
}

impl Weights {
    fn new(gpu: &Gpu, layout: &Layout) -> Result<Self> {
        Ok(Self {
            parameters: gpu.buffer("parameters", layout.extent.parameters)?,
            rounded: match layout.format.half {
                true => Some(gpu.buffer("parameters in f16", layout.extent.parameters / 2)?),
                false => None,
            },
            running: gpu.buffer("running statistics", layout.extent.running)?,
        })
    }

    fn own(&self) -> impl Iterator<Item = &Slice> {
        let Self { parameters, rounded, running } = self;
        [parameters, running].into_iter().chain(rounded)
    }
}

impl Buffers {
    /// All but the metrics, each once.
    pub fn own(&self) -> impl Iterator<Item = &Slice> {
        let Self {
            slots,
            live,
            averaged,
            gradients,
            moments,
            decided,
            squares,
            unscaled,
            saved_statistics,
            scratch,
            partials,
            targets,
            rows,
            picks,
            losses,
            metrics: _,
        } = self;
        let single = [partials, targets, picks, losses];
        let weights = std::iter::once(live).chain(averaged).flat_map(Weights::own);
        let sometimes = gradients.iter().chain(decided).chain(squares).chain(unscaled).chain(rows);
        let saved_statistics = saved_statistics.iter().flatten();
        slots.iter().chain(moments).chain(scratch).chain(weights).chain(sometimes).chain(saved_statistics).chain(single)
    }

    /// Logits of `samples` samples, in f32.
    pub fn logits(&self, layout: &Layout, samples: usize) -> Slice {
        let width = layout.steps.last().map_or(0, |step| layout.format.numbers(step.stage.output));
        self.slots[layout.logits].part(0, samples * width)
    }

    /// Allocates all of it for `samples` samples at once. Errors: no memory.
    pub fn new(
        gpu: &Gpu,
        layout: &Layout,
        settings: &Settings,
        samples: usize,
        scratch: [usize; 3],
        metrics: &Slice,
    ) -> Result<Self> {
        let batch = settings.batch_size;
        let moments = settings.optimizer.map_or(0, |o| o.moments().len());
        let clips = settings.update.clip_norm.is_some();
        let [first, second, third] = scratch;
        Ok(Self {
            live: Weights::new(gpu, layout)?,
            averaged: match settings.keeps_average() {
                true => Some(Weights::new(gpu, layout)?),
                false => None,
            },
            gradients: match settings.optimizer {
                Some(_) => Some(gpu.buffer("gradients", layout.extent.trained)?),
                None => None,
            },
            moments: (0..moments).map(|_| gpu.buffer("moments", layout.extent.trained)).collect::<Result<_>>()?,
            decided: match settings.optimizer {
                Some(_) if layout.format.half || clips => Some(loss_scaling::buffer(gpu)?),
                _ => None,
            },
            squares: match settings.optimizer {
                Some(_) if clips => {
                    Some(gpu.buffer("norm", gradient_norm::partials(layout.extent.trained, gpu.binding_floats()))?)
                }
                _ => None,
            },
            unscaled: match (settings.optimizer, layout.steps.last()) {
                (Some(_), Some(last)) if layout.format.half => {
                    Some(gpu.buffer("gradient of the logits", layout.format.numbers(last.stage.output) * samples)?)
                }
                _ => None,
            },
            slots: layout
                .slots
                .iter()
                .map(|floats| gpu.buffer("activations", floats * samples))
                .collect::<Result<_>>()?,
            saved_statistics: layout
                .steps
                .iter()
                .map(|step| match step.stage.work {
                    Work::Convolution { norm: true, .. } => {
                        let channels = step.stage.inner.channels.next_multiple_of(4);
                        gpu.buffer("statistics", 4 * channels).map(Some)
                    }
                    _ => Ok(None),
                })
                .collect::<Result<_>>()?,
            scratch: [gpu.buffer("scratch", first)?, gpu.buffer("scratch", second)?, gpu.buffer("scratch", third)?],
            partials: gpu.buffer("partial sums", memory::partials(layout, samples))?,
            rows: match (settings.taught > 0.0, layout.steps.last()) {
                (true, Some(last)) => Some(gpu.buffer("what teachers say", last.stage.output.elements() * batch)?),
                _ => None,
            },
            targets: gpu.buffer("targets", TARGET * batch)?,
            picks: gpu.buffer("picks", PICK * batch)?,
            losses: gpu.buffer("losses", 4 * batch)?,
            metrics: metrics.clone(),
        })
    }
}
