//! Loss and accuracy over the epochs: all comparable runs over each other, then each run with train and validation.

use serde::Serialize;

use super::super::axes::Measure;
use super::super::charts::{Curve, Spec, draw, value_text};
use super::super::format;
use super::super::ink::Ink;
use super::identity::{Described, Identity, Runs};
use super::parts::{Chart, Table};
use crate::error::Result;
use crate::training::history::{Epoch, HeldOut};
use crate::training::selection::{rule, stopping_loss};

/// All charts.
#[derive(Serialize)]
pub struct Curves {
    /// Validation accuracy and loss of all comparable runs; empty where there are less than two.
    pub overlay: Vec<Chart>,
    /// Learning rate and images per second of all comparable runs.
    pub pace: Vec<Chart>,
    pub runs: Vec<RunCurves>,
    /// Runs without a finished epoch.
    pub empty: Vec<Identity>,
}

/// The charts of one run.
#[derive(Serialize)]
pub struct RunCurves {
    pub run: Identity,
    /// What happened, in a line.
    pub summary: String,
    pub charts: [Chart; 2],
}

/// A column of history.jsonl.
type Column = fn(&Epoch) -> f64;

/// One of the two charts of a run: what it measures, its title, train, validation, and train images that were held out.
type Side = (Measure, &'static str, Column, Column, fn(&HeldOut) -> f64);

/// What the two charts of a run show.
const SIDES: [Side; 2] = [
    (Measure::Accuracy, "Accuracy", |e| e.train_top1, |e| e.val_top1, |h| h.held_out_top1),
    (Measure::Loss, "Loss", |e| e.train_loss, |e| e.val_loss, |h| h.held_out_loss),
];

/// What the charts of all runs show beyond that: title, column, and where it ends in a sentence.
const PACE: [(Measure, &str, Column); 2] = [
    (Measure::LearningRate, "Learning rate", |e| e.lr),
    (Measure::Speed, "Images per second in training", |e| e.images_per_s),
];

pub fn build(runs: &Runs) -> Result<Curves> {
    let (drawn, empty): (Vec<_>, Vec<_>) = runs.iter().partition(|d| !d.run.history.is_empty());
    let comparable: Vec<_> = drawn.iter().copied().filter(|d| d.identity.comparable).collect();
    let overlay = match comparable.len() {
        0 | 1 => Vec::new(),
        _ => {
            let title = |what: &str| format!("Validation {}", what.to_lowercase());
            SIDES
                .iter()
                .map(|(m, what, _, val, _)| together(&comparable, *m, title(what), *val))
                .collect::<Result<_>>()?
        }
    };
    let pace = match comparable.len() {
        0 => Vec::new(),
        _ => PACE.iter().map(|(m, title, c)| together(&comparable, *m, (*title).into(), *c)).collect::<Result<_>>()?,
    };
    Ok(Curves {
        overlay,
        pace,
        runs: drawn.into_iter().map(run_curves).collect::<Result<_>>()?,
        empty: empty.into_iter().map(|d| d.identity.clone()).collect(),
    })
}

fn points(d: &Described, column: Column) -> Vec<(usize, f64)> {
    d.run.history.iter().map(|e| (e.epoch, column(e))).collect()
}

fn together(runs: &[&Described], measure: Measure, title: String, column: Column) -> Result<Chart> {
    let several = |d: &Described| runs.iter().filter(|o| o.identity.colour == d.identity.colour).count() > 1;
    let curves: Vec<Curve> = runs
        .iter()
        .enumerate()
        .map(|(i, d)| Curve {
            label: if several(d) { d.identity.name.clone() } else { d.run.run.network.label() },
            column: i + 1,
            ink: Ink::Run(d.identity.colour, d.identity.dash),
            points: points(d, column),
            best: d.figures.best_epoch,
        })
        .collect();
    let description = format!(
        "{title} of {} over their epochs; a dot marks the best epoch of each. The numbers are in the table below.",
        format::counted(runs.len(), "run")
    );
    let id = format!("overlay-{}", title.to_lowercase().replace(' ', "-"));
    let svg = draw(&Spec { id: &id, title: &title, description: &description, measure, curves: &curves, marks: &[] })?;
    let last = curves.iter().flat_map(|c| c.points.iter().map(|p| p.0)).max().unwrap_or(0);
    let mut rows = Vec::new();
    for epoch in 1..=last {
        let value =
            |c: &Curve| c.points.iter().find(|p| p.0 == epoch).map_or("–".into(), |p| value_text(p.1, measure));
        rows.push(std::iter::once(epoch.to_string()).chain(curves.iter().map(value)).collect());
    }
    let columns = std::iter::once("Epoch".to_owned()).chain(runs.iter().map(|d| d.identity.name.clone())).collect();
    Ok(Chart { svg, table: Table { caption: format!("{title} by epoch"), columns, rows }, title })
}

fn run_curves(d: &Described) -> Result<RunCurves> {
    let [accuracy, loss] = &SIDES;
    Ok(RunCurves {
        run: d.identity.clone(),
        summary: summary(d),
        charts: [run_chart(d, accuracy)?, run_chart(d, loss)?],
    })
}

fn run_chart(d: &Described, &(measure, what, train, val, held_out): &Side) -> Result<Chart> {
    let curve = |label: &str, column, ink, points, best| Curve { label: label.to_owned(), column, ink, points, best };
    let colour = d.identity.colour;
    let mut curves = vec![
        curve("train", 1, Ink::Train(colour), points(d, train), None),
        curve("validation", 2, Ink::Run(colour, 0), points(d, val), d.figures.best_epoch),
    ];
    let history = d.run.history.iter();
    let of_held_out: Vec<_> = history.filter_map(|e| Some((e.epoch, held_out(e.held_out.as_ref()?)))).collect();
    let any_held_out = !of_held_out.is_empty();
    if any_held_out {
        curves.push(curve("held out", 3, Ink::Run(colour, 1), of_held_out, None));
    }
    let mut marks: Vec<_> = d.figures.best_epoch.map(|b| (b, format!("best {b}"))).into_iter().collect();
    if d.run.run.origin.stopped_by == "early stopping" {
        marks.push((d.figures.epochs, "early stop".into()));
    }
    let title = format!("{what} of {}", d.identity.name);
    let description =
        format!("{what} on train and validation over {}. {}", format::counted(d.figures.epochs, "epoch"), summary(d));
    let id = format!("{}-{}", d.identity.id, what.to_lowercase());
    let svg =
        draw(&Spec { id: &id, title: &title, description: &description, measure, curves: &curves, marks: &marks })?;
    let rows = d
        .run
        .history
        .iter()
        .map(|e| {
            let (train, val) = (value_text(train(e), measure), value_text(val(e), measure));
            let learning_rate = format!("{}", e.lr);
            let mut row = vec![e.epoch.to_string(), train, val];
            let held_out = e.held_out.as_ref().map_or("–".into(), |h| value_text(held_out(h), measure));
            row.extend(any_held_out.then_some(held_out));
            row.extend([learning_rate, format::rate(e.images_per_s), format::duration(e.seconds)]);
            row
        })
        .collect();
    let mut columns = vec!["Epoch", "Train", "Validation"];
    columns.extend(any_held_out.then_some("Held out"));
    columns.extend(["Learning rate", "Images/s", "Time"]);
    let columns = columns.into_iter().map(str::to_owned).collect();
    Ok(Chart { svg, table: Table { caption: format!("{title} by epoch"), columns, rows }, title: what.to_owned() })
}

/// "Best at epoch 9 of 15; stopped early after 6 epochs without a lower validation loss."
fn summary(d: &Described) -> String {
    let (figures, settings) = (&d.figures, &d.run.run);
    let by = match settings.training.hold_out > 0.0 {
        true => format!(", {}", rule(&settings.training)),
        false => String::new(),
    };
    let best = figures.best_epoch.map_or_else(String::new, |b| format!("Best at epoch {b} of {}{by}", figures.epochs));
    let end = match settings.origin.stopped_by.as_str() {
        "early stopping" => {
            let patience = format::counted(settings.training.patience, "epoch");
            format!("; stopped early after {patience} without a lower {}", stopping_loss(&settings.training))
        }
        "epochs" => "; all planned epochs done".into(),
        "max steps" => "; stopped at its number of steps".into(),
        "signal" => "; stopped by a signal".into(),
        "diverged" => "; stopped because the loss was no longer a number".into(),
        "" => format!("; not finished ({} planned)", settings.training.epochs),
        other => format!("; stopped by {other}"),
    };
    format!("{best}{end}.")
}
