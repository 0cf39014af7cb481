//! Images of the test split, whose classes nobody published, with what the runs say they show.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::format;
use super::super::images::thumbnail;
use super::super::inputs::{Inputs, Problem};
use super::super::predictions::{Predictions, Row};
use super::super::reference::REPLACED_CLASSES;
use super::identity::{Identity, Runs};
use super::parts::{Picture, evenly};
use crate::dataset::Pack;
use crate::dataset::classes::are_of_wordnet;
use crate::error::Result;

/// Images shown.
const SHOWN: usize = 40;

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
    /// Mean softmax of the vote's class over the runs.
    pub confidence: Option<String>,
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

/// The predictions, unless they are of other images; says so where they are of others in part or whole.
pub fn fitting<'a>(pack: &Pack, inputs: &'a Inputs, problems: &mut Vec<Problem>) -> Option<&'a Predictions> {
    let predictions = inputs.predictions.as_ref()?;
    let images: BTreeSet<&str> = predictions.rows.iter().map(|r| r.image.as_str()).collect();
    let known = pack.image_names().iter().filter(|name| images.contains(name.as_str())).count();
    if known < pack.files.len() {
        problems.push(Problem {
            place: inputs.sources.predictions.display().to_string(),
            what: format!(
                "predicts {known} of the {} test images of {}",
                pack.files.len(),
                inputs.sources.data.display()
            ),
            help: format!("run `{}` again", inputs.commands.predict()),
        });
    }
    (known > 0).then_some(predictions)
}

pub fn build(pack: &Pack, predictions: Option<&Predictions>, runs: &Runs) -> Result<TestGrid> {
    let rows: BTreeMap<&str, &Row> = predictions.iter().flat_map(|p| &p.rows).map(|r| (r.image.as_str(), r)).collect();
    let names = pack.image_names();
    let mut samples = Vec::new();
    for i in evenly(pack.images.count, SHOWN) {
        let name = &names[i];
        let said = predictions.zip(rows.get(name.as_str()));
        let source = thumbnail(pack, i)?;
        samples.push(match said {
            Some((predictions, row)) => predicted(predictions, row, pack, runs, source),
            None => TestSample {
                picture: Picture { source, alt: format!("test image {name}") },
                file: name.clone(),
                vote: None,
                agreement: String::new(),
                confidence: None,
                dots: Vec::new(),
            },
        });
    }
    let voters = predictions.iter().flat_map(|p| &p.runs).filter_map(|n| Some(runs.by_name(n)?.identity.clone()));
    Ok(TestGrid {
        of: format::counted(pack.images.count, "image"),
        voters: voters.collect(),
        fewer_classes: (!pack.synthetic && are_of_wordnet(&pack.wnids) && pack.wnids.len() < REPLACED_CLASSES)
            .then_some(pack.wnids.len()),
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
    let confidence = row.confidence.map(format::percent);
    TestSample { picture, file: row.image.clone(), vote: Some(name), agreement, confidence, dots: dots.collect() }
}

fn unanimous(predictions: &Predictions) -> Option<String> {
    if predictions.runs.len() < 2 || predictions.rows.is_empty() {
        return None;
    }
    let same = predictions.rows.iter().filter(|r| r.by_run.iter().all(|c| *c == r.vote)).count();
    Some(format::percent(same as f64 / predictions.rows.len() as f64))
}
