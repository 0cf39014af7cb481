//! The network in memory: parameters, gradients, moments and activations of a [`CpuLayout`], and its passes over them.
//!
//! It trusts its callers about lengths; `engine` checks what comes from outside.

use std::borrow::Cow;
use std::mem::take;
use std::time::{Duration, Instant};

use super::layers::activation::{Activation, Normalisation};
use super::layers::cross_entropy;
use super::layers::cross_entropy::Outcome;
use super::layers::gather::Gallery;
use super::layers::{average, average_pool, gradient_norm, linear, local_response_normalisation, max_pool, optimizer};
use super::layout::{CpuLayout, Norm, Step, Work};
use super::plumbing::buffer::{Buffer, Scratch};
use super::plumbing::simd::InstructionSet;
use super::products::shape::Workspace;
use crate::engine::random::DropoutMask;
use crate::engine::sample::Target;
use crate::engine::{Optimizer, Pick, Settings, State, Update};
use crate::error::Result;

/// See the module.
pub struct CpuNetwork {
    layout: CpuLayout,
    set: InstructionSet,
    slots: Vec<Buffer>,
    parameters: Buffer,
    running: Buffer,
    /// The moving average of parameters and running statistics, where one is kept.
    averaged: Option<[Buffer; 2]>,
    prepared: Buffer,
    gradients: Buffer,
    moments: Vec<Buffer>,
    scratch: Scratch,
    partials: Vec<f64>,
    shared: Buffer,
    filters: Buffer,
    saved_statistics: Buffer,
    factors: Buffer,
    /// Whether there are gradients.
    trained_once: bool,
    times: Times,
}

/// Time spent, for benchmarks: [forward, activation forward, activation backward, weights, input] for each step.
struct Times {
    steps: Vec<[Duration; 5]>,
    gather: Duration,
    loss: Duration,
    update: Duration,
}

/// Adds the time since `from` to `to`, and starts anew.
fn lap(from: &mut Instant, to: &mut Duration) {
    let now = Instant::now();
    *to += now - *from;
    *from = now;
}

impl CpuNetwork {
    /// Allocates what the layout asks for. Errors: no memory.
    pub fn new(layout: CpuLayout, settings: &Settings, set: InstructionSet) -> Result<Self> {
        let training = settings.optimizer.is_some();
        let moments = settings.optimizer.map_or(0, |o| o.moments().len());
        Ok(Self {
            set,
            slots: layout.slots.iter().map(|len| Buffer::new(*len)).collect::<Result<_>>()?,
            parameters: Buffer::new(layout.parameters)?,
            running: Buffer::new(layout.running)?,
            averaged: match settings.keeps_average() {
                true => Some([Buffer::new(layout.parameters)?, Buffer::new(layout.running)?]),
                false => None,
            },
            prepared: Buffer::new(layout.prepared)?,
            gradients: Buffer::new(if training { layout.trained } else { 0 })?,
            moments: (0..moments).map(|_| Buffer::new(layout.trained)).collect::<Result<_>>()?,
            scratch: Scratch::new(settings.threads, layout.workspace.scratch)?,
            partials: vec![0.0; layout.partials],
            shared: Buffer::new(layout.workspace.shared)?,
            filters: Buffer::new(layout.workspace.filters)?,
            saved_statistics: Buffer::new(layout.saved_statistics)?,
            factors: Buffer::new(layout.factors)?,
            trained_once: false,
            times: Times {
                steps: vec![[Duration::ZERO; 5]; layout.steps.len()],
                gather: Duration::ZERO,
                loss: Duration::ZERO,
                update: Duration::ZERO,
            },
            layout,
        })
    }

    /// What it was built from.
    pub fn layout(&self) -> &CpuLayout {
        &self.layout
    }

    /// The first `len` values of the input, to be filled.
    pub fn input(&mut self, len: usize) -> &mut [f32] {
        &mut self.slots[self.layout.input][..len]
    }

    /// The logits of the last forward pass of `n` samples.
    pub fn logits(&self, n: usize) -> &[f32] {
        let classes = self.layout.steps.last().map_or(0, |s| s.output.elements());
        &self.slots[self.layout.logits][..n * classes]
    }

