//! The data set: its counts and colours, and samples of each split.
//!
//! Samples are spread evenly over classes and files, so the same data shows the same images.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::format;
use super::super::images::thumbnail;
use super::super::load::{Inputs, LoadedData, Problem};
use super::super::predictions::{Predictions, Row};
use super::super::reference::REPLACED_CLASSES;
use super::Picture;
use super::identity::{Identity, Runs};
use crate::dataset::Pack;
use crate::dataset::verify::{Finding, Severity, Verification};
use crate::error::Result;

/// Labelled images shown of each split.
const LABELLED: usize = 32;
/// Test images shown.
const UNLABELLED: usize = 40;

/// Everything on the data.
#[derive(Serialize)]
pub struct Data {
    /// The folder that was asked for.
    pub folder: String,
    pub set: Option<Set>,
    /// train and val; any other labelled split.
    pub labelled: Vec<Grid>,
    pub test: Option<TestGrid>,
    /// The file of predictions that was asked for.
    pub predictions: String,
    pub predicted: bool,
}

/// The manifest in words.
#[derive(Serialize)]
pub struct Set {
    pub synthetic: bool,
    pub source: String,
    pub sha256: String,
    pub classes: Vec<(String, String)>,
    pub size: String,
    /// Name, images, images a class, greyscale, labels.
    pub splits: Vec<SplitRow>,
    /// Channel, mean, standard deviation, both of 255.
    pub channels: Vec<(&'static str, String, String)>,
    pub verification: Option<Verified>,
}

/// As many files as a finding shows.
const MOST_FILES: usize = 20;

/// What `vggkit verify` found.
#[derive(Serialize)]
pub struct Verified {
    /// No error was found.
    pub fit: bool,
    /// "1 error, 2 warnings and 1 note".
    pub summary: String,
    pub date: String,
    pub findings: Vec<Found>,
}

/// A finding.
#[derive(Serialize)]
pub struct Found {
    /// "error", "warning" or "note".
    pub severity: &'static str,
    pub message: String,
    pub files: Vec<String>,
    /// Files that are not listed.
    pub more: usize,
}

/// A row of the table of splits.
#[derive(Serialize)]
pub struct SplitRow {
    pub name: String,
    pub images: String,
    pub per_class: String,
    pub greyscale: String,
    pub labels: &'static str,
}

/// Samples of a labelled split.
#[derive(Serialize)]
pub struct Grid {
    pub split: String,
    pub of: String,
    pub samples: Vec<Sample>,
}

/// An image with its class.
#[derive(Serialize)]
pub struct Sample {
    pub picture: Picture,
    pub name: String,
    pub wnid: String,
}

/// Samples of the test split with what the runs made of them.
#[derive(Serialize)]
pub struct TestGrid {
    pub of: String,
    /// Runs with a column of predictions, in the order of the dots.
    pub voters: Vec<Identity>,
    /// The data set has less classes than the official test images are of.
    pub fewer_classes: Option<usize>,
    /// Share of images on which all runs agree.
    pub unanimous: Option<String>,
    pub samples: Vec<TestSample>,
}

/// A test image.
#[derive(Serialize)]
pub struct TestSample {
    pub picture: Picture,
    pub file: String,
    /// Class by vote; `None` without predictions.
    pub vote: Option<String>,
    pub agreement: String,
    pub dots: Vec<Dot>,
}

/// What one run says of a test image.
#[derive(Serialize)]
pub struct Dot {
    pub colour: usize,
    pub agrees: bool,
    /// "vgg11: goldfish".
    pub says: String,
}

pub fn build(inputs: &Inputs, runs: &Runs, problems: &mut Vec<Problem>) -> Result<Data> {
    let mut data = Data {
        folder: inputs.sources.data.display().to_string(),
        set: inputs.data.as_ref().map(set),
        labelled: Vec::new(),
        test: None,
        predictions: inputs.sources.predictions.display().to_string(),
        predicted: false,
    };
    let packs = inputs.data.iter().flat_map(|d| &d.packs);
    let mut labelled: Vec<_> = packs.clone().filter(|(_, p)| !p.images.labels.is_empty()).collect();
    labelled.sort_by_key(|(split, _)| (*split != "train", *split));
    data.labelled = labelled.into_iter().map(|(split, pack)| grid(split, pack)).collect::<Result<_>>()?;
    if let Some((_, pack)) = packs.into_iter().find(|(_, p)| p.images.labels.is_empty()) {
        let predictions = fitting_predictions(pack, inputs, problems);
        data.predicted = predictions.is_some();
        data.test = Some(test_grid(pack, predictions, runs)?);
    }
    Ok(data)
}

fn set(data: &LoadedData) -> Set {
    let manifest = &data.manifest;
    let splits = manifest.splits.iter().map(|(name, split)| SplitRow {
        name: name.clone(),
        images: format::count(split.images),
        per_class: match manifest.classes.len() {
            classes if split.labelled && classes > 0 => {
                format::rate(split.images as f64 / classes as f64).replace(".0", "")
            }
            _ => "–".into(),
        },
        greyscale: format::count(split.greyscale),
        labels: if split.labelled { "yes" } else { "no" },
    });
    let mut splits: Vec<_> = splits.collect();
    splits.sort_by_key(|s| ["train", "val", "test"].iter().position(|n| *n == s.name).unwrap_or(3));
    let of_255 = |v: f32| format!("{:.1}", f64::from(v) * 255.0);
    Set {
        synthetic: manifest.synthetic,
        source: format!("{} {}", manifest.source.kind, manifest.source.path).trim().to_owned(),
        sha256: data.sha256.clone(),
        classes: manifest.classes.iter().map(|c| (c.wnid.clone(), c.name.clone())).collect(),
        size: format!("{}×{}", manifest.width, manifest.height),
        splits,
        channels: ["red", "green", "blue"]
            .into_iter()
            .zip(manifest.mean.iter().zip(&manifest.std))
            .map(|(channel, (mean, std))| (channel, of_255(*mean), of_255(*std)))
            .collect(),
        verification: data.verification.as_ref().map(verified),
    }
}

fn verified(verification: &Verification) -> Verified {
    let word = |severity| match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let counts = [Severity::Error, Severity::Warning, Severity::Note].map(|s| (verification.count(s), word(s)));
    let found: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format::counted(*n, what)).collect();
    let finding = |f: &Finding| {
        let groups = f.groups.iter().map(|group| group.files.join(" = "));
        let files: Vec<String> = f.files.iter().cloned().chain(groups).take(MOST_FILES).collect();
        let more = f.count.saturating_sub(files.len());
        Found { severity: word(f.severity), message: f.message.clone(), files, more }
    };
    Verified {
        fit: verification.fit,
        summary: if found.is_empty() { "nothing to report".into() } else { found.join(", ") },
        date: verification.created.get(..10).unwrap_or_default().to_owned(),
        findings: verification.findings.iter().map(finding).collect(),
    }
}

