//! The CPU engine. `reference` is the oracle of every test: plain loops. The other modules are the fast path.
//! Never imports wgpu.

pub mod reference;
