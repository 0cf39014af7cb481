//! The fast CPU engine: executes a [`CpuLayout`] on a thread pool of its own.
//!
//! Everything that a step needs is allocated when the engine is built. Work is cut by shape, so that results do not
//! depend on the number of threads. Steps are done when `train_step` returns.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rayon::ThreadPool;

use super::forward::Training;
use super::layers::gather::Gallery;
use super::layout::CpuLayout;
use super::network::CpuNetwork;
use super::plumbing::simd::InstructionSet;
use super::samples::{Samples, elements};
use crate::engine::PRECISE;
use crate::engine::peers::{Peers, Together};
use crate::engine::sample::Target;
use crate::engine::settling::Outcome;
use crate::engine::{
    Batch, Device, Engine, Images, LossScaling, Memory, Settings, Source, State, StepMetrics, WeightSet, check,
};
use crate::error::{Error, Kind, Result};
use crate::vgg::Plan;

/// Bytes that [`CpuEngine::new`] will allocate for `plan`, by purpose. Errors: a plan it cannot execute.
pub fn memory_of(plan: &Plan, settings: &Settings) -> Result<Memory> {
    Ok(CpuLayout::new(plan, settings, None, InstructionSet::detect())?.memory(settings))
}

/// See the module.
pub struct CpuEngine {
    plan: Plan,
    settings: Settings,
    together: Option<Together>,
    device: Device,
    pool: ThreadPool,
    network: CpuNetwork,
    /// Bytes that it has allocated.
    memory: u64,
    train: Option<Gallery>,
    validation: Option<Gallery>,
    inferring: WeightSet,
    targets: Vec<Target>,
    training_logits: Vec<f32>,
    metrics: Vec<StepMetrics>,
    steps: u64,
    variants: BTreeMap<String, String>,
    /// Passed on unchanged, for what it says of Adam's t.
    loss_scaling: Option<LossScaling>,
}

impl CpuEngine {
    /// An engine that executes `plan` from `state`. Errors: batch size or threads of 0, a state that does not fit the
    /// plan, no memory.
    pub fn new<'a>(plan: Plan, settings: Settings, state: impl Into<Cow<'a, State>>) -> Result<Self> {
        Self::with_instruction_set(plan, settings, state, InstructionSet::detect())
    }

    /// [`Self::new`], to train together with others. Of each training batch it computes its share; what it infers at once are no
    /// more samples than a micro-batch has.
    pub fn with_peers<'a>(
        plan: Plan,
        settings: Settings,
        state: impl Into<Cow<'a, State>>,
        together: Together,
    ) -> Result<Self> {
        Self::build(plan, settings, state.into(), Some(together), InstructionSet::detect())
    }

    /// [`Self::new`] with a chosen set of vector instructions for the engine's own kernels, e.g. to compare them.
    /// Errors: also a set that this processor does not have.
    pub fn with_instruction_set<'a>(
        plan: Plan,
        settings: Settings,
        state: impl Into<Cow<'a, State>>,
        set: InstructionSet,
    ) -> Result<Self> {
        Self::build(plan, settings, state.into(), None, set)
    }

    fn build(
        plan: Plan,
        settings: Settings,
        state: Cow<'_, State>,
        together: Option<Together>,
        set: InstructionSet,
    ) -> Result<Self> {
        let before = state.variants.get(PRECISE.0).is_some_and(|v| v == PRECISE.1);
        let settings = Settings { precise: settings.precise || before, ..settings };
        if !set.available() {
            return Err(Error::new(Kind::Engine, format!("this processor has no {} instructions", set.name())));
        }
        check::settings(&settings)?;
        let layout = CpuLayout::new(&plan, &settings, together.as_ref(), set)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(settings.threads)
            .thread_name(|worker| format!("vggkit-{worker}"))
            .build()
            .map_err(|e| Error::threads(settings.threads, e))?;
        let device = Device {
            engine: "cpu".into(),
            adapter: processor_name(),
            driver: set.name().into(),
            threads: settings.threads,
        };
        let memory = layout.memory(&settings).total();
        let network = CpuNetwork::new(layout, &settings, together.as_ref(), set)?;
        let mut engine = Self {
            targets: Vec::with_capacity(settings.batch_size),
            training_logits: Vec::with_capacity(settings.batch_size * plan.network.classes),
            plan,
            settings,
            together,
            device,
            pool,
            network,
            memory,
            train: None,
            validation: None,
            inferring: WeightSet::Live,
            metrics: Vec::new(),
            steps: 0,
            variants: BTreeMap::new(),
            loss_scaling: None,
        };
        engine.put(state)?;
        Ok(engine)
    }

    /// What the average pooling of each sample of a batch is given in inference: the activations of the last convolution,
    /// after its ReLU, [n, height, width, channels].
    pub fn features(&mut self, batch: Batch<'_>) -> Result<Vec<f32>> {
        let samples = self.load(&batch, false)?;
        let Self { network, pool, .. } = self;
        pool.install(|| network.features(samples.count).map(<[f32]>::to_vec))
    }

    /// Puts the weights to infer with in the live ones' place, and back.
    fn swap(&mut self) {
        if self.inferring == WeightSet::Averaged {
            self.network.swap_weights();
        }
    }

    /// Puts a state in, as [`Engine::load_state`] does.
    fn put(&mut self, state: Cow<'_, State>) -> Result<()> {
        check::state(&self.plan, &self.settings, &state)?;
        self.steps = state.step;
        self.variants.clone_from(&state.variants);
        self.loss_scaling = state.loss_scaling;
        self.variants.remove(PRECISE.0);
        if self.settings.precise {
            self.variants.insert(PRECISE.0.into(), PRECISE.1.into());
        }
        self.metrics.clear();
        let Self { network, pool, .. } = self;
        pool.install(|| network.load(state));
        Ok(())
    }

    /// Fills the network's input and the targets; returns which samples of the batch are computed here.
    fn load(&mut self, batch: &Batch<'_>, labelled: bool) -> Result<Samples> {
        let Self { plan, settings, together, network, pool, targets, train, validation, .. } = self;
        let gallery = batch.picks().and_then(|(source, _)| match source {
            Source::Train => train.as_ref(),
            Source::Validation => validation.as_ref(),
        });
        let n = check::batch(plan, settings, batch, gallery.map(|g| &g.images), labelled, targets)?;
        let samples = match together {
            Some(Together { peers, .. }) if labelled => Samples::of(n, &peers.share(n), peers.micro_batch()),
            _ => Samples::all(n),
        };
        let most = network.samples();
        if samples.count > most {
            return Err(Error::new(
                Kind::Engine,
                format!("{} samples at once, where there is room for {most}", samples.count),
            ));
        }
        let share = samples.first..samples.first + samples.count;
        match (batch, batch.picks(), gallery) {
            (Batch::Activations { input, .. }, ..) => {
                let part = elements(&share, plan.input().elements());
                network.input(part.len()).copy_from_slice(&input[part]);
            }
            (_, Some((_, picks)), Some(gallery)) => {
                pool.install(|| network.gather(gallery, &picks[share], &settings.normalisation));
            }
            _ => {} // refused by the check above
        }
        Ok(samples)
    }
}

