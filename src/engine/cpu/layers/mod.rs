//! Every other operation, one file each with the stem of its twin in `reference/`: `activation` alone is several at once (batch
//! normalisation, ReLU and the pooling after them, on the rows of `activation_kernels`), and dropout is in `linear`.
//!
//! To add a layer X: `X.rs` here and in `reference/`, compared in `tests.rs` of the engine; then `network.rs` runs it in a step.

pub mod activation;
pub mod activation_kernels;
pub mod average;
pub mod average_pool;
pub mod cross_entropy;
pub mod gather;
pub mod gradient_norm;
pub mod linear;
pub mod local_response_normalisation;
pub mod max_pool;
pub mod optimizer;
