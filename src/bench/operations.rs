//! The operations of a GPU's step, timed by its own clock, or what they will take at least. The CPU engine has clocks of its
//! own.

use super::mode::Mode;
use super::operation::Operation;
use crate::engine::Limits;
use crate::engine::gpu::GpuEngine;
use crate::engine::gpu::profile::{self, Span};
use crate::error::Result;

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
