//! A zip or folder before it is prepared: lists against folders and images, every image decoded.
//!
//! Finds what would stop `prepare`, as errors, and what would not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rayon::prelude::*;

use super::look::{self, Look};
use super::official::{self, PerClass};
use super::request::Request;
use super::seen::Seen;
use super::verification::{Counts, Verification};
use crate::dataset::classes::are_of_wordnet;
use crate::dataset::decode::{self, Size};
use crate::dataset::finding::{Findings, Problem, Severity};
use crate::dataset::layout::{self, Image, SourceLayout};
use crate::dataset::manifest::{PrepareSettings, SPLITS};
use crate::dataset::source::Source;
use crate::dataset::{annotations, demo, fingerprint};
use crate::error::{Kind, Result};
use crate::progress;

/// An open source.
pub struct Raw {
    source: Source,
    layout: SourceLayout,
}

/// Opens a source; a refused or hopeless one is a finding, and one that is not there an error.
pub fn open(path: &Path, findings: &mut Findings) -> Result<Option<Raw>> {
    let opened = Source::open(path).and_then(|source| {
        let layout = layout::understand(&source, &PrepareSettings::default())?;
        Ok(Raw { source, layout })
    });
    match opened {
        Ok(raw) => Ok(Some(raw)),
        Err(error) if error.kind() == Kind::Data => {
            findings.add(Severity::Error, "source", error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What became of one image.
enum Outcome {
    Seen { look: Look, size: Size, box_fault: Option<&'static str> },
    Bad(&'static str, String),
}

impl Raw {
    /// Checks everything but how the images compare.
    pub fn check(&self, request: &Request, result: &mut Verification, findings: &mut Findings) -> Seen<'_> {
        let Self { source, layout } = self;
        let size = layout::common_size(source, layout);
        result.kind = source.kind().to_owned();
        result.synthetic = demo::drew(&layout.classes);
        result.classes = layout.classes.len();
        (result.height, result.width) = size;
        self.lists(findings);
        let total: usize = layout.splits.iter().map(|s| s.images.len()).sum();
        let bar = progress::bar("verifying", total as u64, "images", request.quiet);
        let mut looks = Vec::new();
        let (mut bad, mut other_size, mut boxes) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut per_class: [PerClass; 2] = Default::default();
        for split in &layout.splits {
            let number = SPLITS.iter().position(|name| *name == split.name).unwrap_or_default();
            let outcomes: Vec<Outcome> = split
                .images
                .par_iter()
                .enumerate()
                .map(|(index, image)| {
                    bar.inc(1);
                    self.one(image, (number, index), size, request.near.is_some())
                })
                .collect();
            let mut counts = Counts {
                claimed: split.images.len(),
                files: Some(split.images.len()),
                official: official::images(split.name),
                boxes: split.images.iter().filter(|image| image.bounds.is_some()).count(),
                ..Counts::default()
            };
            let (mut decoded, mut greyscale) = (0, 0);
            for (outcome, image) in outcomes.into_iter().zip(&split.images) {
                let path = &image.entry.path;
                match outcome {
                    Outcome::Seen { look, size: its, box_fault } => {
                        decoded += 1;
                        greyscale += usize::from(look.greyscale);
                        other_size.push((path.clone(), its));
                        if let (Some(fault), Some(bounds)) = (box_fault, image.bounds) {
                            boxes.push(format!("{path}: the box {bounds:?} {fault}"));
                        }
                        looks.push(look);
                    }
                    Outcome::Bad(code, reason) => {
                        bad.entry(code).or_insert_with(Vec::new).push(format!("{path}: {reason}"));
                    }
                }
            }
            (counts.decoded, counts.greyscale) = (Some(decoded), Some(greyscale));
            if split.labelled {
                let mut by_class = vec![0; layout.classes.len()];
                split.images.iter().filter_map(|image| image.label).for_each(|label| by_class[label] += 1);
                counts.smallest_class = by_class.iter().min().copied();
                counts.largest_class = by_class.iter().max().copied();
                if let Some(per_class) = per_class.get_mut(number) {
                    *per_class = layout.classes.iter().map(|c| c.wnid.clone()).zip(by_class).collect();
                }
            }
            result.splits.insert(split.name.into(), counts);
        }
        bar.finish_and_clear();
        for (code, files) in bad {
            let what = if code == "file-unreadable" { "that cannot be read" } else { "that cannot be decoded" };
            findings.about(Severity::Error, code, files, |n| format!("{n} {what}"));
        }
        let (severity, wanted) = match are_of_wordnet(&layout.classes.iter().map(|c| &c.wnid).collect::<Vec<_>>()) {
            true => (Severity::Warning, (64, 64)),
            false => (Severity::Note, size),
        };
        other_size.retain(|(_, size)| *size != wanted);
        let other_size = other_size.into_iter().map(|(path, (rows, columns))| format!("{path}: {columns} x {rows}"));
        findings.about(severity, "file-size", other_size.collect(), |n| {
            format!(
                "{n} not of {} x {} pixels; `prepare` resizes to the size that most have, or --size",
                wanted.1, wanted.0
            )
        });
        findings
            .about(Severity::Warning, "box-outside", boxes, |n| format!("the boxes of {n} are not inside the image"));
        if !result.splits.contains_key("test") {
            findings.add(Severity::Note, "split-missing", "there is no test split: nothing to predict");
        }
        official::check(&per_class[0], &per_class[1], &result.splits, (500, false), findings);
        let pixels = move |look: &Look| {
            let split = layout.splits.iter().find(|split| split.name == SPLITS[look.split])?;
            let bytes = source.read(&split.images[look.index].entry).ok()?;
            Some(decode::decode(&bytes).ok()?.resized(size).pixels)
        };
        Seen { looks, size, pixels: Box::new(pixels) }
    }

    /// What the layout found not to fit, a finding for each code.
    fn lists(&self, findings: &mut Findings) {
        let problems = &self.layout.problems;
        let codes: BTreeSet<&str> = problems.iter().map(|problem| problem.code).collect();
        for code in codes {
            let of_code: Vec<&Problem> = problems.iter().filter(|problem| problem.code == code).collect();
            let severity = of_code.iter().map(|p| p.severity).min().unwrap_or(Severity::Note);
            let files: Vec<String> = of_code.iter().map(|p| format!("{}: {}", p.path, p.reason)).collect();
            let what = match code {
                "class-list" => "wnids.txt and the folders of train differ",
                "class-names" => "words.txt lacks names of classes",
                "annotation-unreadable" => "lines of annotations cannot be read",
                "annotation-missing" => "images without a line in val_annotations.txt",
                "annotation-extra" => "lines in val_annotations.txt about images that are not there",
                "annotation-class" => "images of val with a class that contradicts or is unknown",
                "box-missing" => "train images without a box",
                "box-extra" => "boxes of train images that are not there",
                "file-twice" => "files that would have the place of another",
                "file-case" => "files whose places differ in upper and lower case only",
                layout::LEFT_OUT => "left out, since they are no images by their names, or no classes",
                _ => "problems",
            };
            findings.add_files(severity, code, format!("{what}: {}", files.len()), files);
        }
        for note in &self.layout.notes {
            findings.add(Severity::Note, "layout", note.clone());
        }
    }

    fn one(&self, image: &Image, (split, index): (usize, usize), size: Size, perceptual: bool) -> Outcome {
        let bytes = match self.source.read(&image.entry) {
            Ok(bytes) => bytes,
            Err(e) => return Outcome::Bad("file-unreadable", e.to_string()),
        };
        let decoded = match decode::decode(&bytes) {
            Ok(decoded) => decoded,
            Err(reason) => return Outcome::Bad("file-undecodable", reason),
        };
        let its = decoded.size;
        let decoded = decoded.resized(size);
        let look = Look {
            file: image.entry.path.clone(),
            split,
            index,
            label: image.label,
            bytes: Some(fingerprint::hash(&bytes)),
            greyscale: decoded.greyscale,
            adapted: decoded.adapted,
            measures: look::measure(&decoded.pixels, size, perceptual),
        };
        let box_fault = image.bounds.and_then(|bounds| annotations::fault(bounds, its));
        Outcome::Seen { look, size: its, box_fault }
    }
}
