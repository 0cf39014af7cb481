//! From an archive or folder to class folders, packs and a manifest; verification; the demo set.

pub mod annotations;
pub mod archive;
pub mod decode;
pub mod demo;
pub mod layout;
pub mod manifest;
pub mod pack;
pub mod pack_writer;
pub mod prepare;
pub mod source;
pub mod staging;
pub mod statistics;

pub use manifest::Manifest;
pub use pack::Pack;
