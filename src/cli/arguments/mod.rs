//! What several commands are told in the same words, and how words become settings.
//!
//! `legacy` rewrites the replaced project's spellings before clap sees them, `config` puts what a file or a recipe says ahead of the
//! flags, `values` parses single values; `network`, `recipe`, `augment`, `run` and `train` are clap types.
//!
//! To add a flag of a training: the top of `training/settings.rs` says it.

pub mod augment;
pub mod config;
pub mod given;
pub mod legacy;
pub mod network;
pub mod recipe;
pub mod recipe_name;
pub mod run;
pub mod shared;
pub mod splits;
pub mod switches;
pub mod train;
pub mod values;
