//! What executes a plan. The trainer sees a whole network: it sends picks, asks for metrics, logits and state.
//!
//! An engine knows nothing of files, of the command line or of the report. Activations are NHWC in every engine.
//! A step is asynchronous: `train_step` may return before its work is done, and nothing is read back before
//! `drain_metrics`, `logits`, `infer`, `state` or `snapshot` asks for it.
//!
//! **To add an operation**: ARCHITECTURE.md has the files in order, from `vgg/operation.rs` to both engines.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::vgg::Plan;
#[cfg(doc)]
use crate::vgg::plan::TensorSpec;

pub(crate) mod buckets;
pub mod check;
pub mod cpu;
pub mod enhancement;
pub mod gpu;
pub mod images;
pub(crate) mod layout;
mod lifetime;
pub(crate) mod pages;
pub mod peers;
mod precision;
pub mod random;
pub mod resample;
pub mod sample;
pub(crate) mod settling;
mod stages;
pub mod tree;
pub mod update;

pub use update::{LossScaling, NoDecay, Optimizer, Update};

pub use images::{Images, Pixels};
pub use layout::Memory;
pub use precision::Precision;
pub use sample::{Pick, View};

/// What a state's variants say where [`Settings::precise`] was set: a resumed training keeps to it.
pub const PRECISE: (&str, &str) = ("cpu convolution", "precise");

/// Which of the attached image sets a call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Trained on.
    Train,
    /// Not trained on: validated on, evaluated or predicted.
    Validation,
}

/// A batch as the engine takes it.
#[derive(Clone, Copy, Debug)]
pub enum Batch<'a> {
    /// Picks of an attached image set: gathered, augmented, resized and normalised by the engine.
    Picks(Source, &'a [Pick]),
    /// The same, with what teachers say of each sample: shares of all classes [n, classes], of which [`Settings::taught`] of
    /// the target is made.
    Taught(Source, &'a [Pick], &'a [f32]),
    /// A ready batch, e.g. a golden one: normalised f32 [n, image_size, image_size, 3] and a label a sample
    /// (labels may be empty for `logits`).
    Activations {
        /// NHWC.
        input: &'a [f32],
        /// Class indices.
        labels: &'a [u32],
    },
}

impl<'a> Batch<'a> {
    /// The picks of an image set, for a batch that has any.
    pub fn picks(&self) -> Option<(Source, &'a [Pick])> {
        match *self {
            Self::Picks(source, picks) | Self::Taught(source, picks, _) => Some((source, picks)),
            Self::Activations { .. } => None,
        }
    }

    /// What teachers say of it; empty where none were asked.
    pub fn teaching(&self) -> &'a [f32] {
        match *self {
            Self::Taught(_, _, rows) => rows,
            Self::Picks(..) | Self::Activations { .. } => &[],
        }
    }
}

/// `(pixel / 255 - mean) / std` for R, G and B.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// Subtracted, in 0..1.
    pub mean: [f32; 3],
    /// Divided by.
    pub std: [f32; 3],
}

impl Normalisation {
    /// Torchvision's for networks that were trained on ImageNet.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

    /// What a flag calls it; none for that of a data set.
    pub fn name(&self) -> Option<&'static str> {
        match *self {
            Self::IMAGENET => Some("imagenet"),
            other if other == Self::default() => Some("half"),
            _ => None,
        }
    }
}

impl Default for Normalisation {
    /// The replaced project's: to -1..1.
    fn default() -> Self {
        Self { mean: [0.5; 3], std: [0.5; 3] }
    }
}

/// All an engine needs to know besides the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The largest batch that `train_step` and `logits` will be given. Smaller ones (tails) are allowed.
    pub batch_size: usize,
    /// How pixels become activations.
    pub normalisation: Normalisation,
    /// The optimiser; `None` for an engine that only infers and allocates neither gradients nor moments.
    pub optimizer: Option<Optimizer>,
    /// What an update does besides the optimiser's rule.
    pub update: Update,
    /// Cross-entropy's label smoothing (torch.nn.CrossEntropyLoss): 0 for none.
    pub label_smoothing: f32,
    /// Share of a target that teachers say ([`Batch::Taught`], which all training batches are then); 0 for none.
    pub taught: f32,
    /// Key of the dropout masks, with the step and the element's index as counter.
    pub seed: u64,
    /// Whether train images are enhanced ([`sample::View::enhancement`]), which takes room for those of a batch.
    pub enhances: bool,
    /// Worker threads of a CPU engine; never changes the result.
    pub threads: usize,
    /// Keeps to the most exact kernels: no Winograd F(4x4, 3x3), whose rounding errors are some ten times those of the
    /// others.
    pub precise: bool,
}

