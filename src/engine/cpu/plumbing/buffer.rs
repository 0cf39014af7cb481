//! Memory of the engine: page-aligned buffers of f32, scratch for each thread, and one slice shared by tasks
//! that write disjoint parts of it.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use memmap2::MmapMut;
use rayon::prelude::*;

use crate::engine::pages::HUGE_PAGE;
use crate::error::{Error, Kind, Result};

/// A zeroed slice of f32 of fixed length, aligned to pages.
#[derive(Default)]
pub struct Buffer {
    map: Option<MmapMut>,
    /// Floats ahead of the first huge page's border.
    skipped: usize,
    len: usize,
}

impl Buffer {
    /// Errors: the system has no memory left.
    pub fn new(len: usize) -> Result<Self> {
        if len == 0 {
            return Ok(Self::default());
        }
        let failed = |e: std::io::Error| {
            Error::new(Kind::Engine, format!("cannot allocate {len} numbers of 4 bytes"))
                .with_source(e)
                .with_help("choose a smaller batch size")
        };
        let huge = len >= 2 * HUGE_PAGE / size_of::<f32>();
        let extra = if huge { HUGE_PAGE } else { 0 };
        let bytes = len.checked_mul(size_of::<f32>()).and_then(|bytes| bytes.checked_add(extra));
        let bytes = bytes.ok_or_else(|| failed(std::io::ErrorKind::OutOfMemory.into()))?;
        let map = MmapMut::map_anon(bytes).map_err(failed)?;
        let mut skipped = 0;
        if huge {
            skipped = (map.as_ptr() as usize).wrapping_neg() % HUGE_PAGE / size_of::<f32>();
            #[cfg(target_os = "linux")]
            // A kernel without huge pages refuses: small ones compute the same.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Ok(Self { map: Some(map), skipped, len })
    }

    /// Makes every value zero, by all threads of the pool: the first write to a new buffer is where the system finds its
    /// pages, which can take longer than a step, the more so where one thread waits for all of them.
    pub fn zero(&mut self) {
        self.par_chunks_mut(HUGE_PAGE / size_of::<f32>()).for_each(|part| part.fill(0.0));
    }

    /// Bytes from the map's start to the last float.
    fn end(&self) -> usize {
        (self.skipped + self.len) * size_of::<f32>()
    }

    /// Bytes that a buffer of `len` floats takes.
    pub fn bytes(len: usize) -> u64 {
        (len as u64).saturating_mul(size_of::<f32>() as u64)
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match &self.map {
            Some(map) => &bytemuck::cast_slice(&map[..self.end()])[self.skipped..],
            None => &[],
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        let (end, skipped) = (self.end(), self.skipped);
        match &mut self.map {
            Some(map) => &mut bytemuck::cast_slice_mut(&mut map[..end])[skipped..],
            None => &mut [],
        }
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
        for len in [0, 1, 15, 16, 17, 1000, 1 << 20, (1 << 20) + 5] {
            let mut buffer = Buffer::new(len)?;
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|v| *v == 0.0));
            buffer.fill(1.0);
            buffer.zero();
            assert!(buffer.iter().all(|v| *v == 0.0));
            assert!(
                len == 0 || (buffer.as_ptr() as usize).is_multiple_of(if len < 1 << 20 { 4096 } else { HUGE_PAGE })
            );
        }
        assert_eq!(Buffer::bytes(17), 68);
        Ok(())
    }

    #[test]
    fn impossible_sizes_are_an_error() {
        let error = Buffer::new(usize::MAX / 8).err().map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.contains("cannot allocate")));
    }
}