impl Engine for CpuEngine {
    fn device(&self) -> &Device {
        &self.device
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn memory(&self) -> u64 {
        self.memory
    }

    fn timings(&self) -> Vec<(String, f64)> {
        self.network.timings()
    }

    fn attach(&mut self, source: Source, images: Images) -> Result<()> {
        check::images(&images)?;
        let gallery = Gallery::new(images, self.plan.network.image_size, self.settings.threads)?;
        match source {
            Source::Train => self.train = Some(gallery),
            Source::Validation => self.validation = Some(gallery),
        }
        Ok(())
    }

    fn train_step(&mut self, batch: Batch<'_>, learning_rate: f32) -> Result<()> {
        let Some(optimizer) = self.settings.optimizer else {
            return Err(Error::new(Kind::Engine, "this engine was built without an optimiser: it only infers"));
        };
        if let Some(Together { peers, .. }) = &self.together {
            self.network.agree(peers.as_ref())?;
        }
        let samples = self.load(&batch, true)?;
        let update = LossScaling::updates(self.loss_scaling.as_ref(), self.steps) + 1;
        let Self { plan, network, targets, settings, together, pool, steps, training_logits, .. } = self;
        let together = together.as_ref();
        let share = samples.first..samples.first + samples.count;
        let outcome = pool.install(|| -> Result<Outcome> {
            let whole = together.filter(|together| together.sync_batch_norm).map(|together| together.peers.as_ref());
            network.forward(&samples, Some(Training { seed: settings.seed, done: *steps, together: whole }))?;
            // Now, because the backward pass uses their buffer again.
            training_logits.clear();
            training_logits.extend_from_slice(network.logits(samples.count));
            let rows = elements(&share, plan.network.classes);
            let teaching = (settings.taught > 0.0).then(|| (settings.taught, &batch.teaching()[rows]));
            network.loss(&samples, &targets[share], settings.label_smoothing, teaching);
            network.backward(&samples, together)?;
            let outcome = network.settle(&samples, together)?;
            let peers = together.map(|together| together.peers.as_ref() as &dyn Peers);
            network.update(&optimizer, &settings.update, learning_rate, update, peers)?;
            Ok(outcome)
        })?;
        self.steps += 1;
        self.metrics.push(outcome.of(self.steps, samples.batch));
        Ok(())
    }

    fn drain_metrics(&mut self) -> Result<Vec<StepMetrics>> {
        Ok(std::mem::take(&mut self.metrics))
    }

    fn infer_with(&mut self, set: WeightSet) -> Result<()> {
        check::weights(&self.settings, set)?;
        self.inferring = set;
        Ok(())
    }

    fn logits(&mut self, batch: Batch<'_>, logits: &mut Vec<f32>) -> Result<()> {
        let samples = self.load(&batch, false)?;
        self.swap();
        let Self { network, pool, .. } = self;
        let done = pool.install(|| network.forward(&samples, None));
        self.swap();
        done?;
        logits.clear();
        logits.extend_from_slice(self.network.logits(samples.count));
        Ok(())
    }

    fn gradients(&mut self) -> Result<Vec<Vec<f32>>> {
        Ok(self.network.gradients())
    }

    fn training_logits(&mut self) -> Result<Vec<f32>> {
        Ok(self.training_logits.clone())
    }

    fn variants(&self) -> &BTreeMap<String, String> {
        &self.variants
    }

    fn state(&mut self) -> Result<State> {
        let tensors = self.network.tensors();
        let (averages, moments) = match self.steps {
            0 => (Vec::new(), Vec::new()),
            _ => (self.network.averages(), self.network.moments()),
        };
        Ok(State {
            step: self.steps,
            tensors,
            averages,
            moments,
            variants: self.variants.clone(),
            loss_scaling: self.loss_scaling,
        })
    }

    fn load_state(&mut self, state: &State) -> Result<()> {
        self.put(Cow::Borrowed(state))
    }
}

/// What the system calls the processor, or else its architecture.
#[allow(clippy::disallowed_methods, reason = "no file of anybody's")]
fn processor_name() -> String {
    std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|l| l.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
