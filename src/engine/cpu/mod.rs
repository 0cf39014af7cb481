//! The CPU engine. `reference` is the oracle of every test: plain loops. The other modules are the fast path.
//! Never imports wgpu.

mod activation;
mod buffer;
mod convolution;
mod engine;
mod gather;
mod layout;
mod linear;
mod local_response_norm;
mod loss;
mod matrix;
mod network;
mod optimizer;
mod pooling;
pub mod reference;
mod simd;

pub use engine::{CpuEngine, memory_of};
pub use layout::Memory;
pub use simd::InstructionSet;
