//! [`GpuEngine`]: a [`GpuNetwork`] on a device behind the [`Engine`] contract.
//!
//! A step is submitted and not waited for. A batch that does not fit is done in micro-batches with added-up gradients;
//! batch normalisation then sees the statistics of each micro-batch. A step with peers is `sharing`'s.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::fitting::{Wanted, fit, place};
use super::layers::gather::Gallery;
use super::layers::optimizer;
use super::metrics::Metrics;
use super::network::GpuNetwork;
use super::plumbing::capabilities::Matrices;
use super::plumbing::device::Gpu;
use super::plumbing::dispatch::Dispatch;
use super::plumbing::readback::{Readback, Staging};
use super::plumbing::step::StepUniform;
use super::sharing::{Given, Sharing};
use super::snapshot::{self, Home};
use super::{Fault, Options};
use crate::engine::peers::{Peers, Together};
use crate::engine::sample::Target;
use crate::engine::{
    Batch, Device, Engine, Images, LossScaling, Optimizer, Settings, Snapshot, Source, State, StepMetrics, Update,
    WeightSet, check,
};
use crate::error::{Error, Kind, Result};
use crate::trace;
use crate::vgg::Plan;

/// Inferences under way at most, as [`Metrics`] has it for steps.
const AHEAD: usize = 8;

/// An attached image set.
struct Attached {
    images: Images,
    gallery: Gallery,
    gather: Vec<Dispatch>,
}

/// See the module.
pub struct GpuEngine {
    plan: Plan,
    settings: Settings,
    options: Options,
    device: Device,
    gpu: Arc<Gpu>,
    network: GpuNetwork,
    metrics: Metrics,
    /// What it trains with others by.
    sharing: Option<Sharing>,
    train: Option<Attached>,
    validation: Option<Attached>,
    inferring: WeightSet,
    targets: Vec<Target>,
    /// For logits, each of one micro-batch; and for a state.
    staging: Vec<Staging>,
    home: Home,
    steps: u64,
    /// As the state had it that was put in; what a training in f16 makes of it is on the device.
    loss_scaling: Option<LossScaling>,
}

impl GpuEngine {
    /// Opens the adapter that `options` name and builds the network on it in the state `state`. Errors: no such adapter,
    /// a shader that it rejects, no memory even for one sample at a time, a state that does not fit.
    pub fn new(plan: Plan, settings: Settings, state: &State, options: &Options) -> Result<Self> {
        Self::build(plan, settings, state, options, None)
    }

    /// [`Self::new`], to train together with others. Of each training batch it computes its share, a micro-batch at a time. Errors:
    /// also no memory for a micro-batch; batch normalisation over the whole batch, which it does not do.
    pub fn with_peers(
        plan: Plan,
        settings: Settings,
        state: &State,
        options: &Options,
        together: &Together,
    ) -> Result<Self> {
        if together.sync_batch_norm {
            return Err(Error::usage("the GPU engine's batch normalisation sees each micro-batch by itself")
                .with_help("leave --sync-batch-norm out, or give --engine cpu"));
        }
        Self::build(plan, settings, state, options, Some(&together.peers))
    }

    fn build(
        plan: Plan,
        settings: Settings,
        state: &State,
        options: &Options,
        peers: Option<&Arc<dyn Peers>>,
    ) -> Result<Self> {
        check::settings(&settings)?;
        check::state(&plan, &settings, state)?;
        let opening = trace::span("open the adapter");
        let gpu = Arc::new(Gpu::open(options)?);
        drop(opening);
        if let (Some(Matrices::Emulated), Some(tell)) = (gpu.matrices, &options.tell) {
            tell(&format!("{}: f16 is emulated, to test it; it is slower than f32", gpu.found.info.name));
        }
        let metrics = Metrics::new(&gpu)?;
        let building = trace::span("build the network");
        let wanted = match peers {
            Some(peers) => Wanted::Exactly(peers.micro_batch()),
            None => Wanted::AtMost(options.micro_batch.unwrap_or(settings.batch_size)),
        };
        let network = fit(&gpu, &plan, &settings, state, wanted, &metrics.slots)?;
        gpu.save_pipelines();
        drop(building);
        let device = gpu.found.device();
        let sharing = peers.map(|peers| Sharing::new(Arc::clone(peers), &gpu, &network)).transpose()?;
        let mut engine = Self {
            targets: Vec::with_capacity(settings.batch_size),
            sharing,
            plan,
            settings,
            options: options.clone(),
            device,
            network,
            metrics,
            gpu,
            train: None,
            validation: None,
            inferring: WeightSet::Live,
            staging: Vec::new(),
            home: Home::default(),
            steps: 0,
            loss_scaling: None,
        };
        let _span = trace::span("load the state");
        engine.load_state(state)?;
        Ok(engine)
    }

