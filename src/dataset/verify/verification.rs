//! The result of a verification, and the whole of `verify.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::dataset::finding::{Finding, Severity};
use crate::dataset::staging;
use crate::error::{Error, Result};
use crate::files;

/// The value of `schema`.
pub const SCHEMA: &str = "vggkit/verify/1";

/// The whole result, and the whole of `verify.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of vggkit that verified.
    pub vggkit: String,
    /// When, RFC 3339 in UTC.
    pub created: String,
    /// The data folder or source as it was given.
    pub data: String,
    /// "prepared", "zip" or "folder".
    #[serde(default)]
    pub kind: String,
    /// No error was found: training can rely on it.
    pub fit: bool,
    /// Drawn, not photographed.
    pub synthetic: bool,
    /// How long it took.
    pub seconds: f64,
    /// Number of classes.
    pub classes: usize,
    /// Image rows.
    pub height: usize,
    /// Image columns.
    pub width: usize,
    /// By split name.
    pub splits: BTreeMap<String, Counts>,
    /// What was found, errors first.
    pub findings: Vec<Finding>,
}

/// What a split holds, as counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Images that the manifest claims.
    pub claimed: usize,
    /// Images in the pack; `None` where it cannot be opened.
    pub packed: Option<usize>,
    /// Image files in the class folders; `None` where none were written.
    pub files: Option<usize>,
    /// Files that decode; `None` where none were written.
    pub decoded: Option<usize>,
    /// Files with one component.
    pub greyscale: Option<usize>,
    /// Images with a box.
    pub boxes: usize,
    /// Images of the smallest class; `None` without labels.
    pub smallest_class: Option<usize>,
    /// Images of the largest class; `None` without labels.
    pub largest_class: Option<usize>,
    /// Images of the official split; 0 where the classes are not ImageNet's.
    pub official: usize,
}

impl Verification {
    /// `<data>/verify.json`.
    pub fn path(data: &Path) -> PathBuf {
        staging::verification(data)
    }

    /// Writes `<data>/verify.json`. Errors: a file of that name that vggkit did not write, which is kept.
    pub fn write(&self, data: &Path) -> Result<()> {
        let path = Self::path(data);
        if path.exists() && !staging::is_verification(data) {
            let message =
                "was not written by vggkit, so it is kept and the result is not: move it away and verify again";
            return Err(Error::data(&path, message));
        }
        files::write_json(&path, self)
    }

    /// The last verification of a data folder.
    pub fn load(data: &Path) -> Result<Self> {
        files::read_json(&Self::path(data))
    }

    /// Number of findings of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity == severity).count()
    }
}