    /// Fills the input from picks.
    pub fn gather(&mut self, gallery: &Gallery, picks: &[Pick], normalisation: &crate::engine::Normalisation) {
        let mut clock = Instant::now();
        let input = &mut self.slots[self.layout.input];
        let sample = self.layout.steps.first().map_or(0, |s| s.input.elements());
        gallery.gather(picks, normalisation, &mut input[..picks.len() * sample]);
        lap(&mut clock, &mut self.times.gather);
    }

    /// Input to logits for `n` samples. In training, with the seed and the number of steps done, batch statistics and
    /// dropout are used; in inference and in frozen steps, running statistics and none.
    pub fn forward(&mut self, n: usize, training: Option<(u64, u64)>) {
        let steps = take(&mut self.layout.steps);
        for (index, step) in steps.iter().enumerate() {
            self.forward_step(n, index, step, training);
        }
        self.layout.steps = steps;
    }

    /// Inference of `n` samples up to the average pooling: what that is given, [n, height, width, channels].
    pub fn features(&mut self, n: usize) -> &[f32] {
        let steps = take(&mut self.layout.steps);
        let end = steps.iter().position(|s| matches!(s.work, Work::AveragePool { .. })).unwrap_or_default();
        for (index, step) in steps[..end].iter().enumerate() {
            self.forward_step(n, index, step, None);
        }
        let (slot, len) = (steps[end].x, n * steps[end].input.elements());
        self.layout.steps = steps;
        &self.slots[slot][..len]
    }

    fn forward_step(&mut self, n: usize, index: usize, step: &Step, training: Option<(u64, u64)>) {
        let mut clock = Instant::now();
        let training = training.filter(|_| step.trained);
        let (inputs, outputs) = (n * step.input.elements(), n * step.output.elements());
        let mut y = take(&mut self.slots[step.y]);
        let out = &mut y[..outputs];
        match &step.work {
            Work::Convolution { convolution, prepared, activation, norm, z } => {
                let apart = *z != step.y;
                let mut other = if apart { take(&mut self.slots[*z]) } else { Buffer::default() };
                let inner_len = n * activation.shape.elements();
                let (inner, outer) = if apart { (&mut other[..inner_len], Some(out)) } else { (out, None) };
                let x = &self.slots[step.x][..inputs];
                let (weight, bias) = (&self.parameters[step.weight.clone()], &self.parameters[step.bias.clone()]);
                let mut workspace =
                    Workspace { scratch: &self.scratch, shared: &mut self.shared, filters: &mut self.filters };
                match prepared {
                    Some(prepared) if prepared.suits(n) => {
                        prepared.forward(x, &self.prepared, bias, norm.is_none(), inner, &mut workspace)
                    }
                    _ => convolution.forward(x, weight, bias, norm.is_none(), inner, &mut workspace),
                }
                lap(&mut clock, &mut self.times.steps[index][0]);
                if let Some(norm) = norm {
                    self.prepare_norm(norm, activation, inner, training.is_some());
                    let c = activation.shape.channels;
                    let (scale, shift) =
                        self.saved_statistics[norm.saved_statistics..norm.saved_statistics + 2 * c].split_at(c);
                    match outer {
                        Some(out) => activation.forward(inner, scale, shift, out),
                        None => activation.forward_in_place(inner, scale, shift),
                    }
                } else if let Some(out) = outer {
                    activation.pool(inner, out);
                }
                if apart {
                    self.slots[*z] = other;
                }
                lap(&mut clock, &mut self.times.steps[index][1]);
            }
            Work::LocalResponseNorm => {
                let x = &self.slots[step.x][..inputs];
                local_response_normalisation::forward(x, step.input.channels, step.input.elements(), out);
            }
            Work::MaxPool => max_pool::forward(&self.slots[step.x][..inputs], step.input, out),
            Work::AveragePool { size } => average_pool::forward(&self.slots[step.x][..inputs], step.input, *size, out),
            Work::Linear { linear, relu, dropout, drop } => {
                let (weight, bias) = (&self.parameters[step.weight.clone()], &self.parameters[step.bias.clone()]);
                linear.forward(&self.slots[step.x][..inputs], weight, bias, out, &mut self.shared);
                if *relu {
                    let mask = training
                        .filter(|_| *dropout > 0.0)
                        .map(|(seed, done)| DropoutMask::new(seed, *drop, done, *dropout));
                    linear::activate(out, *dropout, mask.as_ref());
                }
            }
        }
        lap(&mut clock, &mut self.times.steps[index][0]);
        self.slots[step.y] = y;
    }

