//! What to prepare, where, from what.

use std::path::PathBuf;

use crate::dataset::demo;
use crate::dataset::manifest::PrepareSettings;

/// What to prepare, where.
#[derive(Clone, Debug)]
pub struct Request {
    /// The data folder.
    pub data: PathBuf,
    /// From what.
    pub input: Input,
    /// Which images.
    pub settings: PrepareSettings,
    /// Prepare even if nothing changed, and replace folders that `prepare` did not write.
    pub force: bool,
    /// Worker threads; never changes a byte.
    pub threads: usize,
    /// No progress bar.
    pub quiet: bool,
}

/// From what to prepare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A zip or folder.
    Given(PathBuf),
    /// The one in the data folder; where there is none, the official archive is downloaded into it.
    Found {
        /// From where to download.
        url: String,
        /// What its MD5 must be, where it is not the official archive.
        md5: Option<String>,
    },
    /// The synthetic set, drawn first.
    Demo(demo::DemoSettings),
}