    /// Samples that are computed at once.
    pub fn micro_batch(&self) -> usize {
        self.network.samples()
    }

    /// Its device, for measurements.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Its network, for measurements.
    pub fn network(&self) -> &GpuNetwork {
        &self.network
    }

    fn attached(&self, source: Source) -> Option<&Attached> {
        match source {
            Source::Train => self.train.as_ref(),
            Source::Validation => self.validation.as_ref(),
        }
    }

    fn tell(&self, line: &str) {
        self.options.tell.iter().for_each(|tell| tell(line));
    }

    /// Builds the network anew with half the micro-batch, in the same state.
    fn shrink(&mut self) -> Result<()> {
        let state = self.state()?;
        self.network.free(&self.gpu);
        let half = Wanted::AtMost(self.network.samples().div_ceil(2));
        self.network = fit(&self.gpu, &self.plan, &self.settings, &state, half, &self.metrics.slots)?;
        self.network.load(&self.gpu, &state)?;
        for attached in [&mut self.train, &mut self.validation].into_iter().flatten() {
            attached.gather = attached.gallery.record(&self.gpu, self.network.picks(), self.network.input())?;
        }
        Ok(())
    }

    /// Checks a batch and sends what the device needs of it; returns its size.
    fn load(&mut self, batch: &Batch<'_>, labelled: bool) -> Result<usize> {
        let mut targets = std::mem::take(&mut self.targets);
        let attached = batch.picks().and_then(|(source, _)| self.attached(source));
        let n = check::batch(&self.plan, &self.settings, batch, attached.map(|a| &a.images), labelled, &mut targets);
        if n.is_ok() {
            if !targets.is_empty() {
                self.gpu.write(self.network.targets(), &targets);
            }
            if let Some(rows) = self.network.teaching() {
                self.gpu.write(rows, batch.teaching());
            }
            if let (Some((_, picks)), Some(attached)) = (batch.picks(), attached) {
                let sharing = self.sharing.as_ref().filter(|_| labelled);
                let share = sharing.map_or(0..picks.len(), |sharing| sharing.share(picks.len()));
                attached.gallery.load(&self.gpu, picks, &share, self.network.picks());
            }
        }
        self.targets = targets;
        n
    }

