//! Convolutions and linear layers: everything that is a matrix product, and the ways there are to compute one.
//!
//! `operands` says what a pass is given and `variant` lists the ways. `convolution` computes by products, `winograd` by minimal
//! filtering; `product` is the form that both share, `product_half` that with f16 factors, `reduce` adds up what was split.
//!
//! To add a way: its name in `variant` (it goes into checkpoints), its form in `product`, `product_half` or `winograd`, its text in
//! `shaders/products/`. `selftest/convolution.rs` compares every variant that is listed, and `tuning` measures it.

pub mod convolution;
pub mod operands;
pub mod product;
pub mod product_half;
pub mod reduce;
pub mod variant;
pub mod winograd;
