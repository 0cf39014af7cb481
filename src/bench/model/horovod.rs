//! The model held against what was published of Horovod (Sergeev and Del Balso 2018, arXiv 1802.05799; the benchmarks page of its
//! documentation): VGG-16 on 512 GPUs of the Pascal generation, four in each of 128 servers, on a network of 25 Gb/s with RDMA,
//! reached 68 % of 512 times one GPU.
//!
//! What was published of it does not say: the step of one GPU, for which the P100 of TensorFlow's own benchmarks stands (May 2017, the
//! same program, 64 images); which part of 25 Gb/s the network gave; what a message of a ring took.

use serde::Serialize;

use super::step::Step;
use super::{Line, scaled};
use crate::error::Result;
use crate::vgg::Network;
use crate::vgg::table::HIDDEN;

/// What was published.
pub const EFFICIENCY: f64 = 0.68;

/// GPUs.
pub const WORKERS: usize = 512;

/// Bits a second of a server's network. A ring enters and leaves a server once, so that its GPUs share nothing.
pub const BITS_PER_SECOND: f64 = 25e9;

/// Images a GPU and step, by the command that is published to repeat it.
pub const BATCH_SIZE: usize = 64;

/// Images a second of one P100.
pub const IMAGES_PER_S: f64 = 154.0;

/// Seconds of a message that are tried.
const MESSAGES: [f64; 4] = [0.0, 5e-6, 10e-6, 20e-6];

/// Shares of the network that are tried.
const SHARES: [f64; 5] = [1.0, 0.9, 0.8, 0.7, 0.5];

/// What the model says under assumptions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Assumed {
    /// Of 25 Gb/s.
    pub share: f64,
    /// Seconds of a message.
    pub message: f64,
    /// Of 512 times one GPU.
    pub efficiency: f64,
}

/// A step of VGG-16 as the paper has it, at 224x224 and 1000 classes, on one GPU. Errors: none.
pub fn step() -> Result<Step> {
    let network = Network { depth: 16, batch_norm: false, classes: 1000, image_size: 224, ..Network::default() };
    let plan = network.plan()?;
    // Ours averages to 2x2 in place of the fifth pooling, which leaves 7x7.
    let features = plan.layers.iter().filter(|layer| layer.name.starts_with("features.") && layer.is_weighted());
    let features = features.map(|layer| (layer.macs as f64, layer.parameters));
    let linear = [(7 * 7 * 512, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, network.classes)];
    let linear = linear.map(|(inputs, outputs)| ((inputs * outputs) as f64, inputs * outputs + outputs));
    let layers: Vec<_> = features.chain(linear).collect();
    Ok(Step::estimated(&layers, BATCH_SIZE as f64 / IMAGES_PER_S))
}

/// Its efficiency where the network gives `share` of its rate and each message of the ring takes `message` seconds.
pub fn efficiency(step: &Step, share: f64, message: f64) -> f64 {
    let line = Line { bytes_per_second: share * BITS_PER_SECOND / 8.0, latency: 0.0, message };
    scaled(step, &line, WORKERS).efficiency
}

/// What the model says under all assumptions: by share, then by message.
pub fn tried(step: &Step) -> Vec<[Assumed; MESSAGES.len()]> {
    let row = |share| MESSAGES.map(|message| Assumed { share, message, efficiency: efficiency(step, share, message) });
    SHARES.into_iter().map(row).collect()
}

/// Without any overlap: all sums after the backward pass, at the whole rate of the network.
pub fn without_overlap(step: &Step) -> f64 {
    let line = Line { bytes_per_second: BITS_PER_SECOND / 8.0, latency: 0.0, message: 0.0 };
    step.seconds() / (step.seconds() + line.sum(step.gradient_bytes(), WORKERS))
}

/// The share of the network at which the model has the published efficiency, if messages take nothing.
pub fn share_as_published(step: &Step) -> f64 {
    let (mut low, mut high) = (0.01, 1.0);
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if efficiency(step, middle, 0.0) < EFFICIENCY { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_papers_network() -> Result<()> {
        let step = step()?;
        // torchvision's vgg16.
        assert_eq!(step.layers.iter().map(|layer| layer.weights).sum::<usize>(), 138_357_544);
        assert_eq!(step.layers.len(), 16);
        assert!((step.seconds() - 64.0 / 154.0).abs() < 1e-12);
        Ok(())
    }

    #[test]
    fn the_published_efficiency_lies_between_none_and_all_of_the_overlap() -> Result<()> {
        let step = step()?;
        let (least, most) = (without_overlap(&step), efficiency(&step, 1.0, 0.0));
        assert!(least < EFFICIENCY && EFFICIENCY < most, "{least} {most}");
        let share = share_as_published(&step);
        assert!((efficiency(&step, share, 0.0) - EFFICIENCY).abs() < 1e-6, "{share}");
        // By hand: a third of the step is the forward pass, then 2 * 511/512 * 553.4 MB travel, begun with the last two layers.
        let line = 2.0 * 511.0 / 512.0 * 553.43e6 / (BITS_PER_SECOND / 8.0);
        assert!((step.seconds() / most - (step.seconds() / 3.0 + line)).abs() < 0.01, "{}", step.seconds() / most);
        Ok(())
    }
}