    /// Fills the network's input for samples `first .. first + samples`, or names the calls that will.
    fn input<'a>(&'a self, batch: &Batch<'_>, first: usize, samples: usize) -> &'a [Dispatch] {
        match *batch {
            Batch::Picks(source, _) | Batch::Taught(source, ..) => {
                self.attached(source).map_or(&[], |a| a.gather.as_slice())
            }
            Batch::Activations { input, .. } => {
                let sample = self.plan.input().elements();
                let pixels = input[first * sample..(first + samples) * sample].chunks_exact(3);
                let padded = pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 0.0]);
                match self.gpu.half() {
                    true => {
                        let values: Vec<u16> = padded.map(|v| half::f16::from_f32(v).to_bits()).collect();
                        self.gpu.write(self.network.input(), &values);
                    }
                    false => self.gpu.write(self.network.input(), &padded.collect::<Vec<f32>>()),
                }
                &[]
            }
        }
    }

    /// What every shader sees of a step over `n` samples, of which `samples` from `first` are done at once.
    fn step(&self, n: usize, first: usize, samples: usize) -> StepUniform {
        let halves = |v: u64| [v as u32, (v >> 32) as u32];
        StepUniform {
            samples: samples as u32,
            batch: n as u32,
            first: first as u32,
            accumulate: u32::from(first > 0),
            done: halves(self.steps),
            seed: halves(self.settings.seed),
            ..StepUniform::default()
        }
    }

    /// What the next update takes of [`Self::step`].
    fn rates(&self, optimizer: &Optimizer, learning_rate: f32) -> StepUniform {
        let mut step = StepUniform::default();
        if self.network.scales_loss() {
            step.learning_rate = learning_rate; // how many updates there were is known to the device only
        } else {
            let update = LossScaling::updates(self.loss_scaling.as_ref(), self.steps) + 1;
            optimizer::rates(optimizer, learning_rate, update, &mut step);
            step.average_share = self.settings.update.ema.map_or(0.0, |d| Update::average_share(d, update)) as f32;
        }
        step
    }

    /// (first sample, samples) of each micro-batch of `n` samples.
    fn parts(&self, n: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let most = self.network.samples();
        (0..n).step_by(most).map(move |first| (first, most.min(n - first)))
    }

    /// Provokes what a test asks for at this step.
    fn provoke(&self) {
        let step = self.steps + 1;
        match self.options.fault {
            Some(Fault::Lost(at)) if at == step => self.gpu.lose(),
            Some(Fault::Hang(at)) if at == step => self.gpu.provoke_hang(),
            _ => {}
        }
    }
}

impl Engine for GpuEngine {
    fn device(&self) -> &Device {
        &self.device
    }

