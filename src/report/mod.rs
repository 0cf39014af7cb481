//! From runs to one self-contained page: load what the other commands wrote, make one typed view of it, render it.
//!
//! It reads only what `prepare`, `verify`, `train`, `evaluate` and `predict` wrote; it computes no network and
//! changes none of those files. What cannot be read is named, on the page and to the caller, and stops nothing else.

use std::io::Write;
use std::path::PathBuf;

use crate::error::Result;
use crate::files;

mod charts;
mod format;
mod images;
mod load;
mod page;
mod predictions;
mod reference;
mod statistics;
mod view;

pub use load::{Problem, Sources};

/// What was rendered.
#[derive(Clone, Debug)]
pub struct Report {
    /// The page.
    pub page: PathBuf,
    /// Runs on it.
    pub runs: usize,
    /// What could not be read; also named on the page.
    pub problems: Vec<Problem>,
    /// What was not there and how to make it; also said on the page.
    pub missing: Vec<String>,
}

/// Renders `<out>/index.html`. The same inputs give the same bytes.
///
/// Errors: the page cannot be written. Inputs that cannot be read are [`Report::problems`], not errors.
pub fn render(sources: &Sources, out: &std::path::Path) -> Result<Report> {
    let inputs = load::load(sources);
    let view = view::build(&inputs)?;
    let html = page::render(&view)?;
    let page = out.join("index.html");
    files::write_atomic(&page, |w| w.write_all(html.as_bytes()))?;
    Ok(Report { page, runs: inputs.runs.len(), problems: view.problems, missing: inputs.missing })
}
