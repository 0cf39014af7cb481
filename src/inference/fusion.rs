//! `fusion-<what is in it>.json` beside the runs: how several networks together do on a labelled split, where what they say
//! of an image is the mean of their softmax probabilities.
//!
//! It knows one network at a time, and adds up in f64 in the order of the runs' names: so the order in which they are given
//! changes no bit.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::answers::Answers;
use super::evaluation::{self, Evaluation, check_classes};
use super::model::Model;
use super::tta::{self, Tta};
use crate::dataset::Pack;
use crate::error::{Error, Result};
use crate::files;
use crate::training::metrics;

/// The value of `schema`.
pub const SCHEMA: &str = "vggkit/fusion/1";

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fusion {
    /// [`SCHEMA`].
    pub schema: String,
    /// What names the data that it was measured on, as `content_sha256` in run.toml.
    pub content_sha256: String,
    /// Who is in it, by name.
    pub runs: Vec<Member>,
    /// Of all of them together. Its `weights_digest` is empty: each member has its own.
    pub evaluation: Evaluation,
}

/// A run among others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its path below the folder of the runs; where it lies elsewhere, its folder.
    pub run: String,
    /// Of its weights, as their checkpoint has it.
    pub weights_digest: String,
    /// What it reaches alone in the same views; a fraction in 0..1.
    pub top1: f64,
}

impl Fusion {
    /// `<runs>/fusion-<12 digits>.json`, where the digits follow from the data, the split, the views and the runs: fused again
    /// they replace what they were, and no other.
    pub fn path(&self, runs: &Path) -> PathBuf {
        let tta = self.evaluation.tta.map_or("", Tta::name);
        let mut named = vec![self.content_sha256.as_str(), &self.evaluation.split, tta];
        named.extend(self.runs.iter().map(|member| member.run.as_str()));
        let digest = files::hex(&Sha256::digest(named.join("\n")));
        runs.join(format!("fusion-{}.json", &digest[..12]))
    }

    /// Whether a file in the folder of the runs may be one.
    pub fn is_path(path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("fusion-") && name.ends_with(".json")
    }
}

/// One network is none fused.
pub fn check_count(networks: usize) -> Result<()> {
    if networks > 1 {
        return Ok(());
    }
    Err(Error::usage(format!("{networks} network cannot be fused: it takes two"))
        .with_help("name at least two runs, or train another: `vggkit train -d 13`"))
}

/// What is averaged so far.
pub struct Fusing<'a> {
    pack: &'a Pack,
    split: &'a str,
    tta: Option<Tta>,
    sums: Vec<f64>,
    members: Vec<Member>,
}

impl<'a> Fusing<'a> {
    /// Nothing yet. Errors: the pack has no labels.
    pub fn new(pack: &'a Pack, split: &'a str, tta: Option<Tta>) -> Result<Self> {
        evaluation::check_labels(pack)?;
        Ok(Self { pack, split, tta, sums: vec![0.0; pack.images.count * pack.wnids.len()], members: Vec::new() })
    }

    /// Adds what `model`, called `run`, says. `progress` is told how many images are done. Errors:
    /// other classes than those of the pack and so of the others.
    pub fn add(&mut self, run: String, model: &mut Model, progress: impl FnMut(usize)) -> Result<()> {
        check_classes(model, self.pack)?;
        let probabilities = tta::probabilities(model, self.tta, &self.pack.images, progress)?;
        let labels = self.pack.images.labels.iter();
        let rows = probabilities.chunks_exact(self.pack.wnids.len().max(1));
        let hits = rows.zip(labels).filter(|(row, label)| metrics::predicted(row) == **label as usize).count();
        self.sums.iter_mut().zip(&probabilities).for_each(|(sum, p)| *sum += p);
        let top1 = hits as f64 / self.pack.images.count.max(1) as f64;
        self.members.push(Member { run, weights_digest: model.digest.clone(), top1 });
        Ok(())
    }

    /// Measures the mean. `content_sha256` names the data of the pack. Errors: less than two networks.
    pub fn finish(mut self, content_sha256: String) -> Result<(Fusion, Answers)> {
        check_count(self.members.len())?;
        let share = 1.0 / self.members.len() as f64;
        self.sums.iter_mut().for_each(|sum| *sum *= share);
        let (evaluation, answers) = evaluation::of_probabilities(self.pack, self.split, &self.sums)?;
        let evaluation = Evaluation { tta: self.tta, ..evaluation };
        Ok((Fusion { schema: SCHEMA.to_owned(), content_sha256, runs: self.members, evaluation }, answers))
    }
}
