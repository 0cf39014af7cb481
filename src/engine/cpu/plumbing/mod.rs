//! Memory for all threads and vector instructions: `buffer`, `lanes`, `simd`. Knows no operation.

pub mod buffer;
pub mod lanes;
pub mod simd;
