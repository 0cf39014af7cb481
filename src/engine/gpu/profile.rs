//! Where the time of a training step or of an inference goes, call by call, by the device's own clock.

use super::plumbing::device::Gpu;
use super::plumbing::dispatch::Dispatch;
use crate::error::{Error, Kind, Result};

/// One call's share.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The call's label.
    pub label: String,
    /// By timestamps on the device.
    pub seconds: f64,
    /// Of the buffers that it binds.
    pub bytes: u64,
}

/// Queries in a set, at most.
const MOST: usize = 4096;

/// Runs `calls` once for `samples` samples, each in a pass of its own between two timestamps.
/// Errors: an adapter without timestamps.
pub fn spans(gpu: &Gpu, calls: &[&Dispatch], samples: usize) -> Result<Vec<Span>> {
    if !gpu.features.contains(wgpu::Features::TIMESTAMP_QUERY) {
        return Err(Error::new(Kind::Engine, format!("{} has no timestamp queries", gpu.found.info.name))
            .with_help("without them there are no times by operation: give --no-layers"));
    }
    let mut spans = Vec::new();
    for calls in calls.chunks(MOST / 2) {
        let count = 2 * calls.len() as u32;
        let queries = gpu.scoped("timestamps", || {
            gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count,
            })
        })?;
        let resolved = gpu.scoped("timestamps", || {
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: u64::from(count) * 8,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            })
        })?;
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (index, call) in calls.iter().enumerate() {
            let first = 2 * index as u32;
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &queries,
                    beginning_of_pass_write_index: Some(first),
                    end_of_pass_write_index: Some(first + 1),
                }),
            });
            call.encode(&mut pass, samples);
        }
        encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
        gpu.wait(Some(gpu.queue.submit([encoder.finish()])))?;
        let slice = super::Slice { buffer: resolved, offset: 0, bytes: u64::from(count) * 8 };
        let ticks: Vec<u64> = gpu.read(&slice)?;
        let period = f64::from(gpu.queue.get_timestamp_period()) * 1e-9;
        spans.extend(calls.iter().zip(ticks.chunks_exact(2)).map(|(call, ticks)| Span {
            label: call.label.clone(),
            seconds: ticks[1].saturating_sub(ticks[0]) as f64 * period,
            bytes: call.bytes,
        }));
    }
    Ok(spans)
}
