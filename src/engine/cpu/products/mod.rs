//! Convolutions and the matrix products below them.
//!
//! `convolution` chooses between `winograd` (minimal filtering, 3x3) and `direct`; `product` and `matrix` multiply, `shape` says what a
//! convolution is given. A weight gradient has a file of its own beside each.
//!
//! To add a way: a file beside `direct`, which `convolution` chooses by shape alone; `tests.rs` here compares it with
//! `reference/convolution.rs`.

pub mod convolution;
pub mod direct;
pub mod direct_gradient;
pub mod matrix;
pub mod product;
pub mod shape;
pub mod winograd;
pub mod winograd_gradient;
pub mod winograd_lines;
pub mod winograd_prepared;
pub mod winograd_tiles;
pub mod winograd_transforms;

#[cfg(test)]
mod tests;
