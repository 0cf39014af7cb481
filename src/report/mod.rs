//! From runs to one self-contained page: load what the other commands wrote, make one typed view of it, render it.
//!
//! It reads only what `prepare`, `verify`, `train`, `evaluate` and `predict` wrote; it computes no network and
//! changes none of those files. What cannot be read is named, on the page and to the caller, and stops nothing else.
//! [`live`] makes another page, with a network in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::Result;

mod assets;
mod axes;
mod beside;
mod charts;
mod commands;
mod discover;
mod evaluated;
mod format;
mod images;
mod ink;
mod inputs;
pub mod live;
mod load;
mod page;
mod predictions;
mod raw;
mod reference;
mod reliability;
mod seriation;
mod sources;
mod statistics;
mod view;
mod watch;

pub use beside::FILES;
pub use inputs::Problem;
pub use sources::Sources;
pub use watch::{Fingerprint, fingerprint, trained_now};

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
    /// What lies beside the page and vggkit did not write: it was left there.
    pub foreign: Vec<PathBuf>,
}

/// How a page is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Images as files beside the page, not inside it.
    pub split_assets: bool,
    /// Trainings go on: the page says so and loads itself again every few seconds.
    pub following: bool,
    /// Replace a page that vggkit did not write.
    pub force: bool,
}

/// Errors: a page that vggkit did not write is in the place of `<out>/index.html`, and is not to be replaced.
pub fn check(out: &Path, force: bool) -> Result<()> {
    beside::check(&out.join("index.html"), force)
}

/// Renders `<out>/index.html` and what lies beside it. The same inputs give the same bytes.
///
/// Errors: the page cannot be written, or one that vggkit did not write is in its place. Inputs that cannot be read are [`Report::problems`], not errors.
pub fn render(sources: &Sources, out: &Path, options: Options) -> Result<Report> {
    check(out, options.force)?; // before the work
    let inputs = load::load(sources);
    let runs = view::Runs::new(&inputs)?;
    let raw = raw::collect(&inputs, &runs)?;
    let trained_now = || view::Following::new(&runs, &watch::trained_now(sources), watch::reload_seconds(&inputs));
    let mut view = view::build(&inputs, &runs, &raw, options.following.then(trained_now))?;
    view.live = live::is_there(out).then_some(live::FILE);
    let mut html = page::render(&view, options.split_assets)?;
    let mut files = BTreeMap::new();
    if options.split_assets {
        let split = assets::split(&html, &format!("{FILES}/images"));
        html = split.html;
        files.extend(split.files.into_iter().map(|(name, bytes)| (format!("images/{name}"), bytes)));
    }
    files.extend(raw.into_files().map(|file| (format!("raw/{}", file.path), file.bytes)));
    let (page, foreign) = beside::put(out, &html, FILES, &files, options.force)?;
    Ok(Report { page, runs: inputs.runs.len(), problems: view.problems, missing: inputs.missing, foreign })
}
