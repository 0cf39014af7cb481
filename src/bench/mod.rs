//! How fast an engine is: images per second, and the time of every operation beside the device's limits.
//! [`cost`] tells what an operation has to do and [`operations`] what each reached, [`comparison`] sets a result beside an
//! earlier one, [`pytorch`] measures the same network in PyTorch, [`memory`] what the whole process takes. Trains nothing
//! that is kept.

pub mod comparison;
pub mod cost;
pub mod memory;
pub mod operations;
pub mod pytorch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::operations::Operation;
use crate::engine::gpu;
use crate::engine::{Batch, Device, Engine, Images, Limits, Pick, Source};
use crate::error::Result;
use crate::vgg::Network;

/// Images that the picks choose from.
const IMAGES: usize = 256;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Forward, backward and Adam.
    Train,
    /// Forward, with running statistics.
    Infer,
}

/// The value of `schema`.
pub const SCHEMA: &str = "vggkit/bench/1";

/// What `vggkit bench --json` prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Benchmark {
    /// [`SCHEMA`].
    pub schema: String,
    /// Of vggkit.
    pub version: String,
    /// Of vggkit; may be empty.
    pub commit: String,
    /// RFC 3339 in UTC.
    pub time: String,
    /// What computed.
    pub device: Device,
    /// What was measured.
    pub mode: Mode,
    /// Of vggkit's products.
    #[serde(default)]
    pub precision: gpu::Precision,
    /// Without F(4x4).
    #[serde(default)]
    pub precise: bool,
    /// Images a step.
    pub batch_size: usize,
    /// Measured now.
    pub limits: Option<Limits>,
    /// An operation that was clearly faster than the limits, measured twice; they are not to be trusted then.
    #[serde(default)]
    pub limits_exceeded_by: Option<String>,
    /// Why this is not all that was asked for.
    #[serde(default)]
    pub partial: Option<String>,
    /// In the order in which they were asked for.
    pub networks: Vec<Measured>,
}

impl Benchmark {
    /// Takes `limits` in where they are higher than those known, and holds every network against the higher ones.
    pub fn raise(&mut self, limits: Limits) {
        let limits = self.limits.map_or(limits, |known| known.best(limits));
        self.limits = Some(limits);
        for measured in &mut self.networks {
            measured.hold_against(limits);
        }
    }
}

/// One network on one engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Which.
    pub network: Network,
    /// Samples computed at once.
    pub micro_batch: usize,
    /// What the engine allocates.
    pub memory_bytes: u64,
    /// The most that the whole process had while it was measured, without what files back and what is on a card.
    #[serde(default)]
    pub peak_memory_bytes: Option<u64>,
    /// From drawing the first weights to the end of the first step, without measuring limits.
    pub seconds_to_first_step: f64,
    /// The median of `rounds`.
    pub images_per_s: f64,
    /// Images per second of each round.
    pub rounds: Vec<f64>,
    /// Multiply-adds per second as direct convolutions would do them, two operations each.
    pub flops: f64,
    /// `flops` beside the limit.
    pub share_of_limit: Option<f64>,
    /// Of one step, in order.
    pub operations: Vec<Operation>,
    /// The same network in PyTorch, measured in turn.
    pub pytorch: Vec<pytorch::Peer>,
    /// What PyTorch could not do, and why.
    #[serde(default)]
    pub pytorch_failures: Vec<String>,
    /// The same network in an earlier result.
    pub earlier: Option<comparison::Comparison>,
}

/// The middle of `values`, or of an even number the mean of the middle two; 0 without any.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n => f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]),
    }
}

/// Noise: what is in an image costs nothing.
fn images(network: &Network) -> Images {
    let size = network.image_size;
    let noise = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
    Images {
        pixels: Arc::new((0..IMAGES * size * size * 3).map(noise).collect::<Vec<u8>>()),
        count: IMAGES,
        height: size,
        width: size,
        labels: (0..IMAGES).map(|i| (i % network.classes) as u32).collect(),
    }
}

