//! The network in memory: parameters, gradients, moments and activations of a [`CpuLayout`]. `forward` and `backward` are its passes
//! over them.
//!
//! It trusts its callers about lengths; `engine` checks what comes from outside.

use std::borrow::Cow;
use std::mem::replace;
use std::time::{Duration, Instant};

use super::gradients::Gradients;
use super::layers::activation::Normalisation;
use super::layers::gather::Gallery;
use super::layers::{average, gradient_norm, optimizer};
use super::layout::{CpuLayout, Sizes, Step, Work, pack, unpack};
use super::plumbing::buffer::{Buffer, Scratch};
use super::plumbing::simd::InstructionSet;
use super::samples::Samples;
use crate::engine::buckets::{Order, buckets};
use crate::engine::layout::{Extent, Layout, Place};
use crate::engine::peers::{Peers, Together};
use crate::engine::settling::{self, Normalised, Outcome};
use crate::engine::tree;
use crate::engine::{Optimizer, Pick, Settings, State, Update};
use crate::error::Result;

/// See the module.
pub struct CpuNetwork {
    pub(super) layout: Layout<Work>,
    pub(super) sizes: Sizes,
    set: InstructionSet,
    pub(super) slots: Vec<Buffer>,
    pub(super) parameters: Buffer,
    pub(super) running: Buffer,
    /// The moving average of parameters and running statistics, where one is kept.
    averaged: Option<[Buffer; 2]>,
    pub(super) prepared: Buffer,
    pub(super) gradients: Gradients,
    /// How these travel, once that is known.
    order: Option<Order>,
    /// The layers with batch normalisation.
    normalised: Vec<Normalised>,
    /// The optimiser's.
    moments: Vec<Buffer>,
    pub(super) scratch: Scratch,
    pub(super) partials: Vec<f64>,
    pub(super) shared: Buffer,
    pub(super) filters: Buffer,
    pub(super) saved_statistics: Buffer,
    pub(super) factors: Buffer,
    /// Batch normalisation's, of each micro-batch: [means, squared deviations] a layer.
    pub(super) batch_moments: Vec<f64>,
    /// Its sums in a backward pass of a layer, of each micro-batch: its own and the whole batch's.
    pub(super) sums: Vec<f64>,
    /// What each micro-batch of the last loss came to.
    pub(super) outcomes: Vec<Outcome>,
    /// Whether there are gradients.
    pub(super) trained_once: bool,
    pub(super) times: Times,
}

/// Time spent, for benchmarks: [forward, activation forward, activation backward, weights, input] for each step.
pub(super) struct Times {
    pub(super) steps: Vec<[Duration; 5]>,
    gather: Duration,
    pub(super) loss: Duration,
    update: Duration,
}

/// Adds the time since `from` to `to`, and starts anew.
pub(super) fn lap(from: &mut Instant, to: &mut Duration) {
    let now = Instant::now();
    *to += now - *from;
    *from = now;
}

impl CpuNetwork {
    /// Allocates what the layout asks for. Errors: no memory.
    pub fn new(
        CpuLayout { layout, sizes }: CpuLayout,
        settings: &Settings,
        together: Option<&Together>,
        set: InstructionSet,
    ) -> Result<Self> {
        let parts = sizes.parts;
        let moments = settings.optimizer.map_or(0, |o| o.moments().len());
        Ok(Self {
            set,
            slots: layout.slots.iter().map(|len| Buffer::new(*len)).collect::<Result<_>>()?,
            parameters: Buffer::new(layout.extent.parameters)?,
            running: Buffer::new(layout.extent.running)?,
            averaged: match settings.keeps_average() {
                true => Some([Buffer::new(layout.extent.parameters)?, Buffer::new(layout.extent.running)?]),
                false => None,
            },
            prepared: Buffer::new(sizes.prepared)?,
            gradients: Gradients::new(buckets(&layout, together.is_some()), together.is_some())?,
            order: None,
            normalised: settling::normalised(&layout),
            moments: (0..moments).map(|_| Buffer::new(layout.extent.trained)).collect::<Result<_>>()?,
            scratch: Scratch::new(settings.threads, sizes.workspace.scratch)?,
            partials: vec![0.0; sizes.partials],
            shared: Buffer::new(sizes.workspace.shared)?,
            filters: Buffer::new(sizes.workspace.filters)?,
            saved_statistics: Buffer::new(parts * sizes.saved_statistics)?,
            factors: Buffer::new(sizes.factors)?,
            batch_moments: vec![0.0; parts * sizes.saved_statistics / 2],
            sums: vec![0.0; 2 * parts * sizes.factors],
            outcomes: Vec::with_capacity(parts),
            trained_once: false,
            times: Times {
                steps: vec![[Duration::ZERO; 5]; layout.steps.len()],
                gather: Duration::ZERO,
                loss: Duration::ZERO,
                update: Duration::ZERO,
            },
            layout,
            sizes,
        })
    }

