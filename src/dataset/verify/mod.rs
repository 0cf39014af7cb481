//! Is a prepared data folder what its manifest claims? Packs against checksums, class folders against packs, every
//! image decoded. Reads everything, changes nothing but `verify.json`.
//!
//! Does not compare with the source, which may be gone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::finding::Findings;
pub use super::finding::{Finding, Severity};
use super::manifest::{self, Manifest};
use crate::error::{Error, Kind, Result};
use crate::{files, progress};

mod folders;
mod packs;

/// The value of `schema`.
pub const SCHEMA: &str = "vggkit/verify/1";
/// Number of classes of the official archive.
const OFFICIAL_CLASSES: usize = 200;

/// The whole result, and the whole of `verify.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of vggkit that verified.
    pub vggkit: String,
    /// When, RFC 3339 in UTC.
    pub created: String,
    /// The data folder as it was given.
    pub data: String,
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
    /// Images of the official split.
    pub official: usize,
}

impl Verification {
    /// `<data>/verify.json`.
    pub fn path(data: &Path) -> PathBuf {
        data.join("verify.json")
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

/// Verifies a prepared data folder. What is wrong with the data is a finding; an error is only what leaves nothing to
/// look at: no folder, or one that was never prepared.
pub fn verify(data: &Path, threads: usize, quiet: bool) -> Result<Verification> {
    let begun = Instant::now();
    let mut result = Verification {
        schema: SCHEMA.into(),
        vggkit: env!("CARGO_PKG_VERSION").into(),
        created: files::now(),
        data: data.display().to_string(),
        ..Verification::default()
    };
    let mut findings = Findings::default();
    match load(data) {
        Ok(manifest) => {
            result.synthetic = manifest.synthetic;
            result.classes = manifest.classes.len();
            (result.height, result.width) = (manifest.height, manifest.width);
            let total: usize = manifest.splits.values().map(|s| s.images).sum();
            let bar = progress::bar("verifying", total as u64, "images", quiet);
            super::workers(threads)?.install(|| {
                for name in manifest::SPLITS {
                    if let Some(counts) = split(data, &manifest, name, &mut findings, &bar) {
                        result.splits.insert(name.into(), counts);
                    }
                }
            });
            bar.finish_and_clear();
            whole(&manifest, &mut findings);
        }
        Err(Unverifiable::Never(error)) => return Err(error),
        Err(Unverifiable::Damaged(message)) => findings.add(Severity::Error, "manifest", message),
    }
    findings.0.sort_by_key(|f| f.severity); // stable: in the order of the splits
    result.findings = findings.0;
    result.fit = result.count(Severity::Error) == 0;
    result.seconds = begun.elapsed().as_secs_f64();
    Ok(result)
}

enum Unverifiable {
    Never(Error),
    Damaged(String),
}

fn load(data: &Path) -> std::result::Result<Manifest, Unverifiable> {
    let never = |what: &str, help: &str| {
        Unverifiable::Never(Error::new(Kind::Data, format!("{} {what}", data.display())).with_help(help))
    };
    let prepare = "run `vggkit prepare` first (`vggkit prepare --demo` makes a data set in data/demo without download)";
    if !data.is_dir() {
        return Err(never("does not exist", prepare));
    }
    if super::staging::is_pending(data) {
        return Err(never(
            "is half-way through a change that was cut short",
            "run `vggkit prepare` again: it completes it",
        ));
    }
    let path = Manifest::path(data);
    if !path.exists() {
        return Err(never("was not prepared: it has no manifest.json", prepare));
    }
    let manifest = Manifest::load(data).map_err(|e| Unverifiable::Damaged(e.to_string()))?;
    if manifest.schema != manifest::SCHEMA {
        let schema = &manifest.schema;
        let message = format!("manifest.json has the schema `{schema}`; this version reads `{}`", manifest::SCHEMA);
        return Err(Unverifiable::Damaged(message));
    }
    Ok(manifest)
}

/// Verifies one split; `None` where the manifest has none of that name.
fn split(data: &Path, manifest: &Manifest, name: &str, findings: &mut Findings, bar: &ProgressBar) -> Option<Counts> {
    let Some(claim) = manifest.splits.get(name) else {
        if name == "test" {
            findings.add(Severity::Note, "split-missing", "there is no test split: nothing to predict");
        } else {
            findings.add(Severity::Error, "split-missing", format!("the manifest has no split `{name}`"));
        }
        return None;
    };
    let official = match name {
        "train" => 500 * OFFICIAL_CLASSES,
        "val" => 50 * OFFICIAL_CLASSES,
        _ => 10_000,
    };
    let mut counts = Counts { claimed: claim.images, official, ..Counts::default() };
    let pack = packs::check(data, manifest, name, &mut counts, findings);
    if !claim.files_sha256.is_empty() {
        folders::check(data, manifest, name, pack.as_ref(), &mut counts, findings, bar);
    }
    Some(counts)
}

/// What concerns the data set as a whole.
fn whole(manifest: &Manifest, findings: &mut Findings) {
    let sorted = manifest.classes.windows(2).all(|pair| pair[0].wnid < pair[1].wnid);
    if manifest.classes.is_empty() || !sorted {
        findings.add(Severity::Error, "classes", "the manifest's classes are not sorted wnids without repetition");
    }
    if manifest.synthetic {
        findings.add(Severity::Note, "synthetic", "drawn by `vggkit prepare --demo`: not photographs");
    } else if manifest.classes.len() != OFFICIAL_CLASSES {
        let message = format!("a part: {} classes of the official {OFFICIAL_CLASSES}", manifest.classes.len());
        findings.add(Severity::Note, "part", message);
    }
    let left_out = manifest.left_out.iter().map(|file| format!("{}: {}", file.path, file.reason)).collect();
    findings.about(Severity::Note, "left-out", left_out, |n| format!("{n} of the source left out as asked for"));
    if manifest.splits.values().all(|s| s.files_sha256.is_empty()) {
        findings.add(Severity::Note, "no-folders", "prepared without class folders: only the packs were checked");
    }
}
