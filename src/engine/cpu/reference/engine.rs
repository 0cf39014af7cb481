//! [`ReferenceEngine`]: the plain loops behind the [`Engine`] contract, in f32 or f64, one thread.
//!
//! The contract's numbers are f32; [`ReferenceEngine::step`], [`ReferenceEngine::infer`],
//! [`ReferenceEngine::tensors`] and [`ReferenceEngine::last_gradients`] give them unrounded.
//! It keeps every activation and is slow; it is an oracle, not for training.

use std::collections::BTreeMap;

use super::network::{Mode, ReferenceNetwork};
use super::{Real, average, cross_entropy, gather, gradient_norm, optimizer};
use crate::engine::sample::Target;
use crate::engine::{
    Batch, Device, Engine, Images, LossScaling, Optimizer, Settings, Source, State, StepMetrics, Update, WeightSet,
    check,
};
use crate::error::{Error, Kind, Result};
use crate::vgg::Plan;
use crate::vgg::plan::TensorSpec;

/// See the module.
pub struct ReferenceEngine<T> {
    settings: Settings,
    device: Device,
    network: ReferenceNetwork<T>,
    /// One vector for each tensor, where an average is kept.
    averages: Vec<Vec<T>>,
    inferring: WeightSet,
    /// `[moment][trained tensor]`.
    moments: Vec<Vec<Vec<T>>>,
    steps: u64,
    train: Option<Images>,
    validation: Option<Images>,
    metrics: Vec<StepMetrics>,
    gradients: Vec<Vec<T>>,
    training_logits: Vec<T>,
    /// Passed on unchanged: there are no variants here.
    variants: BTreeMap<String, String>,
    /// Passed on unchanged, for what it says of Adam's t.
    loss_scaling: Option<LossScaling>,
}

impl<T: Real> ReferenceEngine<T> {
    /// An engine that executes `plan` from `state`. Errors: settings or a state that do not fit.
    pub fn new(plan: Plan, settings: Settings, state: &State) -> Result<Self> {
        check::settings(&settings)?;
        let device = Device {
            engine: "reference".into(),
            adapter: std::env::consts::ARCH.into(),
            driver: std::any::type_name::<T>().into(),
            threads: 1,
        };
        let mut engine = Self {
            settings,
            device,
            network: ReferenceNetwork::new(plan, Vec::new()),
            averages: Vec::new(),
            inferring: WeightSet::Live,
            moments: Vec::new(),
            steps: 0,
            train: None,
            validation: None,
            metrics: Vec::new(),
            gradients: Vec::new(),
            training_logits: Vec::new(),
            variants: BTreeMap::new(),
            loss_scaling: None,
        };
        engine.load_state(state)?;
        Ok(engine)
    }

    /// One training step on a ready batch: `input` [n, image_size, image_size, 3], a target a sample. Returns the loss.
    /// Errors: an engine without optimiser.
    pub fn step(&mut self, input: Vec<T>, targets: &[Target], learning_rate: f64) -> Result<T> {
        self.taught_step(input, targets, &[], learning_rate)
    }

    /// The same, with what teachers say of each sample.
    fn taught_step(&mut self, input: Vec<T>, targets: &[Target], rows: &[f32], learning_rate: f64) -> Result<T> {
        let Some(rule) = self.settings.optimizer else {
            return Err(Error::new(Kind::Engine, "this engine was made without an optimiser: it only infers"));
        };
        let pass = self.network.forward(input, Mode::Training { seed: self.settings.seed, step: self.steps });
        let mut gradient = vec![T::nan(); pass.logits().len()];
        let smoothing = T::of(f64::from(self.settings.label_smoothing));
        let teaching = (!rows.is_empty()).then(|| (T::of(f64::from(self.settings.taught)), rows));
        let loss = cross_entropy::taught(pass.logits(), targets, smoothing, teaching, &mut gradient);
        let (top1, top5) = cross_entropy::hits(pass.logits(), targets);
        self.gradients = self.network.backward(&pass, gradient);
        self.training_logits = pass.logits().to_vec();
        self.steps += 1;
        let update = LossScaling::updates(self.loss_scaling.as_ref(), self.steps);

        self.update(&rule, learning_rate, update);
        #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2^32 samples")]
        let samples = targets.len() as u32;
        self.metrics.push(StepMetrics { step: self.steps, samples, loss: loss.narrow(), top1, top5 });
        Ok(loss)
    }

