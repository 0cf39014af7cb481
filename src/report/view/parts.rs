//! What sections of the page are made of: cells, tables, charts and pictures.

use serde::Serialize;

use super::super::images::DataUri;
use super::super::ink::Svg;

/// A table cell that a script can sort by.
#[derive(Clone, Serialize)]
pub struct Cell {
    pub text: String,
    /// Empty for "nothing here", which sorts last.
    pub sort: String,
}

impl Cell {
    pub fn number(value: f64, text: String) -> Self {
        Self { text, sort: value.to_string() }
    }

    pub fn optional(value: Option<f64>, format: impl Fn(f64) -> String) -> Self {
        value.map_or_else(Self::nothing, |v| Self::number(v, format(v)))
    }

    pub fn nothing() -> Self {
        Self { text: "–".into(), sort: String::new() }
    }
}

/// A chart with the numbers behind it.
#[derive(Serialize)]
pub struct Chart {
    pub title: String,
    pub svg: Svg,
    pub table: Table,
}

/// A plain table of numbers.
#[derive(Serialize)]
pub struct Table {
    pub caption: String,
    pub columns: Vec<String>,
    /// The first text of a row heads it.
    pub rows: Vec<Vec<String>>,
}

/// An image with what it is.
#[derive(Serialize)]
pub struct Picture {
    pub source: DataUri,
    pub alt: String,
}

/// `wanted` of `available` indices, evenly spread.
pub fn evenly(available: usize, wanted: usize) -> impl Iterator<Item = usize> {
    let n = wanted.min(available);
    (0..n).map(move |i| (2 * i + 1) * available / (2 * n))
}
