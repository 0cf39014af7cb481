//! Test-time augmentation: an image is shown in several views, and the mean of the softmax over them is what the network
//! says of it.
//!
//! Views are drawn from nothing: the same ones in the same order for each image, added up in f64 in that order, so that the
//! result is the same for any number of threads.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::model::Model;
use crate::engine::{Images, Source, View};
use crate::error::Result;
use crate::training::metrics;

/// In which views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tta {
    /// The image and its mirror image.
    Flip,
}

impl Tta {
    /// All there are, in the order of the page.
    pub const ALL: [Self; 1] = [Self::Flip];

    /// As it is typed and kept.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flip => "flip",
        }
    }

    /// What is averaged, in words that follow "mean of".
    pub fn words(self) -> &'static str {
        match self {
            Self::Flip => "the image and its mirror image",
        }
    }
}

impl fmt::Display for Tta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// For the command line. The error says what there is.
impl FromStr for Tta {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|tta| tta.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("choose one of {names}")
        })
    }
}

/// What `model` says of images: for each the softmax, or the mean of it over the views, [images][classes] row by row.
/// `progress` is told how many images are done, counted over all views.
pub fn probabilities(
    model: &mut Model,
    tta: Option<Tta>,
    images: &Images,
    mut progress: impl FnMut(usize),
) -> Result<Vec<f64>> {
    let views: &[View] = match tta {
        None => &[View::default()],
        Some(Tta::Flip) => &[
            View::default(),
            View { flip: true, ..View::default() },
        ],
    };
    let (classes, batch_size) = (model.classes.wnids.len(), model.batch_size());
    let mut mean = vec![0.0; images.count * classes];
    let share = 1.0 / views.len() as f64;
    model.engine.attach(Source::Held, images.clone())?;
    for (turn, view) in views.iter().enumerate() {
        let visit = |i: usize, logits: &[f32]| {
            let row = &mut mean[i * classes..][..classes];
            row.iter_mut().zip(metrics::softmax(logits)).for_each(|(mean, p)| *mean += share * p);
        };
        let before = turn * images.count;
        let engine = model.engine.as_mut();
        metrics::for_each_view(engine, images.count, batch_size, *view, visit, |done| progress(before + done))?;
    }
    Ok(mean)
}

impl Tta {
    /// How often each image is looked at: for a bar.
    pub fn passes(tta: Option<Self>) -> usize {
        match tta {
            None => 1,
            Some(Self::Flip) => 2,
        }
    }
}