impl Settings {
    /// Those of an engine that only infers, of batches of at most `batch_size`, with everything else as it is where nothing is
    /// said: what an engine that trains, or any other, is told besides goes ahead of `..Settings::inference(..)`.
    pub fn inference(batch_size: usize, threads: usize) -> Self {
        Self {
            batch_size,
            normalisation: Normalisation::default(),
            optimizer: None,
            update: Update::default(),
            label_smoothing: 0.0,
            taught: 0.0,
            seed: 0,
            enhances: false,
            threads,
            precise: false,
        }
    }

    /// Images of a batch of `source` at most that are enhanced: each sample may be mixed of two.
    pub fn most_enhanced(&self, source: Source) -> usize {
        if self.enhances && source == Source::Train { 2 * self.batch_size } else { 0 }
    }

    /// Whether an engine has averaged weights besides the live ones.
    pub fn keeps_average(&self) -> bool {
        self.optimizer.is_some() && self.update.ema.is_some()
    }
}

/// What executes the network, for records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// "cpu" or "gpu".
    pub engine: String,
    /// The processor's or the graphics card's name.
    pub adapter: String,
    /// The driver with its version, or the instruction set used on a CPU.
    pub driver: String,
    /// Worker threads; 0 where that means nothing.
    pub threads: usize,
}

/// What a device reached in a measurement of nothing else: what operations are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Floating point operations per second; a fused multiply-add counts as two.
    pub flops: f64,
    /// Bytes per second, read and written together.
    pub bytes: f64,
}

impl Limits {
    /// Of each the higher one: what disturbs a measurement only ever lowers it.
    #[must_use]
    pub fn best(self, other: Self) -> Self {
        Self { flops: self.flops.max(other.flops), bytes: self.bytes.max(other.bytes) }
    }
}

/// Loss and hits of one training step, measured in its forward pass (before its update, with augmentation and dropout).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepMetrics {
    /// Steps done since the network was initialised, this one included.
    pub step: u64,
    /// Samples in its batch.
    pub samples: u32,
    /// Mean loss over the batch (with label smoothing where set).
    pub loss: f32,
    /// Samples whose highest logit is the label's.
    pub top1: u32,
    /// Samples whose label is among the five highest logits.
    pub top5: u32,
}

/// A network's weights come in sets, each of all of [`Plan::tensors`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightSet {
    /// Those that are trained.
    #[default]
    Live,
    /// Their moving average, with [`Update::ema`].
    Averaged,
}

/// Everything that a resumed training needs from the engine.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Steps done: the counter of the dropout masks and, less those that were left out, Adam's t.
    pub step: u64,
    /// The live weights: one vector for each of [`Plan::tensors`], same order, torchvision's layout.
    pub tensors: Vec<Vec<f32>>,
    /// The averaged ones, likewise. Empty for an engine that keeps none, or before the first step: an engine that does
    /// starts them as the live ones are.
    pub averages: Vec<Vec<f32>>,
    /// For each name of [`Optimizer::moments`], one vector for each tensor that is trained ([`TensorSpec::trained`]), in the order of
    /// [`Plan::tensors`]. Empty for an engine without optimiser, or before the first step.
    pub moments: Vec<Vec<Vec<f32>>>,
    /// Kernel variants that were chosen by timing, by layer; used again on resume.
    pub variants: BTreeMap<String, String>,
    /// Of a training in f16, or of one that began so.
    pub loss_scaling: Option<LossScaling>,
}

/// Lent to an engine, which copies it.
impl<'a> From<&'a State> for Cow<'a, State> {
    fn from(state: &'a State) -> Self {
        Cow::Borrowed(state)
    }
}

/// Given away to an engine, which need not have it in memory twice.
impl From<State> for Cow<'_, State> {
    fn from(state: State) -> Self {
        Cow::Owned(state)
    }
}

