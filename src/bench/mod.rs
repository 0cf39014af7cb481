//! How fast an engine is: images per second, and the time of every operation beside the device's limits.
//! [`cost`] tells what an operation has to do, [`comparison`] sets a result beside an earlier one, [`pytorch`] measures
//! the same network in PyTorch, [`memory`] what the whole process takes. Trains nothing that is kept.

pub mod comparison;
pub mod cost;
pub mod memory;
pub mod pytorch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::engine::gpu::{self, GpuEngine, profile};
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
    /// In the order in which they were asked for.
    pub networks: Vec<Measured>,
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
    /// The same network in an earlier result.
    pub earlier: Option<comparison::Comparison>,
}

/// One operation of one layer in one step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Operation {
    /// Layer and pass.
    pub name: String,
    /// Of a convolution.
    pub variant: Option<String>,
    /// In one step.
    pub seconds: f64,
    /// Of all operations' time.
    pub share_of_step: f64,
    /// As a direct convolution.
    pub flops: Option<f64>,
    /// `flops` beside the limit.
    pub share_of_flops: Option<f64>,
    /// Read and written.
    pub bytes_per_s: f64,
    /// `bytes_per_s` beside the limit.
    pub share_of_bytes: Option<f64>,
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
        let picks = (0..batch_size).map(|i| Pick { index: (i * 37 % IMAGES) as u32, ..Pick::default() }).collect();
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

    /// Whole steps for about `seconds`, at least two.
    pub fn round(&mut self, seconds: u64) -> Result<()> {
        let (limit, begun, mut steps) = (Duration::from_secs(seconds), Instant::now(), 0);
        while steps < 2 || begun.elapsed() < limit {
            self.step()?;
            steps += 1;
        }
        self.engine.drain_metrics()?;
        self.rounds.push((steps * self.picks.len()) as f64 / begun.elapsed().as_secs_f64());
        self.steps += steps;
        Ok(())
    }

    /// What came out, without peers; with operations where the engine has clocks.
    pub fn measured(self, network: &Network, limits: Option<Limits>) -> Measured {
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
            share_of_limit: limits.map(|l| flops / l.flops),
            operations: self.operations(limits),
            pytorch: Vec::new(),
            earlier: None,
        }
    }

    /// Time of every operation of a step, by the engine's clocks.
    fn operations(&self, limits: Option<Limits>) -> Vec<Operation> {
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
                operation.rate(whole, flops, bytes, limits);
                operation
            })
            .collect()
    }
}

/// Time of every operation of one step. Calls with the same name are one operation: a variant may take several.
pub fn operations(engine: &GpuEngine, mode: Mode, limits: Option<Limits>) -> Result<Vec<Operation>> {
    let network = engine.network();
    let samples = engine.micro_batch();
    let calls = network.calls(mode == Mode::Train);
    profile::spans(engine.gpu(), &calls, samples)?; // the clock of a card rises with work
    let spans = profile::spans(engine.gpu(), &calls, samples)?;
    let whole: f64 = spans.iter().map(|s| s.seconds).sum();
    let mut operations: Vec<(Operation, f64)> = Vec::new();
    for span in spans {
        // "features.0 forward, winograd4 registers, output": layer and pass, variant, what of it.
        let mut parts = span.label.splitn(3, ", ").map(str::to_owned);
        let name = parts.next().unwrap_or_default();
        let variant = parts.next();
        let bytes = span.bytes as f64;
        match operations.last_mut().filter(|(last, _)| last.name == name) {
            Some((last, sum)) => {
                last.seconds += span.seconds;
                *sum += bytes;
            }
            None => operations.push((Operation::new(name, variant, span.seconds), bytes)),
        }
    }
    Ok(operations
        .into_iter()
        .map(|(mut operation, bytes)| {
            let flops = network.flops(&operation.name).map(|flops| (flops as usize * samples) as f64);
            operation.rate(whole, flops, bytes, limits);
            operation
        })
        .collect())
}

impl Operation {
    fn new(name: String, variant: Option<String>, seconds: f64) -> Self {
        Self {
            name,
            variant,
            seconds,
            share_of_step: 0.0,
            flops: None,
            share_of_flops: None,
            bytes_per_s: 0.0,
            share_of_bytes: None,
        }
    }

    /// Sets its rates from what it did; all operations took `whole` seconds.
    fn rate(&mut self, whole: f64, flops: Option<f64>, bytes: f64, limits: Option<Limits>) {
        let seconds = self.seconds.max(1e-12);
        self.share_of_step = seconds / whole.max(1e-12);
        self.flops = flops.map(|flops| flops / seconds);
        self.share_of_flops = self.flops.zip(limits).map(|(flops, limits)| flops / limits.flops);
        self.bytes_per_s = bytes / seconds;
        self.share_of_bytes = limits.map(|limits| self.bytes_per_s / limits.bytes);
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
