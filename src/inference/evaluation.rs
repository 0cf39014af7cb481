//! `evaluation.json`: how a run's best network does on a labelled split.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::answers::{Answer, Answers};
use super::model::Model;
use crate::dataset::Pack;
use crate::engine::Source;
use crate::error::{Error, Result};
use crate::training::metrics;

/// The value of `schema`.
pub const SCHEMA: &str = "vggkit/evaluation/1";

/// The whole file. `runs/<name>/evaluation.json` for val; `evaluation-<split>.json` for any other split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// [`SCHEMA`].
    pub schema: String,
    /// The digest of the weights that were measured, as their checkpoint has it; empty in older files. A training can
    /// replace them while they are measured.
    #[serde(default)]
    pub weights_digest: String,
    /// The split.
    pub split: String,
    /// Number of images.
    pub images: usize,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Fraction in 0..1.
    pub top1: f64,
    /// Fraction in 0..1.
    pub top5: f64,
    /// In class-index order.
    pub per_class: Vec<ClassAccuracy>,
    /// Counts; rows true, columns predicted.
    pub confusion: Vec<Vec<u32>>,
    /// Most confident mistakes first; at most 100.
    pub mistakes: Vec<Mistake>,
}

/// One class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassAccuracy {
    /// WordNet id.
    pub wnid: String,
    /// Readable name.
    pub name: String,
    /// Number of images of this class.
    pub images: usize,
    /// Fraction in 0..1; 0 where there are no images.
    pub top1: f64,
}

/// One wrong prediction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    /// File name of the image in its pack.
    pub file: String,
    /// True class index.
    pub truth: usize,
    /// Predicted class index.
    pub predicted: usize,
    /// Softmax probability of the prediction.
    pub probability: f64,
}

/// Most confident mistakes kept.
const MISTAKES: usize = 100;

/// `<run>/evaluation.json` for val, `<run>/evaluation-<split>.json` for any other split.
pub fn path(run: &Path, split: &str) -> PathBuf {
    run.join(if split == "val" { "evaluation.json".to_owned() } else { format!("evaluation-{split}.json") })
}

/// Measures a model on a labelled pack, and says what it answered for each image. `progress` is told after each batch how
/// many images are done.
pub fn evaluate(
    model: &mut Model,
    pack: &Pack,
    split: &str,
    progress: impl FnMut(usize),
) -> Result<(Evaluation, Answers)> {
    check_classes(model, pack)?;
    let labels = std::sync::Arc::clone(&pack.images.labels);
    if labels.is_empty() {
        return Err(Error::data(&pack.path, "has no labels, so there is nothing to evaluate against")
            .with_help("`vggkit predict` predicts the test images"));
    }
    let classes = pack.wnids.len();
    let mut confusion = vec![vec![0_u32; classes]; classes];
    let mut mistakes = Vec::new();
    let mut rows = Vec::with_capacity(labels.len());
    let names = pack.image_names();
    let mut tally = metrics::Tally::default();
    let visit = |i: usize, logits: &[f32]| {
        let truth = labels[i] as usize;
        let predicted = metrics::predicted(logits);
        tally.add(logits, labels[i]);
        rows.push(Answer::of(logits, labels[i]));
        confusion[truth][predicted] += 1;
        if predicted != truth {
            let probability = metrics::softmax(logits)[predicted];
            mistakes.push(Mistake { file: names[i].clone(), truth, predicted, probability });
        }
    };
    model.engine.attach(Source::Held, pack.images.clone())?;
    let batch_size = model.batch_size();
    metrics::for_each_logits(model.engine.as_mut(), labels.len(), batch_size, visit, progress)?;
    // Sorted by file as well, so that equal probabilities do not depend on the sort.
    mistakes.sort_by(|a, b| b.probability.total_cmp(&a.probability).then_with(|| a.file.cmp(&b.file)));
    mistakes.truncate(MISTAKES);
    let scores = tally.scores();
    let evaluation = Evaluation {
        schema: SCHEMA.to_owned(),
        weights_digest: model.digest.clone(),
        split: split.to_owned(),
        images: scores.images,
        loss: scores.loss,
        top1: scores.top1,
        top5: scores.top5,
        per_class: per_class(pack, &confusion),
        confusion,
        mistakes,
    };
    Ok((evaluation, Answers { files: names, rows }))
}

fn per_class(pack: &Pack, confusion: &[Vec<u32>]) -> Vec<ClassAccuracy> {
    let rows = pack.wnids.iter().zip(&pack.names).zip(confusion).enumerate();
    rows.map(|(class, ((wnid, name), row))| {
        let images: u32 = row.iter().sum();
        ClassAccuracy {
            wnid: wnid.clone(),
            name: name.clone(),
            images: images as usize,
            top1: f64::from(row[class]) / f64::from(images.max(1)),
        }
    })
    .collect()
}

/// The classes of model and pack must be the same, in the same order.
pub fn check_classes(model: &Model, pack: &Pack) -> Result<()> {
    if model.classes.wnids == pack.wnids {
        return Ok(());
    }
    let (trained, given) = (model.classes.wnids.len(), pack.wnids.len());
    Err(Error::data(
        &pack.path,
        format!("has other classes ({given}) than run {} was trained on ({trained})", model.name),
    )
    .with_help(format!("the run was trained on {}: give that folder with --data", model.run.data.folder)))
}
