//! The CPU engine. `reference` is the oracle of every test: plain loops. The others are the fast path: `layout` plans without
//! memory, `network` runs it over `products` and `layers` above `plumbing`, `engine` is the contract, `limits` measures.
//! Never imports wgpu.

mod backward;
mod engine;
mod forward;
mod gradients;
mod layers;
mod layout;
pub mod limits;
mod network;
mod plumbing;
mod products;
pub mod reference;
mod samples;

#[cfg(test)]
mod tests;

pub use engine::{CpuEngine, memory_of};
pub use plumbing::simd::InstructionSet;