    /// Samples that it computes at once, at most.
    pub fn samples(&self) -> usize {
        self.sizes.samples
    }

    /// The first `len` values of the input, to be filled.
    pub fn input(&mut self, len: usize) -> &mut [f32] {
        &mut self.slots[self.layout.input][..len]
    }

    /// The logits of the last forward pass of `n` samples.
    pub fn logits(&self, n: usize) -> &[f32] {
        &self.slots[self.layout.logits][..n * self.layout.classes()]
    }

    /// Fills the input from picks.
    pub fn gather(&mut self, gallery: &Gallery, picks: &[Pick], normalisation: &crate::engine::Normalisation) {
        let mut clock = Instant::now();
        let input = &mut self.slots[self.layout.input];
        let sample = self.layout.steps.first().map_or(0, |s| s.stage.input.elements());
        gallery.gather(picks, normalisation, &mut input[..picks.len() * sample]);
        lap(&mut clock, &mut self.times.gather);
    }

    /// What the whole batch came to, by what its micro-batches did, in order; the running statistics follow.
    pub fn settle(&mut self, samples: &Samples, together: Option<&Together>) -> Result<Outcome> {
        let Self { normalised, running, batch_moments, outcomes, .. } = self;
        let Some(Together { peers, sync_batch_norm }) = together else {
            let mut whole = Outcome::default();
            settling::follow(normalised, batch_moments, samples.count, running);
            outcomes.iter().for_each(|outcome| whole.add(*outcome));
            return Ok(whole);
        };
        let all = settling::moments(normalised);
        let mut mine = Vec::with_capacity(outcomes.len() * (Outcome::NUMBERS + all));
        for (part, outcome) in outcomes.iter().enumerate() {
            mine.extend(outcome.told());
            mine.extend_from_slice(&batch_moments[part * all..(part + 1) * all]);
        }
        Ok(settling::settle(
            &peers.all(&mine)?,
            normalised,
            tree::sizes(samples.batch, samples.micro_batch),
            *sync_batch_norm,
            running,
        ))
    }

    /// Comes to an agreement with the peers, once, about how gradients travel.
    pub fn agree(&mut self, peers: &dyn Peers) -> Result<()> {
        if self.order.is_none() {
            self.order = Some(Order::agreed(peers, &self.layout.format)?);
        }
        Ok(())
    }

    /// Sends the gradients that are whole once the backward pass of step `index` is done.
    pub(super) fn send(&mut self, samples: &Samples, index: usize, peers: &dyn Peers) -> Result<()> {
        let order = self.order.unwrap_or(Order::Memory);
        for number in self.gradients.completed_by(index) {
            let mut nodes = self.gradients.take(number, samples.parts());
            let (bucket, places) = (self.gradients.bucket(number), &self.layout.places);
            if order == Order::Torchvision {
                for node in &mut nodes {
                    let mut sent = peers.buffer(order.numbers(bucket, places));
                    sent.clear();
                    let from = |place: &Place| unpack(&place.from(bucket.range.start), node);
                    bucket.tensors(places).for_each(|place| sent.extend_from_slice(&from(place)));
                    peers.give_back(replace(node, sent));
                }
            }
            peers.begin(number, samples.batch, order.numbers(bucket, places), nodes)?;
        }
        Ok(())
    }

    /// Waits for the sum of the bucket that was sent first of those that are under way: which one.
    fn receive(&mut self, peers: &dyn Peers) -> Result<usize> {
        let (number, mut sum) = peers.finish()?;
        if self.order == Some(Order::Torchvision) {
            let (bucket, places) = (self.gradients.bucket(number), &self.layout.places);
            let mut here = peers.buffer(bucket.range.len());
            here.fill(0.0); // what lies between tensors counts in the norm of all
            let mut rest = sum.as_slice();
            for place in bucket.tensors(places) {
                let (values, after) = rest.split_at(place.elements());
                pack(&place.from(bucket.range.start), values, &mut here);
                rest = after;
            }
            peers.give_back(replace(&mut sum, here));
        }
        if let Some(unused) = self.gradients.put(number, sum) {
            peers.give_back(unused);
        }
        Ok(number)
    }

