//! Plain loops for every operation, one file each: the oracle that every faster engine is tested against.
//!
//! Generic over [`Real`] (f32 and f64). Activations are NHWC; weights have torchvision's layout (convolution OIHW,
//! linear [out, in]). Nothing here is fast, nothing runs in parallel, and nothing checks lengths beyond what slices do:
//! the plan fixes them.
//!
//! **To add an operation X**: `X.rs` with its forward and backward loops, its case in `finite_differences.rs`, and its call in `network.rs`.

use std::fmt::Debug;

use num_traits::{Float, NumAssign};

pub mod average;
pub mod average_pool;
pub mod batch_norm;
pub mod convolution;
pub mod cross_entropy;
pub mod dropout;
pub mod engine;
pub mod gather;
pub mod gradient_norm;
pub mod linear;
pub mod local_response_normalisation;
pub mod loss_scaling;
pub mod max_pool;
pub mod network;
pub mod optimizer;
pub mod relu;

pub use engine::ReferenceEngine;

/// The numbers that the reference computes with: f32 or f64.
pub trait Real: Float + NumAssign + Debug + Send + Sync + 'static {
    /// Rounds to this type.
    fn of(value: f64) -> Self;
    /// Rounds to f32.
    fn narrow(self) -> f32;
    /// Exactly, for sums over many numbers.
    fn wide(self) -> f64;
}

impl Real for f32 {
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what it is for")]
    fn of(value: f64) -> Self {
        value as Self
    }
    fn narrow(self) -> f32 {
        self
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn narrow(self) -> f32 {
        <f32 as Real>::of(self)
    }
    fn wide(self) -> f64 {
        self
    }
}

/// Factors as a product in half precision takes them: rounded to the nearest f16, ties to even, beyond 65504 to infinity.
/// Two of them make a product that f32 holds exactly.
pub fn to_half<T: Real>(factors: &[T]) -> Vec<T> {
    factors.iter().map(|v| T::of(half::f16::from_f32(v.narrow()).to_f64())).collect()
}

/// A count as a number.
fn count<T: Real>(n: usize) -> T {
    T::of(n as f64)
}

#[cfg(test)]
mod finite_differences;