/// A warm engine that is asked for rounds of steps.
pub struct Rounds<'a> {
    engine: &'a mut dyn Engine,
    mode: Mode,
    picks: Vec<Pick>,
    logits: Vec<f32>,
    seconds_to_first_step: f64,
    rounds: Vec<f64>,
    steps: usize,
    /// What the engine's clocks showed when it was warm.
    clocks: Vec<(String, f64)>,
}

impl<'a> Rounds<'a> {
    /// Does two steps of `batch_size` images, with an engine that took `built` to be made.
    pub fn warm(
        engine: &'a mut dyn Engine,
        mode: Mode,
        network: &Network,
        batch_size: usize,
        built: Duration,
    ) -> Result<Self> {
        let started = Instant::now();
        engine.attach(Source::Train, images(network))?;
        let picks = (0..batch_size).map(|i| Pick::of((i * 37 % IMAGES) as u32)).collect();
        let (logits, rounds) = (Vec::new(), Vec::new());
        let clocks = Vec::new();
        let mut warm = Self { engine, mode, picks, logits, seconds_to_first_step: 0.0, rounds, steps: 0, clocks };
        warm.step()?;
        warm.engine.drain_metrics()?;
        warm.seconds_to_first_step = (built + started.elapsed()).as_secs_f64();
        warm.step()?;
        warm.engine.drain_metrics()?;
        warm.clocks = warm.engine.timings();
        Ok(warm)
    }

    fn step(&mut self) -> Result<()> {
        let batch = Batch::Picks(Source::Train, &self.picks);
        match self.mode {
            Mode::Train => self.engine.train_step(batch, 1e-5),
            Mode::Infer => self.engine.logits(batch, &mut self.logits),
        }
    }

    /// Whole steps for about `seconds`, at least two; images per second. `None` where `stopped` says so before its end:
    /// that round does not count.
    pub fn round(&mut self, seconds: u64, stopped: &dyn Fn() -> bool) -> Result<Option<f64>> {
        let (limit, begun, mut steps) = (Duration::from_secs(seconds), Instant::now(), 0);
        while steps < 2 || begun.elapsed() < limit {
            if stopped() {
                return Ok(None);
            }
            self.step()?;
            steps += 1;
        }
        self.engine.drain_metrics()?;
        let rate = (steps * self.picks.len()) as f64 / begun.elapsed().as_secs_f64();
        self.rounds.push(rate);
        self.steps += steps;
        Ok(Some(rate))
    }

    /// What came out, without peers and limits; with operations where the engine has clocks.
    pub fn measured(self, network: &Network) -> Measured {
        let images_per_s = median(&self.rounds);
        let flops = images_per_s * cost::of_image(self.engine.plan(), self.mode == Mode::Train);
        Measured {
            network: network.clone(),
            micro_batch: self.picks.len(),
            memory_bytes: self.engine.memory(),
            peak_memory_bytes: None,
            seconds_to_first_step: self.seconds_to_first_step,
            images_per_s,
            rounds: self.rounds.clone(),
            flops,
            share_of_limit: None,
            operations: self.operations(),
            pytorch: Vec::new(),
            pytorch_failures: Vec::new(),
            earlier: None,
        }
    }

    /// Time of every operation of a step, by the engine's clocks.
    fn operations(&self) -> Vec<Operation> {
        let timings = self.engine.timings();
        let steps = self.steps.max(1) as f64;
        let since = timings.iter().zip(&self.clocks).map(|((name, now), (_, before))| (name, (now - before) / steps));
        let costs = since.filter(|(_, seconds)| *seconds > 0.0).filter_map(|(name, seconds)| {
            Some((name, seconds, cost::of_operation(self.engine.plan(), name, self.picks.len())?))
        });
        let done: Vec<_> = costs.collect();
        let whole: f64 = done.iter().map(|(_, seconds, _)| seconds).sum();
        done.into_iter()
            .map(|(name, seconds, (flops, bytes))| {
                let mut operation = Operation::new(name.clone(), None, seconds);
                operation.rate(whole, flops, bytes);
                operation
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
