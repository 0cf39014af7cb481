//! From an archive or folder to class folders, packs and a manifest; verification; the demo set.

pub mod manifest;
pub mod pack;
pub mod pack_writer;

pub use manifest::Manifest;
pub use pack::Pack;
