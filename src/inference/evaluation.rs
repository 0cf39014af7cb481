//! `evaluation.json`: how a run's best network does on a labelled split.

use serde::{Deserialize, Serialize};

/// The value of `schema`.
pub const SCHEMA: &str = "vggkit/evaluation/1";

/// The whole file. `runs/<name>/evaluation.json` for val; `evaluation-<split>.json` for any other split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// [`SCHEMA`].
    pub schema: String,
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
