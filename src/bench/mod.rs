//! How fast an engine is: images per second, and the time of every operation beside the device's limits.
//! [`rounds`] measures, [`cost`] tells what an operation has to do and [`operations`] what each of a GPU takes, [`result`] is what came of
//! it, [`comparison`] sets that beside an earlier one, [`pytorch`] measures the same network in PyTorch, [`memory`] what the whole
//! process takes; [`ranks`] how training grows with processes, [`link`] what lies between these, and [`model`] predicts what many
//! workers would reach.

pub mod comparison;
pub mod cost;
pub mod link;
mod median;
pub mod memory;
mod mode;
pub mod model;
mod operation;
pub mod operations;
pub mod pytorch;
pub mod ranks;
pub mod result;
pub mod rounds;

pub use median::median;
pub use mode::Mode;
pub use operation::Operation;
pub use result::{Benchmark, Comparison, Measured, SCHEMA};
pub use rounds::Rounds;
