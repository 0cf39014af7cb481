//! The data set: its counts and colours, and samples of each split.
//!
//! Samples are spread evenly over classes and files, so the same data shows the same images.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::format;
use super::super::images::thumbnail;
use super::super::inputs::{Inputs, LoadedData, Problem};
use super::identity::Runs;
use super::parts::{Picture, evenly};
use super::test_grid::{self, TestGrid};
use super::verified::{self, Verified};
use crate::dataset::Pack;
use crate::error::Result;

/// Labelled images shown of each split.
const LABELLED: usize = 32;

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
    pub classes: Vec<(String, String)>,
    pub size: String,
    /// Name, images, images a class, greyscale, labels.
    pub splits: Vec<SplitRow>,
    /// Channel, mean, standard deviation, both of 255.
    pub channels: Vec<(&'static str, String, String)>,
    pub verification: Option<Verified>,
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

pub fn build(inputs: &Inputs, runs: &Runs, problems: &mut Vec<Problem>) -> Result<Data> {
    let mut data = Data {
        folder: inputs.sources.data.display().to_string(),
        set: inputs.data.as_ref().map(set).transpose()?,
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
        let predictions = test_grid::fitting(pack, inputs, problems);
        data.predicted = predictions.is_some();
        data.test = Some(test_grid::build(pack, predictions, runs)?);
    }
    Ok(data)
}

fn set(data: &LoadedData) -> Result<Set> {
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
    Ok(Set {
        synthetic: manifest.synthetic,
        source: format!("{} {}", manifest.source.kind, manifest.source.path).trim().to_owned(),
        classes: manifest.classes.iter().map(|c| (c.wnid.clone(), c.name.clone())).collect(),
        size: format!("{}×{}", manifest.width, manifest.height),
        splits,
        channels: ["red", "green", "blue"]
            .into_iter()
            .zip(manifest.mean.iter().zip(&manifest.std))
            .map(|(channel, (mean, std))| (channel, of_255(*mean), of_255(*std)))
            .collect(),
        verification: data.verification.as_ref().map(|v| verified::build(v, data)).transpose()?,
    })
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

/// The name of an image, or nothing.
pub(super) fn file(pack: &Pack, index: usize) -> &str {
    pack.files.get(index).map_or("", String::as_str)
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
