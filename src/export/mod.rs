//! A run's best network for other programs: an ONNX file, or a safetensors file with the Python that builds the network.
//!
//! It reads a run and writes files; it computes nothing but the folding of batch normalisation. What is exported is what
//! `evaluate` and `predict` infer with: of a training with averaged weights these.

use std::path::Path;

use serde::Serialize;

use crate::engine::Normalisation;
use crate::error::{Error, Kind, Result};
use crate::inference::model;
use crate::training::checkpoint::{self, Classes};
use crate::vgg::Plan;

mod fold;
pub mod onnx;
pub mod torch;

/// A trained network and all that another program has to know of it.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Its run's name.
    pub run: String,
    /// Steps that it was trained for.
    pub step: u64,
    /// Its layers.
    pub plan: Plan,
    /// In the order of [`Plan::tensors`].
    pub tensors: Vec<Vec<f32>>,
    /// What its outputs mean.
    pub classes: Classes,
    /// How pixels become its input.
    pub normalisation: Normalisation,
    /// SHA-256 over the weights, as the run's `best.safetensors` has it.
    pub digest: String,
}

impl Trained {
    /// The best network of the run in `folder`. Errors: no run, no weights yet, damaged files, weights that are not finite.
    pub fn load(folder: &Path) -> Result<Self> {
        let (run, plan, checkpoint) = model::load_best(folder)?;
        let path = checkpoint::best_path(folder);
        for (spec, values) in plan.tensors().iter().zip(&checkpoint.state.tensors) {
            check_fits(&spec.name, values, false).map_err(|what| {
                Error::data(&path, what).with_help("restore it from a backup, or train again with --overwrite")
            })?;
        }
        Ok(Self {
            run: model::name(folder),
            step: checkpoint.progress.step,
            plan,
            tensors: checkpoint.state.tensors,
            classes: checkpoint.classes,
            normalisation: run.training.normalisation,
            digest: checkpoint.digest,
        })
    }

    /// A sentence for people: what it is and where it comes from.
    pub fn describe(&self) -> String {
        format!(
            "{}, {} classes, images of {size} x {size} pixels; run {}, {} steps",
            self.plan.network.title(),
            self.plan.network.classes,
            self.run,
            self.step,
            size = self.plan.network.image_size,
        )
    }
}

/// Whether each number of `values` can be written, in `half` as f16. Errors: a sentence that names the tensor.
fn check_fits(name: &str, values: &[f32], half: bool) -> Result<(), String> {
    let count = |wrong: &dyn Fn(f32) -> bool| match values.iter().filter(|value| wrong(**value)).count() {
        0 => None,
        1 => Some("a number that is".to_owned()),
        count => Some(format!("{count} numbers that are")),
    };
    if let Some(numbers) = count(&|value| !value.is_finite()) {
        return Err(format!("{name} has {numbers} not finite"));
    }
    match count(&|value| half && half::f16::from_f32(value).is_infinite()) {
        Some(numbers) => Err(format!("{name} has {numbers} beyond f16, whose largest is {}", half::f16::MAX)),
        None => Ok(()),
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::new(Kind::Data, "cannot write metadata").with_source(e))
}

/// A file that is in the way of an export and is none itself.
fn in_the_way(path: &Path) -> Error {
    Error::new(Kind::Data, format!("{} is there and was not written by `vggkit export`", path.display()))
        .with_help("choose another place with --out, or replace it with --force")
}
