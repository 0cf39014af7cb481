//! Ranges of the device copied to the host without waiting: by copies in a submission, to buffers that are mapped once
//! they have arrived and used again afterwards.

use std::borrow::Cow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use wgpu::{BufferUsages, MapMode, PollType, SubmissionIndex};

use super::device::{Gpu, Slice};
use super::dispatch::Copy;
use crate::error::{Error, Kind, Result};

/// How often a thread that does not submit asks the device whether something has arrived.
const ASK_EVERY: Duration = Duration::from_millis(2);

/// Buffers of the host's memory, one a range.
pub struct Staging(Vec<wgpu::Buffer>);

/// Ranges on their way.
pub struct Readback {
    staging: Staging,
    submission: SubmissionIndex,
    arrived: Receiver<bool>,
    /// Bytes of each range that is under way.
    bytes: Vec<u64>,
}

/// The error of what does not arrive.
pub(super) fn lost() -> Error {
    Error::new(Kind::DeviceLost, "what was read back did not come from the device")
}

impl Staging {
    /// Room for `slices`. Errors: no memory.
    pub fn new(gpu: &Gpu, slices: &[Slice]) -> Result<Self> {
        let make = |slice: &Slice| {
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("read back"),
                size: slice.bytes,
                usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        gpu.scoped("reading back", || Self(slices.iter().map(make).collect()))
    }

    /// Whether there is room for `slices`.
    pub fn holds(&self, slices: &[Slice]) -> bool {
        slices.len() <= self.0.len() && self.0.iter().zip(slices).all(|(buffer, slice)| slice.bytes <= buffer.size())
    }

    /// What a submission has to copy.
    pub fn copies(&self, slices: &[Slice]) -> Vec<Copy<'_>> {
        self.0.iter().zip(slices).map(|(to, from)| Copy { from: from.clone(), to, offset: 0 }).collect()
    }

    /// Maps what `submission` copies of `slices` when it has arrived.
    pub fn submitted(self, slices: &[Slice], submission: SubmissionIndex) -> Readback {
        let (sender, arrived) = channel();
        let bytes: Vec<u64> = slices.iter().map(|slice| slice.bytes).collect();
        for (buffer, bytes) in self.0.iter().zip(&bytes) {
            let sender = sender.clone();
            buffer.slice(..*bytes).map_async(MapMode::Read, move |result| {
                let _ = sender.send(result.is_ok()); // nobody may wait for it any more
            });
        }
        Readback { staging: self, submission, arrived, bytes }
    }
}

impl Readback {
    /// Waits for all of it. Errors: a lost device, a driver that does not answer.
    pub fn wait(&self, gpu: &Gpu) -> Result<()> {
        gpu.wait(Some(self.submission.clone()))?;
        self.wait_aside(gpu)
    }

    /// The same on a thread of its own: it only looks now and then, so that no submission waits for it.
    pub fn wait_aside(&self, gpu: &Gpu) -> Result<()> {
        let (started, patience) = (Instant::now(), gpu.patience());
        let mut left = self.bytes.len();
        while left > 0 {
            match self.arrived.recv_timeout(ASK_EVERY) {
                Ok(true) => left -= 1,
                Err(RecvTimeoutError::Timeout) if started.elapsed() < patience => {
                    let _ = gpu.poll(PollType::Poll); // a lost device answers through the mapping
                }
                Err(RecvTimeoutError::Timeout) => return Err(gpu.hangs(patience)),
                Ok(false) | Err(RecvTimeoutError::Disconnected) => {
                    gpu.check()?;
                    return Err(lost());
                }
            }
        }
        Ok(())
    }

    /// How many ranges there are.
    pub fn ranges(&self) -> usize {
        self.bytes.len()
    }

    /// Shows `look` the numbers of range `index`, after a wait. Errors: a lost device.
    pub fn look<R>(&self, gpu: &Gpu, index: usize, look: impl FnOnce(&[f32]) -> R) -> Result<R> {
        gpu.mapped(self.staging.0[index].slice(..self.bytes[index]), |view| {
            // Nothing says that a mapping is aligned for numbers, but it is.
            let numbers = bytemuck::try_cast_slice(view)
                .map_or_else(|_| Cow::Owned(bytemuck::pod_collect_to_vec(view)), Cow::Borrowed);
            look(&numbers)
        })
    }

    /// The buffers, to be used again.
    pub fn done(self) -> Staging {
        self.staging.0.iter().take(self.bytes.len()).for_each(wgpu::Buffer::unmap);
        self.staging
    }
}