    /// Scale and shift for a forward pass, from the batch or from the running statistics.
    fn prepare_norm(&mut self, norm: &Norm, activation: &Activation, z: &[f32], training: bool) {
        let (gamma, beta) = (&self.parameters[norm.gamma.clone()], &self.parameters[norm.beta.clone()]);
        let mut saved = statistics_of(&mut self.saved_statistics, norm.saved_statistics, activation.shape.channels);
        let (means, variances) = self.running.split_at_mut(norm.variance.start);
        let mean = &mut means[norm.mean.clone()];
        let variance = &mut variances[..norm.variance.len()];
        if training {
            activation.statistics(z, gamma, beta, &mut saved, mean, variance, &mut self.partials);
        } else {
            Activation::frozen(gamma, beta, mean, variance, saved.scale, saved.shift);
        }
    }

    /// Loss and hits of the last forward pass, and the logits' gradient.
    pub fn loss(&mut self, n: usize, targets: &[Target], smoothing: f32, teaching: Option<(f32, &[f32])>) -> Outcome {
        let mut clock = Instant::now();
        let mut gradient = take(&mut self.slots[self.layout.d_logits]);
        let logits = self.logits(n);
        let outcome = cross_entropy::outcome(logits, targets, smoothing, teaching, &mut gradient[..logits.len()]);
        self.slots[self.layout.d_logits] = gradient;
        lap(&mut clock, &mut self.times.loss);
        outcome
    }

    /// The gradients of all that is trained, after [`Self::loss`].
    pub fn backward(&mut self, n: usize) {
        let steps = take(&mut self.layout.steps);
        for (index, step) in steps.iter().enumerate().rev().take_while(|(_, step)| step.trained) {
            self.backward_step(n, index, step);
        }
        self.layout.steps = steps;
        self.trained_once = true;
    }

    fn backward_step(&mut self, n: usize, index: usize, step: &Step) {
        let mut clock = Instant::now();
        let (inputs, outputs) = (n * step.input.elements(), n * step.output.elements());
        match &step.work {
            Work::Convolution { convolution, activation, norm, z, .. } => {
                let mut dz = take(&mut self.slots[*z]);
                let gradient = &mut dz[..n * activation.shape.elements()];
                let dy = &self.slots[step.dy][..outputs];
                if let Some(norm) = norm {
                    let saved =
                        statistics_of(&mut self.saved_statistics, norm.saved_statistics, activation.shape.channels);
                    let (d_gammas, d_betas) = self.gradients.split_at_mut(norm.beta.start);
                    let gamma = &self.parameters[norm.gamma.clone()];
                    let d_gamma = &mut d_gammas[norm.gamma.clone()];
                    let d_beta = &mut d_betas[..norm.beta.len()];
                    let (partials, factors) = (&mut self.partials, &mut self.factors);
                    activation.backward(gradient, dy, gamma, &saved, d_gamma, d_beta, partials, factors);
                } else {
                    activation.backward_plain(gradient, dy);
                    let d_bias = &mut self.gradients[step.bias.clone()];
                    activation.bias_gradient(gradient, d_bias, &mut self.partials);
                }
                lap(&mut clock, &mut self.times.steps[index][2]);
                let x = &self.slots[step.x][..inputs];
                let mut workspace =
                    Workspace { scratch: &self.scratch, shared: &mut self.shared, filters: &mut self.filters };
                convolution.weight_gradient(x, gradient, &mut self.gradients[step.weight.clone()], &mut workspace);
                lap(&mut clock, &mut self.times.steps[index][3]);
                if let Some(slot) = step.dx {
                    let mut dx = take(&mut self.slots[slot]);
                    let weight = &self.parameters[step.weight.clone()];
                    convolution.input_gradient(gradient, weight, &mut dx[..inputs], &mut workspace);
                    self.slots[slot] = dx;
                }
                self.slots[*z] = dz;
            }
            Work::Linear { linear, relu, dropout, .. } => {
                let mut dy = take(&mut self.slots[step.dy]);
                if *relu {
                    linear::activate_gradient(&self.slots[step.y][..outputs], &mut dy[..outputs], *dropout);
                }
                let (d_weights, d_biases) = self.gradients.split_at_mut(step.bias.start);
                let (dw, db) = (&mut d_weights[step.weight.clone()], &mut d_biases[..step.bias.len()]);
                linear.weight_gradient(&self.slots[step.x][..inputs], &dy[..outputs], dw, db);
                lap(&mut clock, &mut self.times.steps[index][3]);
                if let Some(slot) = step.dx {
                    let weight = &self.parameters[step.weight.clone()];
                    let dx = &mut self.slots[slot][..inputs];
                    linear.input_gradient(&dy[..outputs], weight, dx, &mut self.shared);
                }
                self.slots[step.dy] = dy;
            }
            other => self.backward_plain(n, step, other),
        }
        lap(&mut clock, &mut self.times.steps[index][4]);
    }

