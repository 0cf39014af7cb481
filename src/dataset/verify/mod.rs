//! Is a data set what it claims to be, and what is in it? Prepared data: packs against checksums, class folders against
//! packs. A zip or folder that is yet to be prepared: lists against images. Of both every image is decoded, and compared
//! with all others.
//!
//! Reads everything, changes nothing; whoever calls writes `verify.json`. Prepared data is not compared with its source,
//! which may be gone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::decode::Size;
use super::finding::Findings;
pub use super::finding::{Finding, Severity};
use super::staging;
use crate::error::{Error, Result};
use crate::files;

mod duplicates;
mod folders;
mod look;
pub mod near;
mod official;
mod packs;
mod prepared;
mod quality;
mod raw;

use look::Look;

/// The value of `schema`.
pub const SCHEMA: &str = "vggkit/verify/1";

/// What to verify, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to verify.
    pub target: Target,
    /// Look for near duplicates up to this many bits of distance, at most [`near::MOST`].
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

/// What a look at all images gave, to be compared.
struct Seen<'a> {
    looks: Vec<Look>,
    size: Size,
    pixels: Box<duplicates::Pixels<'a>>,
}

/// Verifies a data set. What is wrong with it is a finding; an error is only what leaves nothing to look at: nothing
/// there, a data folder that was never prepared, or one that was prepared anew meanwhile.
pub fn verify(request: &Request) -> Result<Verification> {
    let begun = Instant::now();
    let (Target::Prepared(path) | Target::Source(path)) = &request.target;
    let mut result = Verification {
        schema: SCHEMA.into(),
        vggkit: env!("CARGO_PKG_VERSION").into(),
        created: files::now(),
        data: path.display().to_string(),
        ..Verification::default()
    };
    let mut findings = Findings::default();
    super::workers(request.threads)?.install(|| {
        match &request.target {
            Target::Prepared(data) => {
                if let Some(prepared) = prepared::open(data, &mut findings)? {
                    let seen = prepared.check(request, &mut result, &mut findings);
                    compare(&seen, request, &mut findings);
                    prepared.still_there()?;
                }
            }
            Target::Source(path) => {
                if let Some(raw) = raw::open(path, &mut findings)? {
                    let seen = raw.check(request, &mut result, &mut findings);
                    compare(&seen, request, &mut findings);
                }
            }
        }
        Ok(())
    })?;
    findings.0.sort_by_key(|f| f.severity); // stable: in the order of the checks
    result.findings = findings.0;
    if result.findings.iter().any(|finding| finding.code == "own-images") {
        result.splits.values_mut().for_each(|counts| counts.official = 0);
    }
    result.fit = result.count(Severity::Error) == 0;
    result.seconds = begun.elapsed().as_secs_f64();
    Ok(result)
}

fn compare(seen: &Seen, request: &Request, findings: &mut Findings) {
    let groups = duplicates::check(&seen.looks, &*seen.pixels, findings);
    if let Some(most) = request.near {
        near::check(&seen.looks, &groups, (most.min(near::MOST), seen.size), &*seen.pixels, findings);
    }
    quality::check(&seen.looks, findings);
}