/// `wanted` of `available` indices, evenly spread.
fn evenly(available: usize, wanted: usize) -> impl Iterator<Item = usize> {
    let n = wanted.min(available);
    (0..n).map(move |i| (2 * i + 1) * available / (2 * n))
}

/// Images of a labelled pack: classes evenly spread, and within a class files evenly spread.
fn sample(pack: &Pack, wanted: usize) -> Vec<usize> {
    let mut by_class: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (i, label) in pack.images.labels.iter().enumerate() {
        by_class.entry(*label).or_default().push(i);
    }
    let classes: Vec<_> = by_class.values().collect();
    let chosen: Vec<_> = evenly(classes.len(), wanted).map(|i| classes[i]).collect();
    if chosen.is_empty() {
        return Vec::new();
    }
    let n = chosen.len();
    // The k-th class gives the images from k/n to (k+1)/n of those wanted.
    let share = |k: usize| ((k + 1) * wanted / n).saturating_sub(k * wanted / n).max(1);
    chosen.iter().enumerate().flat_map(|(k, class)| evenly(class.len(), share(k)).map(|i| class[i])).collect()
}

fn grid(split: &str, pack: &Pack) -> Result<Grid> {
    let samples = sample(pack, LABELLED).into_iter().map(|i| {
        let class = pack.images.labels[i] as usize;
        let name = pack.names.get(class).cloned().unwrap_or_default();
        Ok(Sample {
            picture: Picture { source: thumbnail(pack, i)?, alt: format!("{name}, {split} image {}", file(pack, i)) },
            wnid: pack.wnids.get(class).cloned().unwrap_or_default(),
            name,
        })
    });
    Ok(Grid {
        split: split.to_owned(),
        of: format::counted(pack.images.count, "image"),
        samples: samples.collect::<Result<_>>()?,
    })
}

