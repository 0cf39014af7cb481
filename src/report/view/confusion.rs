//! Confusion matrices: for few classes a table, for many a picture with its counts beside it. Classes that are taken for
//! each other stand together, in one order for all runs of the same classes, so that matrices can be compared.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::images::{DataUri, matrix};
use super::super::{format, seriation};
use super::parts::Cell;
use crate::error::Result;
use crate::inference::evaluation::Evaluation;

/// Up to this many classes the matrix is a table, above it a picture.
const TABLE_CLASSES: usize = 20;
/// Pairs of classes listed.
const PAIRS: usize = 50;
/// Per cent of a picture's side that the class names may take: as much as the longest needs. `templates/parts.css` has a
/// style for each.
const NAMES: [u8; 5] = [6, 9, 14, 20, 28];
/// Characters that fit there, for each unit (the side of a cell) of that space.
const CHARACTERS: f64 = 2.1;

/// An order of classes, and the names along a picture in that order.
#[derive(Serialize)]
pub struct Order {
    /// Anchor.
    pub id: String,
    /// Readable name and wnid, in order.
    pub classes: Vec<(String, String)>,
    /// Room for names beside the picture, in cells.
    pub start: f64,
    /// The same in per cent of the side: one of [`NAMES`].
    pub names: u8,
    /// Middle of each cell, with what fits of the name; only for pictures.
    pub labels: Vec<(f64, String)>,
    /// Class index at each place.
    #[serde(skip)]
    indices: Vec<usize>,
    #[serde(skip)]
    wnids: Vec<String>,
}

/// The matrix of one run.
#[derive(Serialize)]
pub struct Confusion {
    /// Index into the orders.
    pub order: usize,
    /// Few enough for headings that do not stand upright.
    pub few: bool,
    /// For few classes: counts with a shade from 0 to 9.
    pub table: Option<Vec<Vec<(u32, usize)>>>,
    /// For many: a pixel a cell.
    pub picture: Option<DataUri>,
    /// For many: all counts, row by row; n zeros as n-th letter of the alphabet, other counts in digits, a full stop between.
    pub counts: String,
}

/// Two classes that are taken for each other.
#[derive(Serialize)]
pub struct Pair {
    pub truth: String,
    pub truth_wnid: String,
    pub predicted: String,
    pub predicted_wnid: String,
    pub count: u32,
    /// Of the images of the true class.
    pub share: Cell,
}

/// An order for each set of classes among the evaluations, from the mean of their matrices.
pub fn orders(evaluations: &[&Evaluation]) -> Vec<Order> {
    let wnids = |e: &Evaluation| e.per_class.iter().map(|c| c.wnid.clone()).collect::<Vec<_>>();
    let mut orders: Vec<Order> = Vec::new();
    for e in evaluations {
        let own = wnids(e);
        if orders.iter().any(|o| o.wnids == own) {
            continue;
        }
        let mut mean = vec![vec![0.0; own.len()]; own.len()];
        for same in evaluations.iter().filter(|other| wnids(other) == own) {
            for (sum, row) in mean.iter_mut().zip(&same.confusion) {
                sum.iter_mut().zip(shares(row)).for_each(|(sum, share)| *sum += share);
            }
        }
        let indices = seriation::order(&mean);
        let n = indices.len() as f64;
        let start = |names: u8| n * f64::from(names) / (100.0 - f64::from(names));
        let fitting = |names: u8| ((start(names) - 1.0) * CHARACTERS).max(1.0) as usize;
        let longest = e.per_class.iter().map(|c| c.name.chars().count()).max().unwrap_or_default();
        let names = NAMES.into_iter().find(|names| fitting(*names) >= longest).unwrap_or(NAMES[NAMES.len() - 1]);
        let label = |(place, index): (usize, &usize)| {
            (place as f64 + 0.5, format::ellipsis(&e.per_class[*index].name, fitting(names)))
        };
        let pictured = indices.len() > TABLE_CLASSES;
        orders.push(Order {
            id: format!("order-{}", orders.len() + 1),
            classes: indices.iter().map(|i| (e.per_class[*i].name.clone(), own[*i].clone())).collect(),
            start: (start(names) * 100.0).round() / 100.0,
            names,
            labels: indices.iter().enumerate().filter(|_| pictured).map(label).collect(),
            indices,
            wnids: own,
        });
    }
    orders
}

