//! Where a page is made from.

use std::path::PathBuf;

/// Where to look.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Folder of the runs.
    pub runs: PathBuf,
    /// Folder of the data set.
    pub data: PathBuf,
    /// The table that `vggkit predict` wrote.
    pub predictions: PathBuf,
}
