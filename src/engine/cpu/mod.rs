//! The CPU engine. `reference` is the oracle of every test: plain loops. The other modules are the fast path.
//! Never imports wgpu.

mod activation;
mod activation_kernels;
mod average;
mod average_pool;
mod buffer;
mod convolution;
mod cross_entropy;
mod direct;
mod direct_gradient;
mod engine;
mod gather;
mod gradient_norm;
mod lanes;
mod layout;
pub mod limits;
mod linear;
mod local_response_normalisation;
mod matrix;
mod max_pool;
mod network;
mod optimizer;
mod product;
pub mod reference;
mod shape;
mod simd;
mod winograd;
mod winograd_gradient;
mod winograd_lines;
mod winograd_prepared;
mod winograd_tiles;
mod winograd_transforms;

#[cfg(test)]
mod convolution_tests;
#[cfg(test)]
mod tests;

pub use engine::{CpuEngine, memory_of};
pub use layout::Memory;
pub use simd::InstructionSet;