    /// Update `t` (from 1) of all that is trained, and of the averages.
    fn update(&mut self, rule: &Optimizer, learning_rate: f64, t: u64) {
        let Update { no_decay, clip_norm, ema } = self.settings.update;
        let factor = match clip_norm {
            Some(most) => gradient_norm::factor(gradient_norm::norm(&self.gradients), T::of(most)),
            None => T::one(),
        };
        let specs = self.network.plan().tensors();
        let trained = specs.iter().zip(&mut self.network.tensors).filter(|(spec, _)| spec.trained());
        for (index, ((spec, parameter), gradient)) in trained.zip(&self.gradients).enumerate() {
            let rule = if no_decay.spares(spec.role) { rule.with_decay(0.0) } else { *rule };
            let gradient: Vec<T> = gradient.iter().map(|g| factor * *g).collect();
            let mut moments: Vec<&mut [T]> = self.moments.iter_mut().map(|m| m[index].as_mut_slice()).collect();
            optimizer::update(&rule, learning_rate, t, parameter, &gradient, &mut moments);
        }
        if let Some(decay) = ema {
            let share = T::of(Update::average_share(decay, t));
            let pairs = self.averages.iter_mut().zip(&self.network.tensors).zip(&specs);
            let moving = pairs.filter(|(_, spec)| !spec.frozen).map(|(pair, _)| pair);
            moving.for_each(|(averaged, live)| average::follow(averaged, live, share));
        }
    }

    /// Inference on a ready batch, with the weights that were chosen for it: logits [n, classes].
    pub fn infer(&mut self, input: Vec<T>) -> Vec<T> {
        self.swap();
        let logits = self.network.forward(input, Mode::Inference).logits().to_vec();
        self.swap();
        logits
    }

    /// Puts the weights to infer with in the live ones' place, and the other way round.
    fn swap(&mut self) {
        if self.inferring == WeightSet::Averaged {
            std::mem::swap(&mut self.network.tensors, &mut self.averages);
        }
    }

    /// One vector for each of [`Plan::tensors`], unrounded.
    pub fn tensors(&self) -> &[Vec<T>] {
        &self.network.tensors
    }

    /// The averaged ones, unrounded; none where none are kept.
    pub fn averages(&self) -> &[Vec<T>] {
        &self.averages
    }

    /// As [`Engine::gradients`], unrounded.
    pub fn last_gradients(&self) -> &[Vec<T>] {
        &self.gradients
    }

    /// As [`Engine::training_logits`], unrounded.
    pub fn last_training_logits(&self) -> &[T] {
        &self.training_logits
    }

    fn images(&self, source: Source) -> Option<&Images> {
        match source {
            Source::Train => self.train.as_ref(),
            Source::Validation => self.validation.as_ref(),
        }
    }

    /// The batch's activations and targets.
    fn load(&self, batch: &Batch<'_>, labelled: bool) -> Result<(Vec<T>, Vec<Target>)> {
        let attached = batch.picks().and_then(|(source, _)| self.images(source));
        let mut targets = Vec::new();
        let plan = self.network.plan();
        check::batch(plan, &self.settings, batch, attached, labelled, &mut targets)?;
        let input = match (batch, batch.picks(), attached) {
            (Batch::Activations { input, .. }, ..) => widen(input),
            (_, Some((_, picks)), Some(images)) => {
                gather::gather(images, picks, plan.network.image_size, &self.settings.normalisation)
            }
            _ => Vec::new(), // refused by the check above
        };
        Ok((input, targets))
    }
}