impl State {
    /// Lets go of the variants that were chosen for each layer, as for images of another size; what the CPU engine keeps to
    /// in all layers stays.
    pub fn forget_layers(&mut self) {
        self.variants.retain(|name, _| name == PRECISE.0);
    }

    /// The state before the first step.
    pub fn new(tensors: Vec<Vec<f32>>) -> Self {
        Self {
            step: 0,
            tensors,
            averages: Vec::new(),
            moments: Vec::new(),
            variants: BTreeMap::new(),
            loss_scaling: None,
        }
    }
}

/// The state of an engine at one moment, on its way to whoever asked for it; any thread may wait for it.
pub trait Snapshot: Send {
    /// Waits until it is there. Errors: the device was lost on the way.
    fn state(self: Box<Self>) -> Result<State>;
}

/// A state that is there.
impl Snapshot for State {
    fn state(self: Box<Self>) -> Result<State> {
        Ok(*self)
    }
}

/// A network on a device. Made by an engine's own constructor from a plan, settings and a state.
pub trait Engine {
    /// What it runs on.
    fn device(&self) -> &Device;

    /// What its graphics card is known by among those of its machine; none for a processor, or where that is not known.
    fn card(&self) -> Option<&str> {
        None
    }

    /// The plan that it executes.
    fn plan(&self) -> &Plan;

    /// Bytes that it has allocated, or will: known from the plan before the first allocation.
    fn memory(&self) -> u64;

    /// Seconds spent in each operation since the engine was built, in the order of a step; empty without such clocks.
    fn timings(&self) -> Vec<(String, f64)> {
        Vec::new()
    }

    /// Makes the images of `source` available to picks. Replaces what was there.
    fn attach(&mut self, source: Source, images: Images) -> Result<()>;

    /// One step on a labelled batch: forward, backward, update with `learning_rate`.
    /// Batch normalisation uses the batch's statistics and updates the running ones. Frozen layers ([`Plan::frozen`]) keep every
    /// bit: their batch normalisation uses the running statistics, and they have neither gradients nor moments.
    fn train_step(&mut self, batch: Batch<'_>, learning_rate: f32) -> Result<()>;

    /// Waits for all steps so far and hands out the metrics of those not handed out yet, in order.
    fn drain_metrics(&mut self) -> Result<Vec<StepMetrics>>;

    /// Hands out, in order, the metrics that are there already, without waiting for a device.
    fn poll_metrics(&mut self) -> Result<Vec<StepMetrics>> {
        self.drain_metrics()
    }

    /// Which weights `logits` and `infer` compute with from now on: the live ones, if nothing else is said. Training knows of
    /// no others. Errors: an engine that keeps no average.
    fn infer_with(&mut self, set: WeightSet) -> Result<()>;

    /// Inference (running statistics, no dropout): logits [n, classes], row by row, replacing what `logits` held.
    fn logits(&mut self, batch: Batch<'_>, logits: &mut Vec<f32>) -> Result<()>;

    /// Inference of one batch after another: `visit` is given the logits of each, in order. A device goes on with later
    /// ones meanwhile.
    fn infer(&mut self, batches: &mut dyn Iterator<Item = Batch<'_>>, visit: &mut dyn FnMut(&[f32])) -> Result<()> {
        let mut logits = Vec::new();
        for batch in batches {
            self.logits(batch, &mut logits)?;
            visit(&logits);
        }
        Ok(())
    }

    /// Gradients of the last training step (before weight decay), one for each tensor that is trained, in the order of
    /// [`Plan::tensors`], torchvision's layout. For tests; empty before the first step.
    fn gradients(&mut self) -> Result<Vec<Vec<f32>>>;

    /// Logits [n, classes] of the last training step's forward pass. For tests; empty before the first step.
    fn training_logits(&mut self) -> Result<Vec<f32>>;

    /// Kernel variants in use, as [`State::variants`] has them.
    fn variants(&self) -> &BTreeMap<String, String>;

    /// Copies the state out.
    fn state(&mut self) -> Result<State>;

    /// Begins to copy the state out, as all steps so far leave it. The next step may follow at once, and the copy knows
    /// nothing of it.
    fn snapshot(&mut self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(self.state()?))
    }

    /// Puts a state in. Lengths that do not fit the plan are an error and change nothing.
    fn load_state(&mut self, state: &State) -> Result<()>;
}
