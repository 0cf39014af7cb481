//! What the networks get wrong: classes, pairs of classes and single images, from the evaluations; and what they barely get
//! right.

use std::collections::HashMap;

use serde::Serialize;

use super::super::format;
use super::super::images::thumbnail;
use super::super::inputs::Inputs;
use super::agreement::{self, Agreement};
use super::class_scores::{self, ScoreTable};
use super::confusion::{self, Confusion, Order, Pair};
use super::identity::{Described, Identity, Runs};
use super::parts::{Cell, Picture};
use crate::dataset::Pack;
use crate::error::Result;
use crate::inference::evaluation::{ClassAccuracy, Evaluation};

/// Runs shown, the best first: more would be a page that nobody reads to its end.
pub const SHOWN: usize = 12;
/// Classes shown at either end.
const CLASSES: usize = 8;
/// Mistakes shown for the best run and for each other one.
const MISTAKES: [usize; 2] = [24, 12];
/// Hits shown likewise.
const HITS: [usize; 2] = [12, 6];

/// The section.
#[derive(Serialize)]
pub struct Mistakes {
    /// The best run first.
    pub runs: Vec<RunMistakes>,
    /// Orders of classes in the matrices.
    pub orders: Vec<Order>,
    /// Accuracy of every class in every run.
    pub classes: Option<ClassTable>,
    pub agreement: Option<Agreement>,
    /// Evaluated runs beyond those shown.
    pub more: usize,
    /// Runs without an evaluation.
    pub unevaluated: Vec<Identity>,
    /// Evaluated runs without the answers to single images.
    pub unanswered: Vec<Identity>,
}

/// Mistakes of one run.
#[derive(Serialize)]
pub struct RunMistakes {
    pub run: Identity,
    pub split: String,
    pub best: Vec<ClassBar>,
    /// Empty where `best` holds all classes.
    pub worst: Vec<ClassBar>,
    pub pairs: Vec<Pair>,
    pub scores: ScoreTable,
    pub confusion: Confusion,
    /// The first matrix of its order: it draws the names that the others use again.
    pub draws_names: bool,
    /// The most confident mistakes.
    pub mistakes: Vec<Shown>,
    /// The least confident hits.
    pub hits: Vec<Shown>,
}

/// A class with its accuracy.
#[derive(Serialize)]
pub struct ClassBar {
    pub name: String,
    pub wnid: String,
    pub value: String,
    pub images: String,
    /// 0..1000 along the bar.
    pub length: f64,
}

/// A predicted image.
#[derive(Serialize)]
pub struct Shown {
    pub picture: Option<Picture>,
    pub file: String,
    pub truth: String,
    /// `None` where it is the truth.
    pub predicted: Option<String>,
    /// Of the prediction.
    pub probability: String,
}

/// Rows classes, columns runs.
#[derive(Serialize)]
pub struct ClassTable {
    pub runs: Vec<Identity>,
    pub rows: Vec<ClassRow>,
}

/// A row of [`ClassTable`].
#[derive(Serialize)]
pub struct ClassRow {
    pub name: String,
    pub wnid: String,
    /// Mean over the runs; only where there are several.
    pub mean: Option<Cell>,
    pub cells: Vec<Cell>,
}

pub fn build(inputs: &Inputs, runs: &Runs) -> Result<Mistakes> {
    let (mut evaluated, unevaluated): (Vec<_>, Vec<_>) =
        runs.best_first().into_iter().partition(|d| d.run.evaluation.is_some());
    let more = evaluated.len().saturating_sub(SHOWN);
    evaluated.truncate(SHOWN);
    let evaluations: Vec<&Evaluation> = evaluated.iter().filter_map(|d| d.run.evaluation.as_ref()).collect();
    let orders = confusion::orders(&evaluations);
    let of_run = |(i, (d, e)): (usize, (&&Described, &&Evaluation))| of_run(d, e, inputs, &orders, usize::from(i > 0));
    let identities = |list: &[&Described]| list.iter().map(|d| d.identity.clone()).collect();
    let unanswered: Vec<_> = evaluated.iter().filter(|d| d.run.answers.is_none()).copied().collect();
    let mut shown: Vec<RunMistakes> =
        evaluated.iter().zip(&evaluations).enumerate().map(of_run).collect::<Result<_>>()?;
    for order in 0..orders.len() {
        shown.iter_mut().find(|r| r.confusion.order == order).into_iter().for_each(|r| r.draws_names = true);
    }
    Ok(Mistakes {
        runs: shown,
        classes: class_table(&evaluated),
        agreement: agreement::build(&evaluated),
        orders,
        more,
        unevaluated: identities(&unevaluated),
        unanswered: identities(&unanswered),
    })
}

