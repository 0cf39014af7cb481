//! Do two networks say the same, and is one better than the other by more than chance? Pair by pair, over the images that
//! both answered.
//!
//! It compares only runs of the same data whose answers are of the same images in the same order.

use serde::Serialize;

use super::super::format;
use super::super::statistics::{holm, mcnemar};
use super::identity::{Described, Identity};
use super::parts::Cell;
use crate::inference::answers::Answers;

/// Below this a difference is called more than chance.
const LEVEL: f64 = 0.05;

/// The comparison of all pairs.
#[derive(Serialize)]
pub struct Agreement {
    pub split: String,
    pub images: String,
    /// Runs compared, the best first.
    pub runs: usize,
    /// Images that every run gets right, and that none does.
    pub all_right: String,
    pub none_right: String,
    /// Images on which all say the same.
    pub unanimous: String,
    /// The better of the two first.
    pub pairs: Vec<Compared>,
    /// Pairs told apart.
    pub told_apart: usize,
}

/// Two runs.
#[derive(Serialize)]
pub struct Compared {
    pub first: Identity,
    pub second: Identity,
    /// Share of equal predictions.
    pub same: Cell,
    pub both_right: Cell,
    pub first_alone: Cell,
    pub second_alone: Cell,
    pub both_wrong: Cell,
    /// Points of accuracy between them.
    pub lead: Cell,
    /// McNemar's, corrected for the number of pairs.
    pub probability: Cell,
    pub more_than_chance: bool,
}

impl Agreement {
    /// The comparison of these two, the better one first.
    pub fn between(&self, first: &Identity, second: &Identity) -> Option<&Compared> {
        self.pairs.iter().find(|pair| pair.first.id == first.id && pair.second.id == second.id)
    }
}

/// Counts of a pair.
#[derive(Default)]
struct Counts {
    same: usize,
    both: usize,
    first: usize,
    second: usize,
    neither: usize,
}

/// Compares `runs`, the best first. `None` where fewer than two can be compared.
pub fn build(runs: &[&Described]) -> Option<Agreement> {
    let comparable = runs.iter().filter(|d| d.identity.comparable);
    let mut compared: Vec<(&Described, &Answers)> =
        comparable.filter_map(|d| Some((*d, d.run.answers.as_ref()?))).collect();
    let (best, first) = *compared.first()?;
    compared.retain(|(_, a)| a.files == first.files);
    if compared.len() < 2 || first.rows.is_empty() {
        return None;
    }
    let images = first.rows.len();
    let share = |n: usize| n as f64 / images as f64;
    let at = |image: usize| compared.iter().map(move |(_, a)| a.rows[image]);
    let over = |test: &dyn Fn(usize) -> bool| format::percent(share((0..images).filter(|i| test(*i)).count()));
    let mut pairs = Vec::new();
    for (i, (one, a)) in compared.iter().enumerate() {
        pairs.extend(compared[i + 1..].iter().map(|(other, b)| (one, other, count(a, b))));
    }
    let adjusted = holm(&pairs.iter().map(|(.., c)| mcnemar(c.first, c.second)).collect::<Vec<_>>());
    let fraction = |n: usize| Cell::optional(Some(share(n)), format::percent);
    let row = |((first, second, c), p): (&(&&Described, &&Described, Counts), f64)| Compared {
        first: first.identity.clone(),
        second: second.identity.clone(),
        same: fraction(c.same),
        both_right: fraction(c.both),
        first_alone: fraction(c.first),
        second_alone: fraction(c.second),
        both_wrong: fraction(c.neither),
        lead: Cell::optional(Some(share(c.first) - share(c.second)), |v| {
            format!("{:+.1}", 100.0 * v).replace('-', "−")
        }),
        probability: Cell::optional(Some(p), chance),
        more_than_chance: p < LEVEL,
    };
    let rows: Vec<_> = pairs.iter().zip(adjusted).map(row).collect();
    Some(Agreement {
        split: best.run.run.data.val.clone(),
        images: format::counted(images, "image"),
        runs: compared.len(),
        all_right: over(&|i| at(i).all(|a| a.right())),
        none_right: over(&|i| at(i).all(|a| !a.right())),
        unanimous: over(&|i| at(i).all(|a| a.predicted == first.rows[i].predicted)),
        told_apart: rows.iter().filter(|r| r.more_than_chance).count(),
        pairs: rows,
    })
}

fn count(a: &Answers, b: &Answers) -> Counts {
    let mut counts = Counts::default();
    for (a, b) in a.rows.iter().zip(&b.rows) {
        counts.same += usize::from(a.predicted == b.predicted);
        match (a.right(), b.right()) {
            (true, true) => counts.both += 1,
            (true, false) => counts.first += 1,
            (false, true) => counts.second += 1,
            (false, false) => counts.neither += 1,
        }
    }
    counts
}

/// "0.031", "below 0.001".
fn chance(probability: f64) -> String {
    if probability < 0.001 { "< 0.001".into() } else { format!("{probability:.3}") }
}
