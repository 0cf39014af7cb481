//! What the workers of one preparation share.

use super::request::Request;
use crate::dataset::decode::Size;
use crate::dataset::source::Source;
use crate::dataset::staging::Staging;

/// What all workers share.
pub struct Work<'a> {
    pub request: &'a Request,
    pub staging: &'a Staging,
    pub source: &'a Source,
    pub size: Size,
    /// Class folders are made beside the packs.
    pub write_folders: bool,
}
