//! What to verify, and how.

use std::path::PathBuf;

/// What to verify, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to verify.
    pub target: Target,
    /// Look for near duplicates up to this many bits of distance, at most [`near::MOST`](super::near::MOST).
    pub near: Option<u32>,
    /// Worker threads; never changes a finding.
    pub threads: usize,
    /// No progress bar.
    pub quiet: bool,
}

/// What to verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A data folder that `prepare` wrote.
    Prepared(PathBuf),
    /// A zip or folder that `prepare` could read.
    Source(PathBuf),
}