    fn card(&self) -> Option<&str> {
        self.gpu.found.card()
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn memory(&self) -> u64 {
        self.gpu.allocated()
    }

    fn attach(&mut self, source: Source, images: Images) -> Result<()> {
        check::images(&images)?;
        let size = self.plan.network.image_size;
        let gallery = loop {
            match place(&self.gpu, (source, &images), size, &self.settings, &self.options) {
                Err(error)
                    if error.kind() == Kind::OutOfMemory && self.network.samples() > 1 && self.sharing.is_none() =>
                {
                    self.tell(&format!("{error}; trying smaller micro-batches"));
                    self.shrink()?;
                }
                other => break other?,
            }
        };
        let gather = gallery.record(&self.gpu, self.network.picks(), self.network.input())?;
        let attached = Some(Attached { images, gallery, gather });
        match source {
            Source::Train => self.train = attached,
            Source::Validation => self.validation = attached,
        }
        Ok(())
    }

    fn train_step(&mut self, batch: Batch<'_>, learning_rate: f32) -> Result<()> {
        let Some(optimizer) = self.settings.optimizer else {
            return Err(Error::new(Kind::Engine, "this engine was built without an optimiser: it only infers"));
        };
        self.provoke();
        self.gpu.check()?;
        let n = {
            let _span = trace::span("upload");
            self.load(&batch, true)?
        };
        let update = self.rates(&optimizer, learning_rate);
        if let Some(mut sharing) = self.sharing.take() {
            let given = Given {
                gpu: &self.gpu,
                network: &self.network,
                samples: n,
                input: &|first, samples| self.input(&batch, first, samples),
                seen: &|first, samples| self.step(n, first, samples),
            };
            let done = sharing.step(&given, update);
            self.network.trained(sharing.share(n).len());
            self.sharing = Some(sharing);
            self.steps += 1;
            self.metrics.arrived(done?.of(self.steps, n));
            return Ok(());
        }
        let slot = {
            let _span = trace::span("wait for a step"); // only where many are under way
            self.metrics.slot(&self.gpu)?
        };
        let mut submission = None;
        for (first, samples) in self.parts(n) {
            let step = StepUniform { slot: slot as u32, ..self.step(n, first, samples) };
            let input = self.input(&batch, first, samples);
            self.gpu.write_step(step.with_rates(&update));
            let last = first + samples == n;
            let [forward, backward, update] = self.network.training(last);
            let metrics = if last { vec![self.metrics.copy(slot)] } else { Vec::new() };
            submission = Some(self.gpu.submit([input, forward, backward, update], samples, &metrics));
        }
        self.gpu.check()?;
        self.steps += 1;
        self.network.trained(n);
        if let Some(submission) = submission {
            self.metrics.submitted(self.steps, slot, submission);
        }
        Ok(())
    }

    fn drain_metrics(&mut self) -> Result<Vec<StepMetrics>> {
        self.metrics.drain(&self.gpu)
    }

    fn poll_metrics(&mut self) -> Result<Vec<StepMetrics>> {
        self.metrics.poll(&self.gpu)
    }

    fn infer_with(&mut self, set: WeightSet) -> Result<()> {
        check::weights(&self.settings, set)?;
        self.inferring = set;
        Ok(())
    }

    fn logits(&mut self, batch: Batch<'_>, logits: &mut Vec<f32>) -> Result<()> {
        self.infer(&mut std::iter::once(batch), &mut |all| {
            logits.clear();
            logits.extend_from_slice(all);
        })
    }

    fn infer(&mut self, batches: &mut dyn Iterator<Item = Batch<'_>>, visit: &mut dyn FnMut(&[f32])) -> Result<()> {
        let mut logits = Vec::new();
        // Those of one part of a batch, which may be its last.
        let mut take = |engine: &mut Self, (readback, last): (Readback, bool)| -> Result<()> {
            readback.wait(&engine.gpu)?;
            readback.look(&engine.gpu, 0, |padded| logits.extend(engine.network.rows(padded)))?;
            engine.staging.push(readback.done());
            if last {
                visit(&logits);
                logits.clear();
            }
            Ok(())
        };
        let before = self.network.before_inference(self.inferring);
        if !before.is_empty() {
            self.gpu.submit([before], 0, &[]);
        }
        let mut ahead = VecDeque::new();
        for batch in batches {
            self.gpu.check()?;
            let n = self.load(&batch, false)?;
            for (first, samples) in self.parts(n) {
                if ahead.len() == AHEAD
                    && let Some(oldest) = ahead.pop_front()
                {
                    take(self, oldest)?;
                }
                let slices = [self.network.logits(samples)];
                let staging = match self.staging.pop().filter(|staging| staging.holds(&slices)) {
                    Some(staging) => staging,
                    None => Staging::new(&self.gpu, &[self.network.logits(self.network.samples())])?,
                };
                let input = self.input(&batch, first, samples);
                self.gpu.write_step(self.step(n, first, samples));
                let calls = [input, self.network.inference(self.inferring)];
                let submission = self.gpu.submit(calls, samples, &staging.copies(&slices));
                ahead.push_back((staging.submitted(&slices, submission), first + samples == n));
            }
        }
        ahead.into_iter().try_for_each(|part| take(self, part))
    }

    fn gradients(&mut self) -> Result<Vec<Vec<f32>>> {
        self.network.gradients(&self.gpu)
    }

    fn training_logits(&mut self) -> Result<Vec<f32>> {
        self.network.training_logits(&self.gpu)
    }

    fn variants(&self) -> &BTreeMap<String, String> {
        self.network.variants()
    }

    fn state(&mut self) -> Result<State> {
        self.gpu.wait(None)?;
        self.snapshot()?.state()
    }

    fn snapshot(&mut self) -> Result<Box<dyn Snapshot>> {
        self.gpu.check()?;
        Ok(Box::new(snapshot::begin(&self.gpu, &self.network, &self.home, self.steps, self.loss_scaling)?))
    }

    fn load_state(&mut self, state: &State) -> Result<()> {
        check::state(&self.plan, &self.settings, state)?;
        self.metrics.clear(&self.gpu)?;
        self.network.load(&self.gpu, state)?;
        if let Some(sharing) = &mut self.sharing {
            sharing.load(self.network.places(), state);
        }
        self.loss_scaling = state.loss_scaling;
        self.steps = state.step;
        Ok(())
    }
}
