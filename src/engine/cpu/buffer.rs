//! Memory of the engine: cache-line aligned buffers of f32, scratch for each thread, and one slice shared by tasks
//! that write disjoint parts of it.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use bytemuck::{Pod, Zeroable};

use crate::error::{Error, Kind, Result};

/// A cache line; gives [`Buffer`] its alignment.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// A zeroed, 64-byte aligned slice of f32 of fixed length.
#[derive(Default)]
pub struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    /// Errors: the system has no memory left.
    pub fn new(len: usize) -> Result<Self> {
        let mut lines: Vec<Line> = Vec::new();
        lines.try_reserve_exact(len.div_ceil(16)).map_err(|e| {
            Error::new(Kind::Engine, format!("cannot allocate {} bytes", len * 4))
                .with_source(e)
                .with_help("choose a smaller batch size")
        })?;
        lines.resize(len.div_ceil(16), Line::zeroed());
        Ok(Self { lines, len })
    }

    /// Bytes that a buffer of `len` floats takes.
    pub fn bytes(len: usize) -> u64 {
        (len.div_ceil(16) * size_of::<Line>()) as u64
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

/// A buffer for each worker thread. Tasks overwrite what they read, so that it never matters which one they get.
pub struct Scratch {
    buffers: Vec<Mutex<Buffer>>,
}

impl Scratch {
    /// `threads` buffers of `len` floats. Errors: no memory left.
    pub fn new(threads: usize, len: usize) -> Result<Self> {
        let buffers = (0..threads.max(1)).map(|_| Buffer::new(len).map(Mutex::new)).collect::<Result<_>>()?;
        Ok(Self { buffers })
    }

    /// Runs `task` with the calling worker's buffer. Calls must not be nested.
    pub fn with<R>(&self, task: impl FnOnce(&mut [f32]) -> R) -> R {
        let worker = rayon::current_thread_index().unwrap_or(0) % self.buffers.len();
        let mut buffer = self.buffers[worker].lock().unwrap_or_else(PoisonError::into_inner);
        task(&mut buffer)
    }
}

/// A mutable slice that several tasks write at once, each its own part.
pub struct Shared<'a> {
    start: *mut f32,
    len: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is only a pointer to memory borrowed mutably for 'a; every access through it is unsafe and its caller
// promises that no two tasks touch the same element.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Shares `slice` for as long as it is borrowed.
    pub fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), lifetime: PhantomData }
    }

    /// Where element `index` lies, which may be one past the last. Kernels write through it; what they promise each
    /// other is that no two tasks touch the same element.
    pub fn at(&self, index: usize) -> *mut f32 {
        assert!(index <= self.len, "{index} of {}", self.len);
        // SAFETY: within the slice or one past it.
        unsafe { self.start.add(index) }
    }

    /// Its length.
    pub fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_zeroed_and_exact() -> Result<()> {
        for len in [0, 1, 15, 16, 17, 1000] {
            let buffer = Buffer::new(len)?;
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|v| *v == 0.0));
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
        }
        assert_eq!(Buffer::bytes(17), 128);
        Ok(())
    }

    #[test]
    fn impossible_sizes_are_an_error() {
        let error = Buffer::new(usize::MAX / 8).err().map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.contains("cannot allocate")));
    }
}
