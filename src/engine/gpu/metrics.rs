//! Loss and hits of the steps that are still on their way: copied on the device into a ring of small buffers, mapped when
//! they are done, handed out in order. Nobody waits but whoever asks for all, or runs a whole ring ahead.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use wgpu::{BufferUsages, PollType, SubmissionIndex};

use super::plumbing::device::{Gpu, Slice};
use super::plumbing::dispatch::Copy;
use crate::engine::StepMetrics;
use crate::error::{Error, Kind, Result};

/// Steps under way at most: enough to keep a device busy, few enough that a signal is obeyed soon.
const RING: usize = 8;
/// Bytes of a step's metrics: loss summed over samples (f32), top-1, top-5, samples (u32).
const BYTES: u64 = 16;

/// Mapping has not answered yet, has worked, has failed.
const WAITING: u8 = 0;
const MAPPED: u8 = 1;
const FAILED: u8 = 2;

/// A step that was submitted.
struct Pending {
    step: u64,
    slot: usize,
    mapped: Arc<AtomicU8>,
    submission: SubmissionIndex,
}

/// See the module.
pub struct Metrics {
    /// The slots that the shaders write, `RING` of them.
    pub slots: Slice,
    staging: Vec<wgpu::Buffer>,
    pending: VecDeque<Pending>,
    ready: Vec<StepMetrics>,
    next: usize,
}

impl Metrics {
    /// An empty ring.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        let staging = gpu.scoped("metrics", || {
            (0..RING)
                .map(|_| {
                    gpu.device.create_buffer(&wgpu::BufferDescriptor {
                        label: Some("metrics read back"),
                        size: BYTES,
                        usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
                        mapped_at_creation: false,
                    })
                })
                .collect()
        })?;
        let slots = gpu.buffer("metrics", RING * 4)?;
        Ok(Self { slots, staging, pending: VecDeque::new(), ready: Vec::new(), next: 0 })
    }

    /// The slot of the next step. Waits for the oldest step where all are taken.
    pub fn slot(&mut self, gpu: &Gpu) -> Result<usize> {
        if self.pending.len() == RING
            && let Some(oldest) = self.pending.front()
        {
            gpu.wait(Some(oldest.submission.clone()))?;
            self.collect(gpu)?;
        }
        Ok(self.next)
    }

    /// What to copy after the step in `slot`.
    pub fn copy(&self, slot: usize) -> Copy<'_> {
        let from =
            Slice { buffer: self.slots.buffer.clone(), offset: self.slots.offset + slot as u64 * BYTES, bytes: BYTES };
        Copy { from, to: &self.staging[slot], offset: 0 }
    }

    /// Notes that `step` was submitted with `slot`.
    pub fn submitted(&mut self, step: u64, slot: usize, submission: SubmissionIndex) {
        let mapped = Arc::new(AtomicU8::new(WAITING));
        let answer = Arc::clone(&mapped);
        self.staging[slot].slice(..).map_async(wgpu::MapMode::Read, move |result| {
            answer.store(if result.is_ok() { MAPPED } else { FAILED }, Ordering::Release);
        });
        self.pending.push_back(Pending { step, slot, mapped, submission });
        self.next = (slot + 1) % RING;
    }

    /// Takes what has arrived.
    fn collect(&mut self, gpu: &Gpu) -> Result<()> {
        let lost = || Error::new(Kind::DeviceLost, "the metrics of a step did not come back from the device");
        while let Some(first) = self.pending.front() {
            match first.mapped.load(Ordering::Acquire) {
                MAPPED => {}
                FAILED => return Err(lost()),
                _ => break,
            }
            let (step, slot) = (first.step, first.slot);
            self.pending.pop_front();
            let bytes: [u8; BYTES as usize] =
                gpu.mapped(self.staging[slot].slice(..), |view| std::array::from_fn(|i| view[i]))?;
            self.staging[slot].unmap();
            let [loss, top1, top5, samples] = bytemuck::pod_read_unaligned::<[u32; 4]>(&bytes);
            let loss = f32::from_bits(loss) / samples.max(1) as f32;
            self.ready.push(StepMetrics { step, samples, loss, top1, top5 });
        }
        Ok(())
    }

    /// Takes those of a step that was waited for.
    pub fn arrived(&mut self, metrics: StepMetrics) {
        self.ready.push(metrics);
    }

    /// Metrics that are there, in order.
    pub fn poll(&mut self, gpu: &Gpu) -> Result<Vec<StepMetrics>> {
        let _ = gpu.poll(PollType::Poll);
        gpu.check()?;
        self.collect(gpu)?;
        Ok(std::mem::take(&mut self.ready))
    }

    /// Metrics of all steps so far, in order.
    pub fn drain(&mut self, gpu: &Gpu) -> Result<Vec<StepMetrics>> {
        gpu.wait(None)?;
        self.poll(gpu)
    }

    /// Forgets what is under way, after waiting for it.
    pub fn clear(&mut self, gpu: &Gpu) -> Result<()> {
        self.drain(gpu).map(drop)
    }
}
