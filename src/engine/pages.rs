//! Large vectors in large pages.
//!
//! Walking megabytes of strided data through pages of 4 KiB costs more in address translation than in arithmetic, and Linux gives
//! large pages to those who ask.

/// Bytes of the pages that Linux is asked for where a buffer fills several.
pub const HUGE_PAGE: usize = 2 << 20;

/// An empty vector with room for `len` numbers.
pub fn vector(len: usize) -> Vec<f32> {
    let vector = Vec::with_capacity(len);
    #[cfg(target_os = "linux")]
    advise(&vector);
    vector
}

/// Asks for large pages in what is allocated of `vector`, before anything is written there.
#[cfg(target_os = "linux")]
fn advise(vector: &Vec<f32>) {
    let start = (vector.as_ptr() as usize).next_multiple_of(HUGE_PAGE);
    let end = (vector.as_ptr() as usize + vector.capacity() * size_of::<f32>()) / HUGE_PAGE * HUGE_PAGE;
    if end > start {
        // SAFETY: the pages lie within the vector's own allocation, and the advice leaves their contents as they are. A kernel
        // without large pages refuses: small ones hold the same.
        let _ = unsafe { rustix::mm::madvise(start as *mut _, end - start, rustix::mm::Advice::LinuxHugepage) };
    }
}
