//! vggkit trains the VGG networks of Simonyan & Zisserman (arXiv 1409.1556) on Tiny ImageNet.
//!
//! The modules stand in the order in which data flows through them; `ARCHITECTURE.md` has the map.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))] // file operations go through files::fs

pub mod build_info;
pub mod cache;
pub mod error;
pub mod files;
pub mod progress;
pub mod shell;
pub mod trace;

pub mod dataset;
pub mod vgg;

pub mod engine;
pub mod engines;

pub mod distributed;

pub mod bench;
pub mod training;

pub mod inference;

pub mod export;

pub mod report;

pub mod cli;

#[cfg(test)]
mod test_support;
