//! What the networks get wrong: classes, pairs of classes, and single images, from the evaluations.

use std::collections::HashMap;

use serde::Serialize;

use super::super::format;
use super::super::images::{DataUri, matrix, thumbnail};
use super::super::load::Inputs;
use super::Picture;
use super::identity::{Described, Identity, Runs};
use crate::dataset::Pack;
use crate::error::Result;
use crate::inference::evaluation::Evaluation;

/// Up to this many classes the confusion matrix is a table, above it a picture.
const TABLE_CLASSES: usize = 20;
/// Classes shown at either end.
const CLASSES: usize = 8;
/// Pairs of classes shown.
const PAIRS: usize = 10;
/// Mistakes shown for the best run and for each other one.
const IMAGES: [usize; 2] = [24, 12];

/// The section.
#[derive(Serialize)]
pub struct Mistakes {
    /// The best run first.
    pub runs: Vec<RunMistakes>,
    /// Accuracy of every class in every run.
    pub classes: Option<ClassTable>,
    /// Runs without an evaluation.
    pub unevaluated: Vec<Identity>,
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
    pub confusion: Confusion,
    pub images: Vec<MistakeView>,
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

/// Two classes that are taken for each other.
#[derive(Serialize)]
pub struct Pair {
    pub truth: String,
    pub predicted: String,
    pub count: u32,
    /// Of the images of the true class.
    pub share: String,
}

/// The confusion matrix.
#[derive(Serialize)]
pub struct Confusion {
    pub names: Vec<String>,
    /// Few enough for headings that do not stand upright.
    pub few: bool,
    /// For few classes: counts with a shade from 0 to 9.
    pub table: Option<Vec<Vec<(u32, usize)>>>,
    /// For many.
    pub picture: Option<DataUri>,
}

/// A wrong prediction.
#[derive(Serialize)]
pub struct MistakeView {
    pub picture: Option<Picture>,
    pub file: String,
    pub truth: String,
    pub predicted: String,
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
    pub cells: Vec<super::Cell>,
}

pub fn build(inputs: &Inputs, runs: &Runs) -> Result<Mistakes> {
    let best = runs.ranked().first().map(|d| d.identity.id.clone());
    let evaluated = |d: &Described| d.run.evaluation.is_some();
    let mut shown: Vec<_> = runs.iter().filter(|d| evaluated(d)).collect();
    shown.sort_by_key(|d| Some(&d.identity.id) != best.as_ref()); // stable: the best first
    let of_run = |(i, d): (usize, &&Described)| {
        d.run.evaluation.as_ref().map(|e| of_run(d, e, inputs, IMAGES[usize::from(i > 0)]))
    };
    Ok(Mistakes {
        runs: shown.iter().enumerate().filter_map(of_run).collect::<Result<_>>()?,
        classes: class_table(runs),
        unevaluated: runs.iter().filter(|d| !evaluated(d)).map(|d| d.identity.clone()).collect(),
    })
}

fn of_run(d: &Described, e: &Evaluation, inputs: &Inputs, images: usize) -> Result<RunMistakes> {
    let mut classes: Vec<_> = e.per_class.iter().filter(|c| c.images > 0).collect();
    classes.sort_by(|a, b| b.top1.total_cmp(&a.top1).then_with(|| a.wnid.cmp(&b.wnid)));
    let bars = |part: &[&crate::inference::evaluation::ClassAccuracy]| {
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
    Ok(RunMistakes {
        run: d.identity.clone(),
        split: e.split.clone(),
        best: bars(best),
        worst: bars(worst),
        pairs: pairs(e),
        confusion: confusion(e)?,
        images: mistakes(d, e, inputs, images)?,
    })
}

fn pairs(e: &Evaluation) -> Vec<Pair> {
    let mut wrong: Vec<(u32, usize, usize)> = Vec::new();
    for (truth, row) in e.confusion.iter().enumerate() {
        wrong.extend(row.iter().enumerate().filter(|(p, n)| *p != truth && **n > 0).map(|(p, n)| (*n, truth, p)));
    }
    wrong.sort_by_key(|&(n, truth, predicted)| (std::cmp::Reverse(n), truth, predicted));
    let pair = |(count, truth, predicted): (u32, usize, usize)| {
        let of: u64 = e.confusion[truth].iter().map(|n| u64::from(*n)).sum();
        Pair {
            truth: e.per_class[truth].name.clone(),
            predicted: e.per_class[predicted].name.clone(),
            count,
            share: format::percent(f64::from(count) / of.max(1) as f64),
        }
    };
    wrong.into_iter().take(PAIRS).map(pair).collect()
}

fn confusion(e: &Evaluation) -> Result<Confusion> {
    let side = e.confusion.len();
    let share = |row: &[u32], n: u32| f64::from(n) / row.iter().map(|v| f64::from(*v)).sum::<f64>().max(1.0);
    let shade = |row: &[u32], n: u32| if n == 0 { 0 } else { (share(row, n) * 10.0).ceil().clamp(1.0, 9.0) as usize };
    let few = side <= TABLE_CLASSES;
    let table = few.then(|| e.confusion.iter().map(|row| row.iter().map(|n| (*n, shade(row, *n))).collect()).collect());
    let values = || e.confusion.iter().flat_map(|row| row.iter().map(|n| share(row, *n))).collect::<Vec<_>>();
    let picture = if few { None } else { Some(matrix(&values(), side, (600 / side).clamp(1, 8))?) };
    Ok(Confusion { few: side <= 12, names: e.per_class.iter().map(|c| c.name.clone()).collect(), table, picture })
}

fn mistakes(d: &Described, e: &Evaluation, inputs: &Inputs, wanted: usize) -> Result<Vec<MistakeView>> {
    let same_data = inputs.data.as_ref().filter(|data| data.sha256 == d.run.run.data.manifest_sha256);
    let pack = same_data.and_then(|data| data.packs.get(&e.split));
    let index: HashMap<&str, usize> =
        pack.iter().flat_map(|p| p.files.iter().enumerate()).map(|(i, f)| (f.as_str(), i)).collect();
    let view = |m: &crate::inference::evaluation::Mistake| {
        let (truth, predicted) = (e.per_class[m.truth].name.clone(), e.per_class[m.predicted].name.clone());
        let picture = match (pack, index.get(m.file.as_str())) {
            (Some(pack), Some(&i)) => Some(picture(pack, i, &truth, &predicted)?),
            _ => None,
        };
        Ok(MistakeView { picture, file: m.file.clone(), truth, predicted, probability: format::percent(m.probability) })
    };
    e.mistakes.iter().take(wanted).map(view).collect()
}

fn picture(pack: &Pack, index: usize, truth: &str, predicted: &str) -> Result<Picture> {
    Ok(Picture { source: thumbnail(pack, index)?, alt: format!("{truth}, taken for {predicted}") })
}

/// Accuracy by class over the comparable runs that were evaluated.
fn class_table(runs: &Runs) -> Option<ClassTable> {
    let evaluated: Vec<_> =
        runs.iter().filter(|d| d.identity.comparable).filter_map(|d| Some((d, d.run.evaluation.as_ref()?))).collect();
    let (_, first) = evaluated.first()?;
    let rows = first.per_class.iter().enumerate().map(|(i, class)| {
        let cell = |(_, e): &(_, &Evaluation)| {
            super::Cell::optional(e.per_class.get(i).filter(|c| c.images > 0).map(|c| c.top1), format::percent)
        };
        ClassRow { name: class.name.clone(), wnid: class.wnid.clone(), cells: evaluated.iter().map(cell).collect() }
    });
    Some(ClassTable { rows: rows.collect(), runs: evaluated.iter().map(|(d, _)| d.identity.clone()).collect() })
}
