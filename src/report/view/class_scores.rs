//! Precision, recall and F1 of every class, from the confusion matrix of a run.

use serde::Serialize;

use super::super::format;
use super::parts::Cell;
use crate::inference::class_scores::{ClassScores, scores};
use crate::inference::evaluation::{ClassAccuracy, Evaluation};

/// The table of one run.
#[derive(Serialize)]
pub struct ScoreTable {
    /// The class with the highest F1 first.
    pub rows: Vec<ScoreRow>,
    /// Mean over the classes: precision, recall, F1.
    pub mean: [Cell; 3],
}

/// A class.
#[derive(Serialize)]
pub struct ScoreRow {
    pub name: String,
    pub wnid: String,
    pub images: Cell,
    /// Precision, recall, F1.
    pub scores: [Cell; 3],
}

pub fn build(e: &Evaluation) -> ScoreTable {
    let all = scores(&e.confusion);
    let cells = |s: &ClassScores| [s.precision, s.recall, s.f1].map(|v| Cell::number(v, format::percent(v)));
    let mut scored: Vec<_> =
        e.per_class.iter().zip(&all.classes).filter_map(|(class, scores)| Some((class, scores.as_ref()?))).collect();
    scored.sort_by(|(a, x), (b, y)| y.f1.total_cmp(&x.f1).then_with(|| a.wnid.cmp(&b.wnid)));
    let row = |(class, scores): (&ClassAccuracy, &ClassScores)| ScoreRow {
        name: class.name.clone(),
        wnid: class.wnid.clone(),
        images: Cell::number(class.images as f64, format::count(class.images)),
        scores: cells(scores),
    };
    ScoreTable { rows: scored.into_iter().map(row).collect(), mean: cells(&all.mean) }
}
