//! `evaluation.json`: how a run's best network does on a labelled split, and with what averaged views.

use serde::{Deserialize, Serialize};

use super::answers::{Answer, Answers};
use super::calibration::Calibration;
use super::model::Model;
pub use super::paths::evaluation as path;
use super::tta::{self, Tta};
use crate::dataset::Pack;
use crate::engine::Source;
use crate::error::{Error, Result};
use crate::training::metrics;

/// The value of `schema`.
pub const SCHEMA: &str = "vggkit/evaluation/1";

/// The whole file; [`path`] says where it lies.
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
    /// The views over which its softmax is averaged; none where each image was looked at once, as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tta: Option<Tta>,
    /// Number of images.
    pub images: usize,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Fraction in 0..1.
    pub top1: f64,
    /// Fraction in 0..1.
    pub top5: f64,
    /// Of the predictions' probabilities; not in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
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

/// Measures a model on a labelled pack, in the views of `tta` where one is given, and says what it answered for each image.
/// `progress` is told how many images are done.
pub fn evaluate(
    model: &mut Model,
    pack: &Pack,
    split: &str,
    tta: Option<Tta>,
    progress: impl FnMut(usize),
) -> Result<(Evaluation, Answers)> {
    check_classes(model, pack)?;
    check_labels(pack)?;
    let labels = &pack.images.labels;
    let mut count = Count::new(pack);
    match tta {
        // The figures of validation in training, to the bit: of logits, not of probabilities.
        None => {
            model.engine.attach(Source::Validation, pack.images.clone())?;
            let batch_size = model.batch_size();
            let visit = |i: usize, logits: &[f32]| count.add(i, &Verdict::of_logits(logits, labels[i]));
            metrics::for_each_logits(model.engine.as_mut(), labels.len(), batch_size, visit, progress)?;
        }
        Some(_) => count.add_all(&tta::probabilities(model, tta, &pack.images, progress)?),
    }
    let (evaluation, answers) = count.finish(split);
    Ok((Evaluation { weights_digest: model.digest.clone(), tta, ..evaluation }, answers))
}

/// Measures probabilities of all images of a labelled pack, [images][classes] row by row.
pub fn of_probabilities(pack: &Pack, split: &str, probabilities: &[f64]) -> Result<(Evaluation, Answers)> {
    check_labels(pack)?;
    let mut count = Count::new(pack);
    count.add_all(probabilities);
    Ok(count.finish(split))
}

/// What is said of one image.
struct Verdict {
    cross_entropy: f64,
    rank: usize,
    predicted: usize,
    probability: f64,
    truth_probability: f64,
}

impl Verdict {
    fn of_logits(logits: &[f32], label: u32) -> Self {
        let softmax = metrics::softmax(logits);
        let predicted = metrics::predicted(logits);
        Self {
            cross_entropy: metrics::cross_entropy(logits, label),
            rank: metrics::rank(logits, label),
            predicted,
            probability: softmax[predicted],
            truth_probability: softmax[label as usize],
        }
    }

    fn of_probabilities(probabilities: &[f64], label: u32) -> Self {
        let predicted = metrics::predicted(probabilities);
        let truth_probability = probabilities[label as usize];
        Self {
            // A probability of 0 is one that f64 cannot tell from it; the loss stays finite.
            cross_entropy: -truth_probability.max(f64::MIN_POSITIVE).ln(),
            rank: metrics::rank(probabilities, label),
            predicted,
            probability: probabilities[predicted],
            truth_probability,
        }
    }
}

/// Counts verdicts, image by image in the order of the pack.
struct Count<'a> {
    pack: &'a Pack,
    names: Vec<String>,
    tally: metrics::Tally,
    confusion: Vec<Vec<u32>>,
    mistakes: Vec<Mistake>,
    rows: Vec<Answer>,
    /// Probability of each prediction, and whether it is right.
    confidences: Vec<(f64, bool)>,
}

impl<'a> Count<'a> {
    fn new(pack: &'a Pack) -> Self {
        let (images, classes) = (pack.images.labels.len(), pack.wnids.len());
        Self {
            pack,
            names: pack.image_names(),
            tally: metrics::Tally::default(),
            confusion: vec![vec![0; classes]; classes],
            mistakes: Vec::new(),
            rows: Vec::with_capacity(images),
            confidences: Vec::with_capacity(images),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "classes are at most a million; a probability keeps 24 bits")]
    fn add(&mut self, image: usize, verdict: &Verdict) {
        let label = self.pack.images.labels[image];
        let &Verdict { cross_entropy, rank, predicted, probability, truth_probability } = verdict;
        let truth = label as usize;
        self.tally.count(cross_entropy, rank);
        self.confusion[truth][predicted] += 1;
        self.confidences.push((probability, predicted == truth));
        self.rows.push(Answer {
            truth: label,
            predicted: predicted as u32,
            probability: probability as f32,
            truth_probability: truth_probability as f32,
        });
        if predicted != truth {
            self.mistakes.push(Mistake { file: self.names[image].clone(), truth, predicted, probability });
        }
    }

    fn add_all(&mut self, probabilities: &[f64]) {
        let rows = probabilities.chunks_exact(self.pack.wnids.len().max(1));
        for (image, (row, label)) in rows.zip(self.pack.images.labels.iter()).enumerate() {
            self.add(image, &Verdict::of_probabilities(row, *label));
        }
    }

    fn finish(self, split: &str) -> (Evaluation, Answers) {
        let Self { pack, names, tally, confusion, mut mistakes, rows, confidences } = self;
        // Sorted by file as well, so that equal probabilities do not depend on the sort.
        mistakes.sort_by(|a, b| b.probability.total_cmp(&a.probability).then_with(|| a.file.cmp(&b.file)));
        mistakes.truncate(MISTAKES);
        let scores = tally.scores();
        let evaluation = Evaluation {
            schema: SCHEMA.to_owned(),
            weights_digest: String::new(),
            split: split.to_owned(),
            tta: None,
            images: scores.images,
            loss: scores.loss,
            top1: scores.top1,
            top5: scores.top5,
            calibration: Some(Calibration::of(confidences)),
            per_class: per_class(pack, &confusion),
            confusion,
            mistakes,
        };
        (evaluation, Answers { files: names, rows })
    }
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

/// Without labels there is nothing to measure.
pub(super) fn check_labels(pack: &Pack) -> Result<()> {
    if !pack.images.labels.is_empty() {
        return Ok(());
    }
    Err(Error::data(&pack.path, "has no labels, so there is nothing to evaluate against")
        .with_help("`vggkit predict` predicts the test images"))
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
