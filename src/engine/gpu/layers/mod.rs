//! The operations that are no matrix product: one file each, with the stem of its shader in `shaders/layers/`, of its comparison in
//! `selftest/` and of its twin in `engine/cpu/reference/`. `chunks` says how sums over pixels are cut.
//!
//! To add a layer X: `shaders/layers/X.wgsl`, `X.rs` here with its calls, `selftest/X.rs`, which compares them with the twin at awkward
//! sizes; then `record.rs` runs it in a step.

pub mod average;
pub mod average_pool;
pub mod batch_norm;
pub mod chunks;
pub mod cross_entropy;
pub mod dropout;
pub mod gather;
pub mod gradient_norm;
pub mod local_response_normalisation;
pub mod loss_scaling;
pub mod max_pool;
pub mod optimizer;
pub mod relu;