fn file(pack: &Pack, index: usize) -> &str {
    pack.files.get(index).map_or("", String::as_str)
}

/// The predictions, unless they are of other images; says so where they are of others in part or whole.
fn fitting_predictions<'a>(pack: &Pack, inputs: &'a Inputs, problems: &mut Vec<Problem>) -> Option<&'a Predictions> {
    let predictions = inputs.predictions.as_ref()?;
    let images: BTreeSet<&str> = predictions.rows.iter().map(|r| r.image.as_str()).collect();
    let known = pack.files.iter().filter(|f| images.contains(f.as_str())).count();
    if known < pack.files.len() {
        problems.push(Problem {
            place: inputs.sources.predictions.display().to_string(),
            what: format!(
                "predicts {known} of the {} test images of {}",
                pack.files.len(),
                inputs.sources.data.display()
            ),
            help: "run `vggkit predict` again on this data".into(),
        });
    }
    (known > 0).then_some(predictions)
}

fn test_grid(pack: &Pack, predictions: Option<&Predictions>, runs: &Runs) -> Result<TestGrid> {
    let rows: BTreeMap<&str, &Row> = predictions.iter().flat_map(|p| &p.rows).map(|r| (r.image.as_str(), r)).collect();
    let mut samples = Vec::new();
    for i in evenly(pack.images.count, UNLABELLED) {
        let name = file(pack, i);
        let said = predictions.zip(rows.get(name));
        let source = thumbnail(pack, i)?;
        samples.push(match said {
            Some((predictions, row)) => predicted(predictions, row, pack, runs, source),
            None => TestSample {
                picture: Picture { source, alt: format!("test image {name}") },
                file: name.to_owned(),
                vote: None,
                agreement: String::new(),
                dots: Vec::new(),
            },
        });
    }
    let voters = predictions.iter().flat_map(|p| &p.runs).filter_map(|n| Some(runs.by_name(n)?.identity.clone()));
    Ok(TestGrid {
        of: format::counted(pack.images.count, "image"),
        voters: voters.collect(),
        fewer_classes: (!pack.synthetic && pack.wnids.len() < REPLACED_CLASSES).then_some(pack.wnids.len()),
        unanimous: predictions.and_then(unanimous),
        samples,
    })
}

fn predicted(predictions: &Predictions, row: &Row, pack: &Pack, runs: &Runs, source: super::DataUri) -> TestSample {
    let agree = row.by_run.iter().filter(|c| **c == row.vote).count();
    let agreement = match row.by_run.len() {
        1 => String::new(),
        all => format!("{agree} of {all} agree"),
    };
    let dots = predictions.runs.iter().zip(&row.by_run).map(|(name, class)| {
        let says = pack.names.get(*class).cloned().unwrap_or_else(|| format!("class {class}"));
        Dot {
            colour: runs.by_name(name).map_or(9, |d| d.identity.colour),
            agrees: *class == row.vote,
            says: format!("{name}: {says}"),
        }
    });
    let name = if row.vote_name.is_empty() { row.vote_wnid.clone() } else { row.vote_name.clone() };
    let picture = Picture { source, alt: format!("test image {}, predicted {name}", row.image) };
    TestSample { picture, file: row.image.clone(), vote: Some(name), agreement, dots: dots.collect() }
}

fn unanimous(predictions: &Predictions) -> Option<String> {
    if predictions.runs.len() < 2 || predictions.rows.is_empty() {
        return None;
    }
    let same = predictions.rows.iter().filter(|r| r.by_run.iter().all(|c| *c == r.vote)).count();
    Some(format::percent(same as f64 / predictions.rows.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread() {
        assert_eq!(evenly(10, 5).collect::<Vec<_>>(), [1, 3, 5, 7, 9]);
        assert_eq!(evenly(2, 5).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(evenly(0, 5).count(), 0);
    }
}
