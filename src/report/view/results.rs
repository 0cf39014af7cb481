//! The accuracy, loss and cost tables: the five networks of the replaced project, and a row for each run.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::format;
use super::super::inputs::Inputs;
use super::super::reference::{REPLACED, REPLACED_README, replaced};
use super::identity::{Described, Identity, Runs};
use super::parts::Cell;
use super::verdict;
use crate::training::selection;
use crate::vgg::Network;

/// All three tables.
#[derive(Serialize)]
pub struct Results {
    pub rows: Vec<Row>,
    /// Networks of the replaced project without a run here.
    pub untrained: Vec<Untrained>,
    /// What to know about the figures.
    pub notes: Vec<String>,
    pub replaced_readme: &'static str,
    /// Any run has an evaluation on its train split.
    pub train_evaluated: bool,
}

/// A run in the tables.
#[derive(Serialize)]
pub struct Row {
    pub run: Identity,
    /// The best of the comparable ones.
    pub best: bool,
    /// Still running, or stopped early.
    pub state: Option<&'static str>,
    pub train_top1: Cell,
    /// By `vggkit evaluate --split train`.
    pub train_top1_evaluated: Option<String>,
    pub val_top1: Cell,
    pub val_interval: Option<String>,
    pub val_top5: Cell,
    /// The replaced project's validation accuracy and whether it can be compared.
    pub replaced: Cell,
    pub replaced_comparable: bool,
    pub train_loss: Cell,
    pub val_loss: Cell,
    pub best_epoch: Cell,
    pub epochs: Cell,
    pub planned: String,
    pub parameters: Cell,
    pub macs: Cell,
    pub time: Cell,
    pub rate: Cell,
    pub engine: String,
    pub adapter: String,
}

/// A network without a run.
#[derive(Serialize)]
pub struct Untrained {
    pub network: String,
    pub command: String,
    pub replaced: String,
}

pub fn build(inputs: &Inputs, runs: &Runs) -> Results {
    let best = runs.ranked().first().map(|d| d.identity.id.clone());
    let rows: Vec<Row> = runs.iter().map(|d| row(d, inputs, best.as_deref() == Some(&d.identity.id))).collect();
    let untrained = REPLACED
        .iter()
        .map(|r| (r, Network { depth: r.depth, conv1x1: r.conv1x1, ..Network::default() }))
        .filter(|(_, n)| !runs.iter().any(|d| d.identity.network == n.brief()))
        .map(|(r, n)| Untrained {
            network: n.brief(),
            command: inputs.commands.train(&format!("-d {}{}", n.depth, if n.conv1x1 { " -c11" } else { "" })),
            replaced: format::percent(r.val_top1),
        })
        .collect();
    let rules = runs.iter().map(|d| selection::rule(&d.run.run.training)).collect();
    let train_evaluated = rows.iter().any(|r| r.train_top1_evaluated.is_some());
    Results {
        notes: notes(&rows, &rules, train_evaluated),
        rows,
        untrained,
        replaced_readme: REPLACED_README,
        train_evaluated,
    }
}

fn row(d: &Described, inputs: &Inputs, best: bool) -> Row {
    let (figures, settings) = (&d.figures, &d.run.run);
    let whole = |v: Option<usize>| Cell::optional(v.map(|v| v as f64), |v| format!("{v:.0}"));
    let theirs = replaced(&settings.network).filter(|_| !d.identity.own_images).map(|r| r.val_top1);
    Row {
        run: d.identity.clone(),
        best,
        state: state(d),
        train_top1: Cell::optional(figures.train_top1, format::percent),
        train_top1_evaluated: d.run.train_evaluation.as_ref().map(|e| format::percent(e.top1)),
        val_top1: Cell::optional(figures.val_top1, format::percent),
        val_interval: figures.val_interval.map(format::percent_range),
        val_top5: Cell::optional(figures.val_top5, format::percent),
        replaced: Cell::optional(theirs, format::percent),
        replaced_comparable: verdict::other_conditions(d.run, inputs).is_none(),
        train_loss: Cell::optional(figures.train_loss, format::loss),
        val_loss: Cell::optional(figures.val_loss, format::loss),
        best_epoch: whole(figures.best_epoch),
        epochs: whole((figures.epochs > 0).then_some(figures.epochs)),
        planned: settings.training.epochs.to_string(),
        parameters: Cell::number(d.run.plan.parameters() as f64, format::short(d.run.plan.parameters() as f64)),
        macs: Cell::number(d.run.plan.macs() as f64, format::short(d.run.plan.macs() as f64)),
        time: Cell::optional(figures.seconds, format::duration),
        rate: Cell::optional(figures.images_per_s, format::rate),
        engine: settings.origin.device.engine.clone(),
        adapter: settings.origin.device.adapter.clone(),
    }
}

fn state(d: &Described) -> Option<&'static str> {
    match d.run.run.origin.stopped_by.as_str() {
        "diverged" => Some("diverged"),
        _ if d.run.history.is_empty() => Some("no epoch finished yet"),
        "" => Some("not finished"),
        "signal" => Some("stopped by a signal"),
        _ => None,
    }
}

fn notes(rows: &[Row], rules: &BTreeSet<String>, train_evaluated: bool) -> Vec<String> {
    let rules: Vec<_> = rules.iter().map(String::as_str).collect();
    let rules = rules.join(", or as the run's settings say ");
    let mut notes = vec![
        format!("Every figure of a run is that of its best epoch, whose weights were kept: {rules}."),
        "Train figures were measured during that epoch, in training mode: while the weights were still moving and with \
         augmentation, so they run behind the validation figures of early epochs."
            .to_owned(),
    ];
    if train_evaluated {
        notes.push(
            "In brackets: the same weights on the train images as they are, by `vggkit evaluate` with `--split train`."
                .into(),
        );
    }
    if rows.iter().any(|row| !row.run.own_images) {
        notes.push(
            "The test split has no published labels, so there is nothing to measure; its predictions are below.".into(),
        );
    }
    if rows.iter().any(|r| !r.replaced_comparable && !r.replaced.sort.is_empty()) {
        notes.push(
            "Figures of the replaced PyTorch project in grey are of all 200 classes of Tiny ImageNet and cannot be compared with a \
             run on other data."
                .into(),
        );
    }
    notes
}