    /// Backward pass of steps without parameters.
    fn backward_plain(&mut self, n: usize, step: &Step, work: &Work) {
        let Some(slot) = step.dx else { return };
        let (inputs, outputs) = (n * step.input.elements(), n * step.output.elements());
        let mut buffer = take(&mut self.slots[slot]);
        let (dx, dy) = (&mut buffer[..inputs], &self.slots[step.dy][..outputs]);
        match work {
            Work::LocalResponseNorm => {
                let x = &self.slots[step.x][..inputs];
                let (c, sample) = (step.input.channels, step.input.elements());
                local_response_normalisation::backward(x, dy, c, sample, dx, &self.scratch);
            }
            Work::MaxPool => max_pool::backward(&self.slots[step.x][..inputs], dy, step.input, dx),
            Work::AveragePool { size } => average_pool::backward(dy, step.input, *size, dx),
            Work::Convolution { .. } | Work::Linear { .. } => {}
        }
        self.slots[slot] = buffer;
    }

    /// Update `t`, from 1, and what comes before and after it.
    pub fn update(&mut self, rule: &Optimizer, more: &Update, learning_rate: f32, t: u64) {
        let mut clock = Instant::now();
        let clip = |most| gradient_norm::factor(self.set, &self.gradients, most, &mut self.partials);
        let factor = more.clip_norm.map_or(1.0, clip);
        for (range, decays) in &self.layout.updates {
            let rule = if *decays { *rule } else { rule.with_decay(0.0) };
            let step = optimizer::Hyperparameters { rule, learning_rate, t, factor };
            let (parameters, moments) = (&mut self.parameters, self.moments.as_mut_slice());
            optimizer::update(self.set, &step, range, parameters, &self.gradients, moments);
        }
        if let (Some(decay), Some([parameters, running])) = (more.ema, &mut self.averaged) {
            let share = Update::average_share(decay, t) as f32;
            let CpuLayout { trained, moving, .. } = self.layout; // the others are what they were
            average::follow(self.set, &mut parameters[..trained], &self.parameters[..trained], share);
            average::follow(self.set, &mut running[..moving], &self.running[..moving], share);
        }
        lap(&mut clock, &mut self.times.update);
    }

    /// Puts the averaged weights in the live ones' place, and the other way round.
    pub fn swap_weights(&mut self) {
        if let Some([parameters, running]) = &mut self.averaged {
            std::mem::swap(parameters, &mut self.parameters);
            std::mem::swap(running, &mut self.running);
        }
    }

    /// All tensors in the plan's order and torchvision's layout.
    pub fn tensors(&self) -> Vec<Vec<f32>> {
        self.unpacked(&self.parameters, &self.running)
    }

    /// The averaged ones; empty where none are kept.
    pub fn averages(&self) -> Vec<Vec<f32>> {
        self.averaged.as_ref().map_or_else(Vec::new, |[parameters, running]| self.unpacked(parameters, running))
    }

