//! Looking at memory of the device that is mapped to the host, while another thread asks the device whether it is done.
//!
//! wgpu frees the buffers of a lost device when it is next polled, mapped ones included and whether or not somebody looks at
//! them. So a device that is known to be lost is polled once nobody looks any more, and from then on nobody begins to.

use std::sync::PoisonError;

use wgpu::{BufferSlice, PollError, PollStatus, PollType};

use super::device::Gpu;
use super::readback::lost;
use crate::error::Result;

impl Gpu {
    /// Asks the device what is done, or waits for it. Every poll of ours goes through here; a submission polls too, but one to a
    /// device that is known to be lost is refused before that.
    pub fn poll(&self, how: PollType) -> std::result::Result<PollStatus, PollError> {
        if self.is_lost() {
            drop(self.looking.write().unwrap_or_else(PoisonError::into_inner));
        }
        self.device.poll(how)
    }

    /// Shows `look` the bytes of `slice`, which is mapped for reading. Errors: a lost device. `look` does not poll.
    pub fn mapped<R>(&self, slice: BufferSlice<'_>, look: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let _looking = self.looking.read().unwrap_or_else(PoisonError::into_inner);
        if self.is_lost() {
            return Err(lost());
        }
        let view = slice.get_mapped_range().map_err(|e| lost().with_source(e))?;
        Ok(look(&view))
    }

    /// Loses the device, as a test wants it.
    pub fn lose(&self) {
        self.note_loss("Destroyed");
        self.device.destroy();
    }
}
