//! From an archive or folder to class folders, packs and a manifest; verification; the demo set.
//!
//! **To add a layout that people have**: `layout/reader.rs` and `layout/splits.rs`, and a case in `tests/prepare/sources/`.

pub mod annotations;
pub mod archive;
pub mod choice;
pub mod classes;
mod connection;
pub mod decode;
pub mod demo;
pub mod download;
pub mod finding;
mod fingerprint;
pub mod identity;
pub mod inventory;
pub mod layout;
pub mod manifest;
pub mod names;
pub mod pack;
pub mod pack_writer;
pub mod prepare;
mod prepare_command;
pub mod root;
mod sniff;
pub mod source;
pub mod staging;
pub mod statistics;
pub mod verify;

pub use identity::Identity;
pub use manifest::Manifest;
pub use pack::Pack;

use crate::error::{Error, Result};

/// A pool of `threads` workers for one command.
pub fn workers(threads: usize) -> Result<rayon::ThreadPool> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|e| Error::threads(threads, e))
}
