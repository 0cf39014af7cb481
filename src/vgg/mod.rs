//! The networks: Table 1 of the paper as data, the plan of one network, its first weights, and weight files.
//!
//! Nothing here computes; `engine` executes a plan.

pub mod freeze;
pub mod initialisation;
mod name;
pub mod network;
pub mod operation;
pub mod plan;
pub mod table;
pub mod transfer;
pub mod weights;

pub use freeze::Freeze;
pub use network::{Head, Network};
pub use operation::Operation;
pub use plan::{Layer, Plan, Shape};
pub use table::{Configuration, Convolution};
