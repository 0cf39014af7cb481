//! Counts against the official archive: 200 classes of 500 train and 50 val images, 10,000 test images.
//!
//! Says nothing of drawn images, and of a part only that it is one.

use std::collections::BTreeMap;

use super::verification::Counts;
use crate::dataset::classes::are_of_wordnet;
use crate::dataset::finding::{Findings, Severity};

/// Classes of the official archive.
pub const CLASSES: usize = 200;

/// Images of an official split.
pub fn images(split: &str) -> usize {
    match split {
        "train" => CLASSES * 500,
        "val" => CLASSES * 50,
        _ => 10_000,
    }
}

/// Counts of images, by class.
pub type PerClass = BTreeMap<String, usize>;

/// `train` and `val` count the images of each class, `wanted` is what a class of train should have; `explained` says that
/// files were left out on purpose.
pub fn check(
    train: &PerClass,
    val: &PerClass,
    splits: &BTreeMap<String, Counts>,
    (wanted, explained): (usize, bool),
    findings: &mut Findings,
) {
    if !are_of_wordnet(&train.keys().collect::<Vec<_>>()) {
        findings.add(Severity::Note, "own-images", format!("own images, not Tiny ImageNet's: {} classes", train.len()));
        return;
    }
    if train.len() != CLASSES {
        findings.add(Severity::Note, "part", format!("a part: {} classes of the official {CLASSES}", train.len()));
        return;
    }
    let severity = if explained { Severity::Note } else { Severity::Warning };
    let mut other = Vec::new();
    for (split, counts, wanted) in [("train", train, wanted), ("val", val, 50)] {
        let odd = train.keys().map(|wnid| (wnid, counts.get(wnid).copied().unwrap_or(0)));
        let odd = odd.filter(|(_, count)| *count != wanted);
        other.extend(odd.map(|(wnid, count)| format!("{split}/{wnid}: {count} images instead of {wanted}")));
    }
    let message = format!("{} class folders without the official number of images", other.len());
    if !other.is_empty() {
        findings.add_files(severity, "class-count", message, other);
    }
    let test = splits.get("test").map_or(10_000, |counts| counts.packed.or(counts.files).unwrap_or(0));
    if test != 10_000 {
        findings.add(severity, "class-count", format!("test: {test} images instead of 10000"));
    }
}
