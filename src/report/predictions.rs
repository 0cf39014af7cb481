//! Reads `predictions.csv` (see [`crate::inference::predictions`] for its columns); decides nothing about them.

use std::path::Path;

use crate::error::{Error, Result};

/// The columns after those of the runs.
const TAIL: [&str; 5] = ["vote", "vote_wnid", "vote_name", "mean_softmax", "mean_softmax_wnid"];

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
}

impl Predictions {
    /// Reads the table. Errors name the line.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |e: csv::Error| Error::data(path, e).with_help("run `vggkit predict` again");
        let mut reader = csv::Reader::from_path(path).map_err(wrong)?;
        let header = reader.headers().map_err(wrong)?.clone();
        let runs = header.len().saturating_sub(1 + TAIL.len());
        if header.get(0) != Some("image") || runs == 0 || !header.iter().skip(1 + runs).eq(TAIL) {
            let what = format!("its columns are not `image`, one a run, {}", TAIL.join(", "));
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
            rows.push(Row {
                image: field(0).to_owned(),
                by_run: (1..=runs).map(index).collect::<Result<_>>()?,
                vote: index(runs + 1)?,
                vote_wnid: field(runs + 2).to_owned(),
                vote_name: field(runs + 3).to_owned(),
            });
        }
        Ok(Self { runs: header.iter().skip(1).take(runs).map(str::to_owned).collect(), rows })
    }
}