    /// Update `t`, from 1, and what comes before and after it: of each bucket as soon as its sum is there, while `peers` add the
    /// later ones, unless the norm of all has to be known first. Errors: others are gone.
    pub fn update(
        &mut self,
        rule: &Optimizer,
        more: &Update,
        rate: f32,
        t: u64,
        peers: Option<&dyn Peers>,
    ) -> Result<()> {
        let mut factor = 1.0;
        if let Some(most) = more.clip_norm {
            if let Some(peers) = peers {
                (0..self.gradients.len()).try_for_each(|_| self.receive(peers).map(drop))?;
            }
            let mut clock = Instant::now();
            let parts = self.gradients.parts().map(|(_, values)| values);
            factor = gradient_norm::factor(self.set, parts, most, &mut self.partials);
            lap(&mut clock, &mut self.times.update);
        }
        for number in 0..self.gradients.len() {
            let number = match (peers, more.clip_norm) {
                (Some(peers), None) => self.receive(peers)?,
                _ => number,
            };
            let mut clock = Instant::now();
            self.update_bucket(number, |decays| {
                let rule = if decays { *rule } else { rule.with_decay(0.0) };
                optimizer::Hyperparameters { rule, learning_rate: rate, t, factor }
            });
            lap(&mut clock, &mut self.times.update);
        }
        let mut clock = Instant::now();
        if let (Some(decay), Some([parameters, running])) = (more.ema, &mut self.averaged) {
            let share = Update::average_share(decay, t) as f32;
            let Extent { trained, moving, .. } = self.layout.extent; // the others are what they were
            average::follow(self.set, &mut parameters[..trained], &self.parameters[..trained], share);
            average::follow(self.set, &mut running[..moving], &self.running[..moving], share);
        }
        lap(&mut clock, &mut self.times.update);
        Ok(())
    }

    /// Updates what has its gradients in a bucket; `step` says how what decays and what does not.
    fn update_bucket(&mut self, number: usize, step: impl Fn(bool) -> optimizer::Hyperparameters) {
        let (bucket, values) = self.gradients.part(number);
        for (range, decays) in &self.layout.updates {
            let part = range.start.max(bucket.range.start)..range.end.min(bucket.range.end);
            if !part.is_empty() {
                let gradients = &values[part.start - bucket.range.start..part.end - bucket.range.start];
                let (parameters, moments) = (&mut self.parameters, self.moments.as_mut_slice());
                optimizer::update(self.set, &step(*decays), &part, parameters, gradients, moments);
            }
        }
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
        self.layout.places.iter().map(|p| unpack(p, if p.parameter { parameters } else { running })).collect()
    }

    /// The optimiser's moments, for tensors that are trained.
    pub fn moments(&self) -> Vec<Vec<Vec<f32>>> {
        self.moments.iter().map(|m| self.trained_parts(m)).collect()
    }

    /// Gradients of the last backward pass; empty before the first.
    pub fn gradients(&self) -> Vec<Vec<f32>> {
        if self.trained_once { self.trained_parts(&self.gradients.whole()) } else { Vec::new() }
    }

    fn trained_parts(&self, values: &[f32]) -> Vec<Vec<f32>> {
        self.layout.places.iter().filter(|p| p.trained).map(|p| unpack(p, values)).collect()
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
                pack(place, &values, if place.parameter { &mut *parameters } else { &mut *running });
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
            trained().zip(values).for_each(|(place, values)| pack(place, &values, moment));
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
            let name = step.stage.name.clone();
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
pub(super) fn statistics_of(saved: &mut [f32], start: usize, channels: usize) -> Normalisation<'_> {
    let (scale, rest) = saved[start..start + 4 * channels].split_at_mut(channels);
    let (shift, rest) = rest.split_at_mut(channels);
    let (mean, inverse_deviation) = rest.split_at_mut(channels);
    Normalisation { scale, shift, mean, inverse_deviation }
}
