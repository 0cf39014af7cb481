//! Who a run is on the page: its anchor, its name, its colour, its figures, and which runs it may be compared with.
//!
//! The colour says the network and the dash tells runs of one network apart, the same in every chart and table.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::inputs::{Inputs, LoadedRun};
use super::super::statistics;
use crate::error::Result;
use crate::training::run::Run;
use crate::training::variations;
use crate::vgg::table::TABLE_1;

/// How the page names a run.
#[derive(Clone, Serialize)]
pub struct Identity {
    /// Anchor; letters, digits and dashes, unique on the page.
    pub id: String,
    /// Folder name.
    pub name: String,
    /// "VGG-16 with 1x1".
    pub network: String,
    /// Letter of Table 1.
    pub letter: &'static str,
    /// Rank in Table 1 from 0: picks the colour.
    pub colour: usize,
    /// 0 for the first run of its network, then 1, 2, 3 and around: picks the dash.
    pub dash: usize,
    /// Trained on drawn images.
    pub synthetic: bool,
    /// Trained on images that are not Tiny ImageNet's.
    pub own_images: bool,
    /// Has the data of most runs here; others are shown but not compared.
    pub comparable: bool,
    /// In what it differs from the replaced project's recipe for the same network, without what all runs have in common, or the
    /// recipe that it follows and in what it differs from that; empty for nothing.
    pub variations: Vec<String>,
}

/// A run, its identity and its figures.
pub struct Described<'a> {
    pub run: &'a LoadedRun,
    pub identity: Identity,
    pub figures: Figures,
}

/// The figures that several parts of the page use. Fractions in 0..1.
#[derive(Clone, Default)]
pub struct Figures {
    pub best_epoch: Option<usize>,
    pub epochs: usize,
    pub train_top1: Option<f64>,
    pub train_loss: Option<f64>,
    pub val_top1: Option<f64>,
    pub val_top5: Option<f64>,
    pub val_loss: Option<f64>,
    /// Images that the val figures were measured on.
    pub val_images: Option<usize>,
    /// 95 % interval of `val_top1`.
    pub val_interval: Option<(f64, f64)>,
    pub seconds: Option<f64>,
    pub images_per_s: Option<f64>,
}

/// All runs, in the order of the page: compared ones first, each part in the order of Table 1.
pub struct Runs<'a> {
    described: Vec<Described<'a>>,
    /// In what all of them differ from the replaced project's recipe.
    pub shared: Vec<String>,
}

impl<'a> Runs<'a> {
    /// Errors: a setting that cannot be told.
    pub fn new(inputs: &'a Inputs) -> Result<Self> {
        let primary = primary_data(inputs);
        let mut taken = BTreeSet::new();
        let mut seen = [0; TABLE_1.len()];
        // Runs on other data come last, so that the compared ones have the first dashes.
        let (compared, others): (Vec<_>, Vec<_>) =
            inputs.runs.iter().partition(|r| primary == Some(r.known_as.as_str()));
        let ordered: Vec<&LoadedRun> = compared.into_iter().chain(others).collect();
        let settings: Vec<&Run> = ordered.iter().map(|run| &run.run).collect();
        let (shared, variations) = variations::told_apart(&settings)?;
        let describe = |(run, variations): (&'a LoadedRun, Vec<String>)| {
            let network = &run.run.network;
            let configuration = network.configuration()?;
            let colour = configuration.index();
            let dash = seen[colour] % 4;
            seen[colour] += 1;
            let identity = Identity {
                id: unique_anchor(&run.name, &mut taken),
                name: run.name.clone(),
                network: network.brief(),
                letter: configuration.letter,
                colour,
                dash,
                synthetic: run.run.data.synthetic,
                own_images: run.run.data.own_images,
                comparable: primary == Some(run.known_as.as_str()),
                variations,
            };
            Ok(Described { figures: figures(run, inputs), run, identity })
        };
        Ok(Self { described: ordered.into_iter().zip(variations).map(describe).collect::<Result<_>>()?, shared })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Described<'a>> {
        self.described.iter()
    }

