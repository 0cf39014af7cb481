//! A warm engine that is asked for rounds of steps: images per second, and the time of every operation where it has clocks.
//! Trains nothing that is kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cost;
use super::median::median;
use super::mode::Mode;
use super::operation::Operation;
use super::result::Measured;
use crate::engine::{Batch, Engine, Images, Pick, Source};
use crate::error::Result;
use crate::vgg::Network;

/// Images that the picks choose from.
const IMAGES: usize = 256;

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

    /// `count` steps, whatever they take; images per second.
    pub fn steps(&mut self, count: usize) -> Result<f64> {
        let begun = Instant::now();
        for _ in 0..count {
            self.step()?;
        }
        self.engine.drain_metrics()?;
        Ok((count * self.picks.len()) as f64 / begun.elapsed().as_secs_f64())
    }

    /// Images of a step.
    pub fn batch_size(&self) -> usize {
        self.picks.len()
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
