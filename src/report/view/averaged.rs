//! What averaging brings: each run with its views averaged beside its plain figures, and runs fused.

use serde::Serialize;

use super::super::inputs::{Inputs, LoadedFusion};
use super::super::{format, statistics};
use super::identity::{Identity, Runs};
use super::parts::Cell;
use crate::inference::evaluation::Evaluation;
use crate::inference::fusion::Fusion;

/// The table.
#[derive(Serialize)]
pub struct Averaged {
    /// Fused runs first, the best of them ahead; then the runs in the order of the page.
    pub rows: Vec<Row>,
    /// Any run could be averaged: it has a finished epoch.
    pub possible: bool,
    /// So could several together.
    pub fusible: bool,
}

/// A row of it.
#[derive(Serialize)]
pub struct Row {
    pub run: Option<Identity>,
    pub fused: Option<Fused>,
    /// "flip", or "plain".
    pub views: &'static str,
    /// What that is.
    pub words: &'static str,
    /// Where it is not the runs' own, the split.
    pub split: Option<String>,
    /// Of the run as it is; of the best of the fused ones alone, in the same views.
    pub alone: Cell,
    pub top1: Cell,
    pub interval: Option<String>,
    /// In points.
    pub gain: Cell,
    pub top5: Cell,
    pub loss: Cell,
    pub calibration: Cell,
}

/// Several runs as one.
#[derive(Clone, Serialize)]
pub struct Fused {
    /// "All 5 models fused", "Both models fused", "2 models fused".
    pub name: String,
    pub members: Vec<Fellow>,
}

/// One of them.
#[derive(Clone, Serialize)]
pub struct Fellow {
    pub name: String,
    /// Where it is on the page.
    pub run: Option<Identity>,
    /// Alone, in the same views.
    pub top1: String,
}

pub fn build(inputs: &Inputs, runs: &Runs) -> Averaged {
    let mut rows: Vec<Row> = inputs
        .fusions
        .iter()
        .map(|LoadedFusion { fusion, .. }| {
            let best = fusion.runs.iter().map(|member| member.top1).reduce(f64::max);
            let mut own = runs.iter().filter(|d| fusion.runs.iter().any(|member| member.run == d.identity.name));
            let split = Some(&fusion.evaluation.split).filter(|split| !own.all(|d| d.run.run.data.val == **split));
            let row = row(&fusion.evaluation, best);
            Row { fused: Some(fused(fusion, runs)), split: split.cloned(), ..row }
        })
        .collect();
    for d in runs.iter() {
        let plain = d.run.evaluation.as_ref().map(|e| e.top1);
        let averaged = d.run.averaged.iter().map(|e| Row { run: Some(d.identity.clone()), ..row(e, plain) });
        rows.extend(averaged);
    }
    let finished = runs.iter().filter(|d| d.identity.comparable && !d.run.history.is_empty()).count();
    Averaged { rows, possible: finished > 0, fusible: finished > 1 }
}

fn row(e: &Evaluation, alone: Option<f64>) -> Row {
    let gain = alone.map(|alone| 100.0 * (e.top1 - alone));
    Row {
        run: None,
        fused: None,
        views: e.tta.map_or("plain", |tta| tta.name()),
        words: e.tta.map_or("each image as it is", |tta| tta.words()),
        split: None,
        alone: Cell::optional(alone, format::percent),
        top1: Cell::number(e.top1, format::percent(e.top1)),
        interval: statistics::wilson(e.top1, e.images).map(format::percent_range),
        gain: Cell::optional(gain, |points| format!("{points:+.1}")),
        top5: Cell::number(e.top5, format::percent(e.top5)),
        loss: Cell::number(e.loss, format::loss(e.loss)),
        calibration: Cell::optional(e.calibration.as_ref().map(|c| c.error), format::percent),
    }
}

/// Who is in it, and whether that is everybody that has the same data.
pub fn fused(fusion: &Fusion, runs: &Runs) -> Fused {
    let find = |name: &str| runs.by_name(name).map(|d| d.identity.clone());
    let members: Vec<Fellow> = fusion
        .runs
        .iter()
        .map(|member| Fellow { name: member.run.clone(), run: find(&member.run), top1: format::percent(member.top1) })
        .collect();
    let in_it = |name: &str| fusion.runs.iter().any(|member| member.run == name);
    let mut others = runs.iter().filter(|d| d.run.known_as == fusion.content_sha256 && !d.run.history.is_empty());
    let all = others.all(|d| in_it(&d.identity.name));
    let count = members.len();
    let name = match (all, count) {
        (true, 2) => "Both models fused".to_owned(),
        (true, _) => format!("All {count} models fused"),
        (false, _) => format!("{count} models fused"),
    };
    Fused { name, members }
}