fn widen<T: Real>(values: &[f32]) -> Vec<T> {
    values.iter().map(|v| T::of(f64::from(*v))).collect()
}

fn narrow<T: Real>(values: &[T]) -> Vec<f32> {
    values.iter().map(|v| v.narrow()).collect()
}

fn each<A, B>(vectors: &[Vec<A>], convert: impl Fn(&[A]) -> Vec<B>) -> Vec<Vec<B>> {
    vectors.iter().map(|v| convert(v)).collect()
}

impl<T: Real> Engine for ReferenceEngine<T> {
    fn device(&self) -> &Device {
        &self.device
    }

    fn plan(&self) -> &Plan {
        self.network.plan()
    }

    fn memory(&self) -> u64 {
        let plan = self.plan();
        let specs = plan.tensors();
        let numbers = |wanted: fn(&TensorSpec) -> bool| {
            specs.iter().filter(|t| wanted(t)).map(TensorSpec::elements).sum::<usize>()
        };
        let tensors = numbers(|_| true);
        // Each trained number has a gradient and its moments; each activation has, going back, a gradient.
        let trained = self.settings.optimizer.map_or(0, |o| (1 + o.moments().len()) * numbers(TensorSpec::trained));
        let activations: usize =
            plan.input().elements() + plan.layers.iter().map(|l| l.output.elements()).sum::<usize>();
        let widest = plan.layers.iter().map(|l| l.input.elements()).max().unwrap_or(0);
        let sets = if self.settings.keeps_average() { 2 } else { 1 };
        let numbers = sets * tensors + trained + self.settings.batch_size * (activations + 2 * widest);
        (numbers * size_of::<T>()) as u64
    }

    fn attach(&mut self, source: Source, images: Images) -> Result<()> {
        check::images(&images)?;
        match source {
            Source::Train => self.train = Some(images),
            Source::Validation => self.validation = Some(images),
        }
        Ok(())
    }

    fn train_step(&mut self, batch: Batch<'_>, learning_rate: f32) -> Result<()> {
        let (input, targets) = self.load(&batch, true)?;
        self.taught_step(input, &targets, batch.teaching(), f64::from(learning_rate)).map(|_| ())
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
        let (input, _) = self.load(&batch, false)?;
        *logits = narrow(&self.infer(input));
        Ok(())
    }

    fn gradients(&mut self) -> Result<Vec<Vec<f32>>> {
        Ok(each(&self.gradients, narrow))
    }

    fn training_logits(&mut self) -> Result<Vec<f32>> {
        Ok(narrow(&self.training_logits))
    }

    fn variants(&self) -> &BTreeMap<String, String> {
        &self.variants
    }

    fn state(&mut self) -> Result<State> {
        let moments = if self.steps == 0 { Vec::new() } else { self.moments.iter().map(|m| each(m, narrow)).collect() };
        let averages = if self.steps == 0 { Vec::new() } else { each(&self.averages, narrow) };
        let tensors = each(&self.network.tensors, narrow);
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
        check::state(self.network.plan(), &self.settings, state)?;
        self.network.tensors = each(&state.tensors, widen);
        self.averages = match (self.settings.keeps_average(), state.averages.is_empty()) {
            (false, _) => Vec::new(),
            (true, true) => self.network.tensors.clone(),
            (true, false) => each(&state.averages, widen),
        };
        self.moments = match self.settings.optimizer {
            None => Vec::new(),
            Some(_) if !state.moments.is_empty() => state.moments.iter().map(|m| each(m, widen)).collect(),
            Some(optimizer) => {
                let specs = self.network.plan().tensors();
                let zeros = || specs.iter().filter(|s| s.trained()).map(|s| vec![T::zero(); s.elements()]).collect();
                optimizer.moments().iter().map(|_| zeros()).collect()
            }
        };
        self.steps = state.step;
        self.variants.clone_from(&state.variants);
        self.loss_scaling = state.loss_scaling;
        Ok(())
    }
}
