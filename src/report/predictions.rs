//! Reads `predictions.csv` (see [`crate::inference::predictions`] for its columns); decides nothing about them.

use std::path::Path;

use crate::error::{Error, Result};
use crate::inference::predictions::COLUMNS;

/// The columns after those of the runs; tables of the first version lack the last one, the confidence.
const OLDER: usize = COLUMNS.len() - 1;

/// The whole table.
pub struct Predictions {
    /// Run names, in column order.
    pub runs: Vec<String>,
    pub rows: Vec<Row>,
}

/// One test image.
pub struct Row {
    /// File name in the test pack.
    pub image: String,
    /// A class index for each run.
    pub by_run: Vec<usize>,
    /// The class most runs chose.
    pub vote: usize,
    pub vote_wnid: String,
    pub vote_name: String,
    /// Mean softmax of that class over the runs, in 0..1.
    pub confidence: Option<f64>,
}

impl Predictions {
    /// Reads the table. Errors name the line.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |e: csv::Error| Error::data(path, e).with_help("run `vggkit predict` again");
        let mut reader = csv::Reader::from_path(path).map_err(wrong)?;
        let header = reader.headers().map_err(wrong)?.clone();
        let tail = if header.iter().next_back() == Some(COLUMNS[OLDER]) { &COLUMNS[..] } else { &COLUMNS[..OLDER] };
        let runs = header.len().saturating_sub(1 + tail.len());
        if header.get(0) != Some("image") || runs == 0 || !header.iter().skip(1 + runs).eq(tail.iter().copied()) {
            let what = format!("its columns are not `image`, one a run, {}", COLUMNS.join(", "));
            return Err(Error::data(path, what).with_help("run `vggkit predict` to make it"));
        }
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(wrong)?;
            let line = record.position().map_or(0, csv::Position::line);
            let field = |i: usize| record.get(i).unwrap_or_default();
            let index = |i: usize| {
                field(i).parse::<usize>().map_err(|_| {
                    Error::data(path, format!("line {line}: {:?} is not a class index", field(i)))
                        .with_help("run `vggkit predict` again")
                })
            };
            let confidence = match tail.len() {
                OLDER => None,
                all => Some(field(runs + all).parse().ok().filter(|p| (0.0..=1.0).contains(p)).ok_or_else(|| {
                    Error::data(path, format!("line {line}: {:?} is not a probability", field(runs + all)))
                        .with_help("run `vggkit predict` again")
                })?),
            };
            rows.push(Row {
                image: field(0).to_owned(),
                by_run: (1..=runs).map(index).collect::<Result<_>>()?,
                vote: index(runs + 1)?,
                vote_wnid: field(runs + 2).to_owned(),
                vote_name: field(runs + 3).to_owned(),
                confidence,
            });
        }
        Ok(Self { runs: header.iter().skip(1).take(runs).map(str::to_owned).collect(), rows })
    }
}
