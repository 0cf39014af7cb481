//! What a benchmark found: each network's images per second and operations, beside the device's limits, and whether those can
//! be believed; beside PyTorch and an earlier result. Measures nothing.

use serde::{Deserialize, Serialize};

use super::mode::Mode;
use super::operation::Operation;
use super::pytorch::Peer;
use crate::engine::{Device, Limits, Precision};
use crate::vgg::Network;

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
    pub precision: Precision,
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
    pub pytorch: Vec<Peer>,
    /// What PyTorch could not do, and why.
    #[serde(default)]
    pub pytorch_failures: Vec<String>,
    /// The same network in an earlier result.
    pub earlier: Option<Comparison>,
}

/// A result beside an earlier one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Then.
    pub images_per_s: f64,
    /// Now, beside then.
    pub ratio: f64,
    /// Operations that take more than a tenth longer now, and how many times as long, the worst first.
    pub slower: Vec<(String, f64)>,
    /// What was otherwise then: `threads 1`, `precision f16`.
    #[serde(default)]
    pub otherwise: Vec<String>,
}

/// How many times as fast as a limit an operation has to be for the limit to be wrong, not the moment.
const BEYOND: f64 = 1.2;

/// Bytes that no cache holds: operations on fewer may be faster than memory.
const UNCACHED: f64 = (128 << 20) as f64;

impl Measured {
    /// Sets what was reached beside `limits`.
    pub fn hold_against(&mut self, limits: Limits) {
        self.share_of_limit = Some(self.flops / limits.flops);
        for operation in &mut self.operations {
            operation.share_of_flops = operation.flops.map(|flops| flops / limits.flops);
            operation.share_of_bytes = Some(operation.bytes_per_s / limits.bytes);
        }
    }

    /// The operation that shows best that the limits are too low, if one does: multiply-adds in f32 with no fewer of them
    /// than a direct convolution has, or more traffic than caches hold.
    pub fn exceeding(&self) -> Option<&Operation> {
        let excess = |o: &Operation| {
            let direct = o.variant.as_deref().is_some_and(|v| v.starts_with("tiled") || v.starts_with("registers"));
            let flops = o.share_of_flops.filter(|_| direct);
            let bytes = o.share_of_bytes.filter(|_| o.bytes_per_s * o.seconds >= UNCACHED);
            flops.unwrap_or(0.0).max(bytes.unwrap_or(0.0))
        };
        let worst = self.operations.iter().max_by(|a, b| excess(a).total_cmp(&excess(b)))?;
        (excess(worst) > BEYOND).then_some(worst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network of one operation that takes a second: variant, flops, bytes.
    fn of_one(variant: Option<&str>, flops: Option<f64>, bytes: f64) -> Measured {
        let mut operation = Operation::new("features.3 forward".into(), variant.map(str::to_owned), 1.0);
        operation.rate(1.0, flops, bytes);
        Measured {
            network: Network::default(),
            micro_batch: 1,
            memory_bytes: 0,
            peak_memory_bytes: None,
            seconds_to_first_step: 0.0,
            images_per_s: 1.0,
            rounds: vec![1.0],
            flops: 30e12,
            share_of_limit: None,
            operations: vec![operation],
            pytorch: Vec::new(),
            pytorch_failures: Vec::new(),
            earlier: None,
        }
    }

    #[test]
    fn a_limit_below_what_was_reached_is_found_out() {
        let limits = Limits { flops: 14e12, bytes: 1e9 };
        for (variant, flops, bytes, exceeds) in [
            (Some("tiled 128x64"), Some(48e12), 1e6, true),
            (Some("tiled 128x64/4"), Some(15e12), 1e6, false), // a moment's clock
            (Some("registers"), Some(48e12), 1e6, true),
            (Some("winograd4 tiled 64x64"), Some(48e12), 1e6, false), // does fewer than it is counted for
            (Some("half 128x128"), Some(48e12), 1e6, false),          // by other units than the limit's
            (None, None, 2e9, true),
            (None, None, 1e8, false),
            (None, Some(48e12), 1e6, false), // a processor's operations do not say how they are done
        ] {
            let mut measured = of_one(variant, flops, bytes);
            measured.hold_against(limits);
            assert_eq!(measured.exceeding().is_some(), exceeds, "{variant:?} {flops:?} {bytes}");
        }
        // What fits into a cache may be faster than memory.
        let mut measured = of_one(None, None, 1e8);
        measured.hold_against(Limits { bytes: 1e6, ..limits });
        assert!(measured.exceeding().is_none());
    }

    #[test]
    fn raised_limits_are_held_against_every_network() {
        let mut report: Benchmark = serde_json::from_value(serde_json::json!({
            "schema": SCHEMA, "version": "", "commit": "", "time": "", "mode": "train", "batch_size": 1,
            "device": Device::default(), "limits": { "flops": 10e12, "bytes": 4e9 }, "networks": [],
        }))
        .expect("a result of an earlier version");
        report.networks.push(of_one(Some("tiled 64x64"), Some(15e12), 1e9));
        report.raise(Limits { flops: 60e12, bytes: 2e9 });
        assert_eq!(report.limits, Some(Limits { flops: 60e12, bytes: 4e9 }));
        let network = &report.networks[0];
        assert_eq!(network.share_of_limit, Some(0.5));
        let operation = &network.operations[0];
        assert_eq!((operation.share_of_flops, operation.share_of_bytes), (Some(0.25), Some(0.25)));
    }
}