    fn unpacked(&self, parameters: &[f32], running: &[f32]) -> Vec<Vec<f32>> {
        self.layout.places.iter().map(|p| p.unpack(if p.parameter { parameters } else { running })).collect()
    }

    /// The optimiser's moments, for tensors that are trained.
    pub fn moments(&self) -> Vec<Vec<Vec<f32>>> {
        self.moments.iter().map(|m| self.trained_parts(m)).collect()
    }

    /// Gradients of the last backward pass; empty before the first.
    pub fn gradients(&self) -> Vec<Vec<f32>> {
        if self.trained_once { self.trained_parts(&self.gradients) } else { Vec::new() }
    }

    fn trained_parts(&self, values: &[f32]) -> Vec<Vec<f32>> {
        self.layout.places.iter().filter(|p| p.trained).map(|p| p.unpack(values)).collect()
    }

    /// Puts a state in whose lengths fit, and prepares filters. Of a state that is given away each tensor goes as soon as
    /// it is copied, so that a network is hardly in memory twice.
    pub fn load(&mut self, state: Cow<'_, State>) {
        let (tensors, averages, moments): (Tensors<'_>, Tensors<'_>, Vec<Tensors<'_>>) = match state {
            Cow::Owned(state) => {
                (given(state.tensors), given(state.averages), state.moments.into_iter().map(given).collect())
            }
            Cow::Borrowed(state) => {
                (lent(&state.tensors), lent(&state.averages), state.moments.iter().map(|m| lent(m)).collect())
            }
        };
        let put = |tensors: Tensors<'_>, parameters: &mut [f32], running: &mut [f32]| {
            for (place, values) in self.layout.places.iter().zip(tensors) {
                place.pack(&values, if place.parameter { &mut *parameters } else { &mut *running });
            }
        };
        put(tensors, &mut self.parameters, &mut self.running);
        if let Some([parameters, running]) = &mut self.averaged {
            if averages.is_empty() {
                parameters.copy_from_slice(&self.parameters);
                running.copy_from_slice(&self.running);
            }
            put(averages, parameters, running);
        }
        self.moments.iter_mut().for_each(Buffer::zero);
        let trained = || self.layout.places.iter().filter(|p| p.trained);
        for (moment, values) in self.moments.iter_mut().zip(moments) {
            trained().zip(values).for_each(|(place, values)| place.pack(&values, moment));
        }
        for step in &self.layout.steps {
            if let Work::Convolution { prepared: Some(prepared), .. } = &step.work {
                prepared.prepare(&self.parameters[step.weight.clone()], &mut self.prepared);
            }
        }
    }

    /// Seconds by operation.
    pub fn timings(&self) -> Vec<(String, f64)> {
        let parts = ["forward", "activation forward", "activation backward", "weight gradient", "input gradient"];
        let steps = self.layout.steps.iter().zip(&self.times.steps);
        let named = |(step, times): (&Step, &[Duration; 5])| {
            let name = step.name.clone();
            parts.iter().zip(*times).map(move |(part, time)| (format!("{name} {part}"), time)).collect::<Vec<_>>()
        };
        let Times { gather, loss, update, .. } = &self.times;
        let rest = [("gather", gather), ("loss", loss), ("update", update)].map(|(n, t)| (n.to_owned(), *t));
        steps.flat_map(named).chain(rest).map(|(name, time)| (name, time.as_secs_f64())).collect()
    }
}

type Tensors<'a> = Vec<Cow<'a, [f32]>>;

fn given(values: Vec<Vec<f32>>) -> Tensors<'static> {
    values.into_iter().map(Cow::Owned).collect()
}

fn lent(values: &[Vec<f32>]) -> Tensors<'_> {
    values.iter().map(|v| Cow::Borrowed(v.as_slice())).collect()
}

/// The four statistics of a layer that are saved in the forward pass for the backward pass.
fn statistics_of(saved: &mut [f32], start: usize, channels: usize) -> Normalisation<'_> {
    let (scale, rest) = saved[start..start + 4 * channels].split_at_mut(channels);
    let (shift, rest) = rest.split_at_mut(channels);
    let (mean, inverse_deviation) = rest.split_at_mut(channels);
    Normalisation { scale, shift, mean, inverse_deviation }
}
