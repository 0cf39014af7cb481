//! Engines through the contract that the trainer uses: against each other, the reference and PyTorch, from a kernel to whole
//! trainings. What needs a GPU runs on a software adapter and fails without one; it does not skip.
#![allow(missing_docs, reason = "a test")]

mod common;
mod cpu;
mod golden;
mod gpu;
mod gpu_failures;
mod gpu_kernels;
mod gpu_micro_batches;
mod gpu_precision;
mod micro_batches;
mod steps;
mod updates;