/// `rank` is 0 for the best run and 1 for any other.
fn of_run(d: &Described, e: &Evaluation, inputs: &Inputs, orders: &[Order], rank: usize) -> Result<RunMistakes> {
    let mut classes: Vec<_> = e.per_class.iter().filter(|c| c.images > 0).collect();
    classes.sort_by(|a, b| b.top1.total_cmp(&a.top1).then_with(|| a.wnid.cmp(&b.wnid)));
    let bars = |part: &[&ClassAccuracy]| {
        part.iter()
            .map(|c| ClassBar {
                name: c.name.clone(),
                wnid: c.wnid.clone(),
                value: format::percent(c.top1),
                images: format::counted(c.images, "image"),
                length: (1e4 * c.top1).round() / 10.0,
            })
            .collect::<Vec<_>>()
    };
    let all_fit = classes.len() <= 2 * CLASSES;
    let (best, worst) = if all_fit {
        (&classes[..], &classes[..0])
    } else {
        (&classes[..CLASSES], &classes[classes.len() - CLASSES..])
    };
    let album = Album::new(d, e, inputs);
    Ok(RunMistakes {
        run: d.identity.clone(),
        split: e.split.clone(),
        best: bars(best),
        worst: bars(worst),
        pairs: confusion::pairs(e),
        scores: class_scores::build(e),
        confusion: confusion::build(e, orders)?,
        draws_names: false,
        mistakes: album.mistakes(MISTAKES[rank])?,
        hits: album.hits(d, HITS[rank])?,
    })
}

/// The images of an evaluated split, where they are at hand.
struct Album<'a> {
    evaluation: &'a Evaluation,
    pack: Option<&'a Pack>,
    places: HashMap<String, usize>,
}

impl<'a> Album<'a> {
    fn new(d: &Described, evaluation: &'a Evaluation, inputs: &'a Inputs) -> Self {
        let same_data = inputs.data.as_ref().filter(|data| data.identity.content_sha256 == d.run.known_as);
        let pack = same_data.and_then(|data| data.packs.get(&evaluation.split));
        let names = pack.iter().flat_map(|p| p.image_names().into_iter().enumerate());
        Self { evaluation, pack, places: names.map(|(i, name)| (name, i)).collect() }
    }

    /// The most confident mistakes.
    fn mistakes(&self, wanted: usize) -> Result<Vec<Shown>> {
        let shown = self.evaluation.mistakes.iter().take(wanted);
        shown.map(|m| self.show(&m.file, m.truth, m.predicted, m.probability)).collect()
    }

    /// The least confident hits; none without answers.
    fn hits(&self, d: &Described, wanted: usize) -> Result<Vec<Shown>> {
        let Some(answers) = &d.run.answers else { return Ok(Vec::new()) };
        let mut right: Vec<_> = answers.rows.iter().zip(&answers.files).filter(|(a, _)| a.right()).collect();
        right.sort_by(|(a, f), (b, g)| a.probability.total_cmp(&b.probability).then_with(|| f.cmp(g)));
        let class = |a: u32| a as usize;
        let shown = right.into_iter().take(wanted);
        shown.map(|(a, f)| self.show(f, class(a.truth), class(a.predicted), f64::from(a.probability))).collect()
    }

    fn show(&self, file: &str, truth: usize, predicted: usize, probability: f64) -> Result<Shown> {
        let name = |class: usize| self.evaluation.per_class[class].name.clone();
        let wrong = (truth != predicted).then(|| name(predicted));
        let alt = match &wrong {
            Some(predicted) => format!("{}, taken for {predicted}", name(truth)),
            None => format!("{}, recognised", name(truth)),
        };
        let picture = match (self.pack, self.places.get(file)) {
            (Some(pack), Some(&index)) => Some(Picture { source: thumbnail(pack, index)?, alt }),
            _ => None,
        };
        let (file, probability) = (file.to_owned(), format::percent(probability));
        Ok(Shown { picture, file, truth: name(truth), predicted: wrong, probability })
    }
}

/// Accuracy by class over the comparable runs of `evaluated`.
fn class_table(evaluated: &[&Described]) -> Option<ClassTable> {
    let evaluated: Vec<_> = evaluated
        .iter()
        .filter(|d| d.identity.comparable)
        .filter_map(|d| Some((d, d.run.evaluation.as_ref()?)))
        .collect();
    let (_, first) = evaluated.first()?;
    let rows = first.per_class.iter().enumerate().map(|(i, class)| {
        let of = |e: &Evaluation| e.per_class.get(i).filter(|c| c.images > 0).map(|c| c.top1);
        let values: Vec<f64> = evaluated.iter().filter_map(|(_, e)| of(e)).collect();
        let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        ClassRow {
            name: class.name.clone(),
            wnid: class.wnid.clone(),
            mean: (evaluated.len() > 1).then(|| Cell::optional(mean, format::percent)),
            cells: evaluated.iter().map(|(_, e)| Cell::optional(of(e), format::percent)).collect(),
        }
    });
    Some(ClassTable { rows: rows.collect(), runs: evaluated.iter().map(|(d, _)| d.identity.clone()).collect() })
}