    pub fn by_name(&self, name: &str) -> Option<&Described<'a>> {
        self.iter().find(|d| d.identity.name == name)
    }

    /// Comparable runs with a validation accuracy, the best first.
    pub fn ranked(&self) -> Vec<&Described<'a>> {
        let key = |d: &Described| d.figures.val_top1.unwrap_or(f64::NEG_INFINITY);
        let mut ranked: Vec<_> =
            self.iter().filter(|d| d.identity.comparable && d.figures.val_top1.is_some()).collect();
        ranked.sort_by(|a, b| key(b).total_cmp(&key(a))); // stable: the smaller network first among equals
        ranked
    }

    /// All runs: the ranked ones, then the others in their order.
    pub fn best_first(&self) -> Vec<&Described<'a>> {
        let ranked = self.ranked();
        let others = self.iter().filter(|d| ranked.iter().all(|r| r.identity.id != d.identity.id));
        let others: Vec<_> = others.collect();
        ranked.into_iter().chain(others).collect()
    }
}

/// The data that the compared runs share: that of the data folder where any run has it, else the commonest.
fn primary_data(inputs: &Inputs) -> Option<&str> {
    let hashes = || inputs.runs.iter().map(|r| r.known_as.as_str());
    if let Some(data) = &inputs.data
        && hashes().any(|h| h == data.identity.content_sha256)
    {
        return Some(&data.identity.content_sha256);
    }
    hashes().max_by_key(|h| (hashes().filter(|other| other == h).count(), std::cmp::Reverse(*h)))
}

/// Lower-case letters, digits and dashes of a name, made unique.
fn unique_anchor(name: &str, taken: &mut BTreeSet<String>) -> String {
    let dashed: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).take(60).collect();
    let base = format!("run-{}", dashed.trim_matches('-'));
    let mut anchor = base.clone();
    let mut number = 2;
    while !taken.insert(anchor.clone()) {
        anchor = format!("{base}-{number}");
        number += 1;
    }
    anchor
}

fn figures(run: &LoadedRun, inputs: &Inputs) -> Figures {
    let best = run.best();
    let evaluation = run.evaluation.as_ref();
    let from_manifest = || {
        let data = inputs.data.as_ref().filter(|d| d.identity.content_sha256 == run.known_as)?;
        data.manifest.splits.get(&run.run.data.val).map(|s| s.images)
    };
    let val_top1 = evaluation.map(|e| e.top1).or(best.map(|b| b.val_top1));
    let val_images = evaluation.map(|e| e.images).or_else(from_manifest);
    Figures {
        best_epoch: best.map(|b| b.epoch),
        epochs: run.history.last().map_or(0, |e| e.epoch),
        train_top1: best.map(|b| b.train_top1),
        train_loss: best.map(|b| b.train_loss),
        val_top1,
        val_top5: evaluation.map(|e| e.top5).or(best.map(|b| b.val_top5)),
        val_loss: evaluation.map(|e| e.loss).or(best.map(|b| b.val_loss)),
        val_images,
        val_interval: val_top1.zip(val_images).and_then(|(p, n)| statistics::wilson(p, n)),
        seconds: (!run.history.is_empty()).then(|| run.history.iter().map(|e| e.seconds).sum()),
        images_per_s: statistics::median(run.history.iter().map(|e| e.images_per_s)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_safe_and_unique() {
        let mut taken = BTreeSet::new();
        assert_eq!(unique_anchor("VGG 11 \"<b>\"", &mut taken), "run-vgg-11---b");
        assert_eq!(unique_anchor("vgg-11---b", &mut taken), "run-vgg-11---b-2");
        assert_eq!(unique_anchor("日本", &mut taken), "run-");
    }
}
