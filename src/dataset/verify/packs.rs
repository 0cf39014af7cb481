//! A pack against the manifest: classes, counts, order, boxes, statistics; and a look at each of its images.

use std::path::Path;

use indicatif::ProgressBar;
use rayon::prelude::*;

use super::look::{self, Look};
use super::verification::Counts;
use crate::dataset::annotations;
use crate::dataset::decode::Adapted;
use crate::dataset::finding::{Findings, Severity};
use crate::dataset::manifest::{Manifest, SPLITS, Split};
use crate::dataset::pack::{NO_BOX, Pack};
use crate::dataset::statistics::Sums;

/// Checks the pack of a split; `None` where it cannot be opened.
pub fn check(
    data: &Path,
    manifest: &Manifest,
    name: &str,
    counts: &mut Counts,
    findings: &mut Findings,
) -> Option<Pack> {
    let claim = manifest.splits.get(name)?;
    let mut error = |code: &str, message: String| findings.add(Severity::Error, code, message);
    let pack = match Pack::open(data, name) {
        Ok(pack) => pack,
        Err(e) => {
            error("pack-unreadable", e.to_string());
            return None;
        }
    };
    counts.packed = Some(pack.images.count);
    against_manifest(&pack, manifest, claim, name, &mut error);
    if claim.labelled && pack.images.labels.len() == pack.images.count {
        classes(&pack, name, counts, findings);
    }
    boxes(&pack, name, counts, findings);
    Some(pack)
}

/// A look at every image of a pack, where there are no files to look at.
pub fn looks(pack: &Pack, manifest: &Manifest, name: &str, perceptual: bool, bar: &ProgressBar) -> Vec<Look> {
    let split = SPLITS.iter().position(|split| *split == name).unwrap_or_default();
    let folders = manifest.folders(name);
    let one = |index: usize| {
        bar.inc(1);
        let label = pack.images.labels.get(index).map(|label| *label as usize);
        let folder = folders.get(label.unwrap_or(0)).map_or("?", String::as_str);
        let size = (pack.images.height, pack.images.width);
        let measures = look::measure(pack.pixels(index), size, perceptual);
        let file = format!("{name}/{folder}/{}", pack.files[index]);
        Look { file, split, index, label, bytes: None, greyscale: measures.grey, adapted: Adapted::default(), measures }
    };
    (0..pack.images.count).into_par_iter().map(one).collect()
}

fn against_manifest(pack: &Pack, manifest: &Manifest, claim: &Split, name: &str, error: &mut impl FnMut(&str, String)) {
    let file = &claim.pack;
    if pack.images.count != claim.images {
        let (is, should) = (pack.images.count, claim.images);
        error("pack-count", format!("{file}: {is} images, but the manifest has {should}"));
    }
    if (pack.images.height, pack.images.width) != (manifest.height, manifest.width) {
        let (height, width) = (pack.images.height, pack.images.width);
        let message = format!(
            "{file}: images of {width} x {height}, but the manifest has {} x {}",
            manifest.width, manifest.height
        );
        error("pack-size", message);
    }
    let listed = manifest.classes.iter().map(|c| (&c.wnid, &c.name));
    if !listed.eq(pack.wnids.iter().zip(&pack.names)) {
        error("pack-classes", format!("{file}: its classes are not those of the manifest"));
    }
    if pack.images.labels.is_empty() == claim.labelled {
        let has = if claim.labelled {
            "no labels, but the manifest says it has"
        } else {
            "labels, but the manifest says none"
        };
        error("pack-labels", format!("{file}: it has {has}"));
    }
    if pack.synthetic != manifest.synthetic {
        error("pack-synthetic", format!("{file}: pack and manifest differ in whether the images are drawn"));
    }
    let claimed = (manifest.mean, manifest.std);
    if (pack.normalisation.mean, pack.normalisation.std) != claimed {
        error("pack-statistics", format!("{file}: its mean and deviation are not those of the manifest"));
    }
    if name == "train" {
        let sum = |mut a: Sums, b: Sums| {
            a.add(&b);
            a
        };
        let sums = (0..pack.images.count).into_par_iter().map(|i| Sums::of(pack.pixels(i))).reduce(Sums::default, sum);
        let counted = sums.normalisation();
        if (counted.mean, counted.std) != claimed {
            error("statistics", format!("{file}: mean and deviation of its pixels are not those of the manifest"));
        }
    }
}

fn classes(pack: &Pack, name: &str, counts: &mut Counts, findings: &mut Findings) {
    let mut per_class = vec![0; pack.wnids.len()];
    pack.images.labels.iter().for_each(|label| per_class[*label as usize] += 1); // labels are checked on opening
    counts.smallest_class = per_class.iter().min().copied();
    counts.largest_class = per_class.iter().max().copied();
    let empty: Vec<&str> = pack.wnids.iter().zip(&per_class).filter(|(_, n)| **n == 0).map(|(w, _)| &w[..]).collect();
    if !empty.is_empty() {
        let severity = if name == "train" { Severity::Error } else { Severity::Warning };
        findings.add(severity, "class-empty", format!("{name}: no image of {}", empty.join(", ")));
    }
    let order: Vec<(u32, &String)> = pack.images.labels.iter().copied().zip(&pack.files).collect();
    if let Some(pair) = order.windows(2).find(|pair| pair[0] >= pair[1]) {
        let message = format!("{name}: `{}` stands before `{}`: not ImageFolder's order", pair[0].1, pair[1].1);
        findings.add(Severity::Error, "pack-order", message);
    }
}

fn boxes(pack: &Pack, name: &str, counts: &mut Counts, findings: &mut Findings) {
    let size = (pack.images.height, pack.images.width);
    counts.boxes = pack.boxes.iter().filter(|b| **b != NO_BOX).count();
    let faults = pack.boxes.iter().zip(&pack.files).filter(|(b, _)| **b != NO_BOX).filter_map(|(bounds, file)| {
        Some(format!("{name}: {file}: the box {bounds:?} {}", annotations::fault(*bounds, size)?))
    });
    findings.about(Severity::Warning, "box-outside", faults.collect(), |n| {
        format!("{name}: the boxes of {n} are not inside the image")
    });
}
