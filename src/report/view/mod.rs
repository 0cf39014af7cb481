//! The page as one typed value: what the templates show, already in words and in order. No loose keys.
//!
//! Everything here is plain text that the templates escape, except [`Svg`] and [`DataUri`], which only `ink` and
//! `images` make.
//!
//! **To add a section X**: what is read in `report/inputs.rs` and `load.rs`, what is said in `X.rs` here, `templates/X.html` with its
//! anchor, and the anchor in docs/formats.md.

use std::path::Path;

use serde::Serialize;

use super::commands::Commands;
use super::images::DataUri;
use super::inputs::{Inputs, Problem};
use super::raw::{RawFile, RawFiles};
use super::reference::REPLACED_PROJECT;
use crate::error::Result;

mod agreement;
mod architectures;
mod averaged;
mod calibration;
mod class_scores;
mod confusion;
mod curves;
mod data;
mod following;
mod identity;
mod inside;
mod layers;
mod mistakes;
mod parts;
mod provenance;
mod results;
mod test_grid;
mod verdict;
mod verified;

pub use following::Following;
use identity::Identity;
pub use identity::{Described, Runs};

/// The whole page.
#[derive(Serialize)]
pub struct Page {
    pub title: String,
    /// vggkit's version.
    pub version: &'static str,
    /// Some of what is shown was trained on drawn images.
    pub synthetic: Option<String>,
    /// Latest date that any input carries, day only.
    pub date: Option<String>,
    pub problems: Vec<Problem>,
    pub verdict: Option<verdict::Verdict>,
    pub results: results::Results,
    pub averaged: averaged::Averaged,
    pub architectures: architectures::Architectures,
    /// What the trained networks are made of.
    pub anatomies: Vec<layers::Anatomy>,
    pub curves: curves::Curves,
    pub data: data::Data,
    pub mistakes: mistakes::Mistakes,
    pub calibration: calibration::Calibrations,
    pub inside: inside::Inside,
    pub provenance: Vec<provenance::Provenance>,
    /// Tables over all runs that lie beside the page.
    pub tables: Vec<RawFile>,
    /// Where they lie.
    pub raw_folder: String,
    /// A page with a network in it lies beside this one.
    pub live: Option<&'static str>,
    /// Trainings that go on.
    pub following: Option<Following>,
    /// What the project is that figures stand beside, and where they are from.
    pub replaced: &'static str,
    pub commands: Suggested,
}

/// Commands for where something is missing.
#[derive(Serialize)]
pub struct Suggested {
    pub prepare: String,
    pub train: String,
    pub evaluate: String,
    pub predict: String,
    pub verify: String,
    pub report: String,
    /// Of the runs that each concerns.
    pub evaluate_unevaluated: String,
    pub evaluate_unanswered: String,
    pub evaluate_unseen: String,
    pub evaluate_uncalibrated: String,
    /// Of averaged views, and of runs together.
    pub evaluate_views: String,
    pub evaluate_fused: String,
    /// The page with the data set of its first run.
    pub report_with_data: String,
}

impl Suggested {
    fn new(
        inputs: &Inputs,
        mistakes: &mistakes::Mistakes,
        inside: &inside::Inside,
        calibration: &calibration::Calibrations,
    ) -> Self {
        let commands = &inputs.commands;
        let of = |runs: &[Identity]| commands.evaluate_runs(runs.iter().map(|run| run.name.as_str()));
        let own = inputs.runs.first().map_or(Path::new("data"), |run| Path::new(&run.run.data.folder));
        Self {
            prepare: commands.prepare(),
            train: commands.train("-d 11"),
            evaluate: commands.evaluate(),
            predict: commands.predict(),
            verify: commands.verify(),
            report: commands.report(),
            evaluate_unevaluated: of(&mistakes.unevaluated),
            evaluate_unanswered: of(&mistakes.unanswered),
            evaluate_unseen: of(&inside.missing),
            evaluate_uncalibrated: of(&calibration.absent),
            evaluate_views: commands.evaluate_with("--tta flip"),
            evaluate_fused: commands.evaluate_with("--fuse"),
            report_with_data: Commands::new(&inputs.sources, own, false).report(),
        }
    }
}

/// Makes the page of what was read.
pub fn build(inputs: &Inputs, runs: &Runs, raw: &RawFiles, following: Option<Following>) -> Result<Page> {
    let mut problems = inputs.problems.clone();
    let data = data::build(inputs, runs, &mut problems)?;
    let mistakes = mistakes::build(inputs, runs)?;
    let verdict = verdict::build(inputs, runs, mistakes.agreement.as_ref())?;
    let inside = inside::build(inputs, runs)?;
    let calibration = calibration::build(inputs, runs)?;
    Ok(Page {
        title: verdict
            .as_ref()
            .map_or_else(|| "vggkit report".to_owned(), |v| format!("{} – vggkit report", v.headline)),
        version: env!("CARGO_PKG_VERSION"),
        synthetic: synthetic(inputs),
        date: date(inputs),
        verdict,
        results: results::build(inputs, runs),
        averaged: averaged::build(inputs, runs),
        architectures: architectures::build(inputs, runs)?,
        anatomies: layers::build(runs),
        curves: curves::build(runs)?,
        data,
        commands: Suggested::new(inputs, &mistakes, &inside, &calibration),
        replaced: REPLACED_PROJECT,
        mistakes,
        calibration,
        inside,
        provenance: runs
            .iter()
            .zip(&raw.by_run)
            .map(|(d, files)| provenance::build(d, files))
            .collect::<Result<_>>()?,
        tables: raw.tables.iter().map(RawFile::named).collect(),
        raw_folder: format!("{}/raw", super::beside::FILES),
        live: None,
        following,
        problems,
    })
}

/// The warning over the page where drawn images are in play.
fn synthetic(inputs: &Inputs) -> Option<String> {
    let drawn = inputs.runs.iter().filter(|r| r.run.data.synthetic).count();
    let data = inputs.data.as_ref().is_some_and(|d| d.manifest.synthetic);
    let photographs = inputs.data.as_ref().is_some_and(|d| !d.manifest.synthetic) || drawn < inputs.runs.len();
    match (drawn, data) {
        (0, false) => None,
        (0, true) => Some("The data set shown is synthetic: drawn by vggkit, not photographed.".into()),
        (_, _) if !photographs => Some(
            "Every image here was drawn by vggkit, none was photographed. The figures show that the \
             tools work; they say nothing about Tiny ImageNet."
                .into(),
        ),
        (n, _) => {
            let runs = if n == inputs.runs.len() {
                "Every run here".into()
            } else {
                format!("{n} of the {} runs", inputs.runs.len())
            };
            Some(format!(
                "{runs} trained on synthetic data: drawn by vggkit, not photographed. Such runs are marked, and never \
                 compared with others."
            ))
        }
    }
}

/// The latest day in the inputs: the page has no other date, so that the same inputs give the same bytes.
fn date(inputs: &Inputs) -> Option<String> {
    let runs = inputs.runs.iter().flat_map(|r| [r.run.origin.started.as_str(), r.run.origin.finished.as_str()]);
    let data = inputs.data.iter().map(|d| d.manifest.created.as_str());
    runs.chain(data).filter_map(|t| t.get(..10)).max().map(str::to_owned)
}
