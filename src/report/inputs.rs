//! Everything that a page can show, as it was read. Reads nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::commands::Commands;
use super::predictions::Predictions;
use super::sources::Sources;
use crate::dataset::verify::Verification;
use crate::dataset::{Identity, Manifest, Pack};
use crate::inference::answers::Answers;
use crate::inference::evaluation::Evaluation;
use crate::inference::fusion::Fusion;
use crate::inference::inside::Inside;
use crate::training::history::Epoch;
use crate::training::run::Run;
use crate::training::selection;
use crate::vgg::Plan;

/// Something that could not be read, or contradicts something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file or folder.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do next; may be empty.
    pub help: String,
}

/// Everything that was read.
pub struct Inputs {
    pub sources: Sources,
    /// In the order of Table 1, then by name.
    pub runs: Vec<LoadedRun>,
    pub data: Option<LoadedData>,
    pub predictions: Option<Predictions>,
    /// Runs fused, the best ones first.
    pub fusions: Vec<LoadedFusion>,
    pub problems: Vec<Problem>,
    /// How to do what the page suggests.
    pub commands: Commands,
    /// For people: what was not there and how to make it.
    pub missing: Vec<String>,
}

/// One run folder.
pub struct LoadedRun {
    /// Its path below the folder of the runs.
    pub name: String,
    pub folder: PathBuf,
    pub run: Run,
    /// What names the data that it was trained on: [`crate::training::run::Data::known_as`].
    pub known_as: String,
    pub plan: Plan,
    pub history: Vec<Epoch>,
    /// On the split that the run validated on.
    pub evaluation: Option<Evaluation>,
    /// On the split that it was trained on.
    pub train_evaluation: Option<Evaluation>,
    /// On the split that it validated on, in averaged views.
    pub averaged: Vec<Evaluation>,
    /// What `evaluation` counted, image by image.
    pub answers: Option<Answers>,
    /// Filters and maps of attention.
    pub inside: Option<Inside>,
}

/// What several runs say together.
pub struct LoadedFusion {
    pub path: PathBuf,
    pub fusion: Fusion,
}

/// A prepared data set.
pub struct LoadedData {
    pub manifest: Manifest,
    /// By which runs know it.
    pub identity: Identity,
    /// By split.
    pub packs: BTreeMap<String, Pack>,
    /// What `vggkit verify` found.
    pub verification: Option<Verification>,
}

impl LoadedRun {
    /// The epoch whose weights were kept as best.
    pub fn best(&self) -> Option<&Epoch> {
        selection::kept(&self.history, &self.run.training)
    }
}