/// The matrix of an evaluation in the order of its classes.
pub fn build(e: &Evaluation, orders: &[Order]) -> Result<Confusion> {
    let fits = |o: &Order| o.wnids.iter().eq(e.per_class.iter().map(|c| &c.wnid));
    let order = orders.iter().position(fits).unwrap_or_default();
    let indices = orders.get(order).map_or(&[][..], |o| &o.indices);
    let counts: Vec<Vec<u32>> = indices.iter().map(|t| indices.iter().map(|p| e.confusion[*t][*p]).collect()).collect();
    let side = counts.len();
    if side <= TABLE_CLASSES {
        let shade = |share: f64| if share == 0.0 { 0 } else { (share * 10.0).ceil().clamp(1.0, 9.0) as usize };
        let shaded = |row: &Vec<u32>| row.iter().copied().zip(shares(row).into_iter().map(shade)).collect();
        let table = Some(counts.iter().map(shaded).collect());
        return Ok(Confusion { order, few: side <= 12, table, picture: None, counts: String::new() });
    }
    let mut values: Vec<Vec<f64>> = counts.iter().map(|row| shares(row)).collect();
    let wrong = |(t, row): (usize, &Vec<f64>)| {
        row.iter().enumerate().filter(|(p, _)| *p != t).map(|(_, v)| *v).fold(0.0, f64::max)
    };
    let largest = values.iter().enumerate().map(wrong).fold(f64::MIN_POSITIVE, f64::max);
    for (t, row) in values.iter_mut().enumerate() {
        row.iter_mut().enumerate().filter(|(p, _)| *p != t).for_each(|(_, v)| *v /= largest);
    }
    Ok(Confusion { order, few: false, table: None, picture: Some(matrix(&values)?), counts: encoded(&counts) })
}

/// The pairs that are confused most often, the most frequent first.
pub fn pairs(e: &Evaluation) -> Vec<Pair> {
    let mut wrong: Vec<(u32, usize, usize)> = Vec::new();
    for (truth, row) in e.confusion.iter().enumerate() {
        wrong.extend(row.iter().enumerate().filter(|(p, n)| *p != truth && **n > 0).map(|(p, n)| (*n, truth, p)));
    }
    wrong.sort_by_key(|&(n, truth, predicted)| (std::cmp::Reverse(n), truth, predicted));
    let pair = |(count, truth, predicted): (u32, usize, usize)| {
        let (t, p) = (&e.per_class[truth], &e.per_class[predicted]);
        Pair {
            truth: t.name.clone(),
            truth_wnid: t.wnid.clone(),
            predicted: p.name.clone(),
            predicted_wnid: p.wnid.clone(),
            count,
            share: Cell::optional(Some(shares(&e.confusion[truth])[predicted]), format::percent),
        }
    };
    wrong.into_iter().take(PAIRS).map(pair).collect()
}

/// A row's counts as shares of its sum.
fn shares(row: &[u32]) -> Vec<f64> {
    let sum: u64 = row.iter().map(|n| u64::from(*n)).sum();
    row.iter().map(|n| f64::from(*n) / sum.max(1) as f64).collect()
}

/// See [`Confusion::counts`].
fn encoded(counts: &[Vec<u32>]) -> String {
    let mut text = String::new();
    let mut zeros = 0_usize;
    let flush = |text: &mut String, zeros: &mut usize| {
        while *zeros > 0 {
            let run = (*zeros).min(26);
            text.push(char::from(b'A' + (run - 1) as u8));
            *zeros -= run;
        }
    };
    for count in counts.iter().flatten() {
        if *count == 0 {
            zeros += 1;
            continue;
        }
        flush(&mut text, &mut zeros);
        if text.ends_with(|c: char| c.is_ascii_digit()) {
            text.push('.');
        }
        let _ = write!(text, "{count}"); // writing to a String does not fail
    }
    flush(&mut text, &mut zeros);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_written_short() {
        assert_eq!(encoded(&[vec![12, 0, 0], vec![3, 4, 0], vec![0, 0, 1]]), "12B3.4C1");
        assert_eq!(encoded(&[vec![0; 60]]), "ZZH");
        assert_eq!(encoded(&[]), "");
    }
}
