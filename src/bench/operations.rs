//! What each operation of a step reached, beside the device's limits, and whether those can be believed. A GPU's operations
//! are timed here, by its own clock; the CPU engine has clocks of its own.

use serde::{Deserialize, Serialize};

use super::{Measured, Mode};
use crate::engine::Limits;
use crate::engine::gpu::GpuEngine;
use crate::engine::gpu::profile::{self, Span};
use crate::error::Result;

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

/// Time of every operation of one step. Calls with the same name are one operation: a variant may take several.
pub fn of_gpu(engine: &GpuEngine, mode: Mode) -> Result<Vec<Operation>> {
    let network = engine.network();
    let samples = engine.micro_batch();
    let calls = network.calls(mode == Mode::Train);
    profile::spans(engine.gpu(), &calls, samples)?; // the clock of a card rises with work
    let gathered = gather(profile::spans(engine.gpu(), &calls, samples)?);
    let whole: f64 = gathered.iter().map(|(operation, _)| operation.seconds).sum();
    Ok(gathered
        .into_iter()
        .map(|(mut operation, bytes)| {
            operation.rate(whole, flops(engine, &operation), bytes);
            operation
        })
        .collect())
}

/// The least time of every operation of one step on a card with these limits, and the bytes that it moves: counted from what
/// the engine has recorded, each buffer that a call binds once. Runs nothing.
pub fn predicted(engine: &GpuEngine, mode: Mode, limits: Limits) -> Vec<(Operation, f64)> {
    let calls = engine.network().calls(mode == Mode::Train);
    let spans = calls.into_iter().map(|call| Span { label: call.label.clone(), seconds: 0.0, bytes: call.bytes });
    let mut gathered = gather(spans.collect());
    for (operation, bytes) in &mut gathered {
        operation.seconds = (*bytes / limits.bytes).max(flops(engine, operation).unwrap_or(0.0) / limits.flops);
    }
    let whole: f64 = gathered.iter().map(|(operation, _)| operation.seconds).sum();
    for (operation, bytes) in &mut gathered {
        operation.rate(whole, flops(engine, operation), *bytes);
    }
    gathered
}

/// What `operation` does, counted as a direct convolution.
fn flops(engine: &GpuEngine, operation: &Operation) -> Option<f64> {
    engine.network().flops(&operation.name).map(|flops| (flops as usize * engine.micro_batch()) as f64)
}

/// Operations with their bytes: calls of one name are one operation.
fn gather(spans: Vec<Span>) -> Vec<(Operation, f64)> {
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
    operations
}

impl Operation {
    pub(super) fn new(name: String, variant: Option<String>, seconds: f64) -> Self {
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
    pub(super) fn rate(&mut self, whole: f64, flops: Option<f64>, bytes: f64) {
        let seconds = self.seconds.max(1e-12);
        self.share_of_step = seconds / whole.max(1e-12);
        self.flops = flops.map(|flops| flops / seconds);
        self.bytes_per_s = bytes / seconds;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Benchmark, SCHEMA};
    use super::*;
    use crate::engine::Device;
    use crate::vgg::Network;

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
