//! Test-time augmentation: an image is looked at in several ways, and the mean of the softmax over them is what the network
//! says of it.
//!
//! Nothing is drawn: they are the same ones in the same order for each image, added up in f64 in that order, so that the
//! result is the same for any number of threads. Sizes are ratios of the image size that the network was trained at, which
//! stands for the 224 pixels of Simonyan and Zisserman (2015).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::dense::{self, Dense};
use super::model::Model;
use crate::engine::sample::{Geometry, Warp};
use crate::engine::{Engine, Images, Source, State, View};
use crate::error::Result;
use crate::training::metrics;
use crate::vgg::Network;

/// In which ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tta {
    /// The image and its mirror image.
    Flip,
    /// The whole image at 7/8, 1 and 9/8 of the size, which are the paper's S - 32, S and S + 32 for S = 256, each mirrored
    /// too. Average pooling makes the classifier's input of any feature map.
    Multi,
    /// The classifier at every position of the last feature map of the image 16 pixels larger (the paper's 256 for 224: one
    /// position more across and down), its class scores averaged over them; of the image and its mirror image.
    Dense,
    /// Five crops of the size out of the image at 8/7 of it (the paper's 224 out of 256), in the corners and the centre, each
    /// mirrored too: the ten of Krizhevsky et al. (2012), where the paper has a grid of 5 x 5.
    Crops,
}

impl Tta {
    /// All there are, in the order of the page.
    pub const ALL: [Self; 4] = [Self::Flip, Self::Multi, Self::Dense, Self::Crops];

    /// As it is typed and kept.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flip => "flip",
            Self::Multi => "multi",
            Self::Dense => "dense",
            Self::Crops => "crops",
        }
    }

    /// What is averaged, in words that follow "mean of".
    pub fn words(self) -> &'static str {
        match self {
            Self::Flip => "the image and its mirror image",
            Self::Multi => "three sizes and their mirror images",
            Self::Dense => "all positions in a larger image and its mirror image",
            Self::Crops => "ten crops of a larger image",
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
        let named = Self::ALL.into_iter().find(|tta| tta.name() == text);
        named.ok_or_else(|| format!("choose one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// The sizes of [`Tta::Multi`]: to the nearest pixel, and none that no network takes.
fn sizes(trained: usize) -> Vec<usize> {
    let limits = Network::IMAGE_SIZES;
    let mut sizes =
        [7, 8, 9].map(|eighths| ((trained * eighths + 4) / 8).clamp(*limits.start(), *limits.end())).to_vec();
    sizes.dedup();
    sizes
}

/// The crops of [`Tta::Crops`]. Resizing sees beyond them, as it does where the whole image is resized ahead of the crop.
fn crops(images: &Images, trained: usize) -> Vec<View> {
    let larger = (8 * trained + 3) / 7; // to the nearest pixel
    let share = trained as f64 / larger as f64;
    let whole = Warp::crop(0, 0, images.width as u16, images.height as u16);
    let corners = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.5]];
    let crop = |[down, across]: [f64; 2]| {
        let start = |place: f64| place * (1.0 - share);
        Geometry::Warped(whole.after([[share, 0.0, start(across)], [0.0, share, start(down)]]))
    };
    let crops = corners.into_iter().map(crop);
    crops.flat_map(|geometry| [false, true].map(|flip| View { geometry, flip, ..View::default() })).collect()
}

/// What `model` says of images: for each the softmax, or the mean of it over the views, [images][classes] row by row.
/// `progress` is told how many images are done; one is done when it was seen in all its views. Errors: the engine's.
pub fn probabilities(
    model: &mut Model,
    tta: Option<Tta>,
    images: &Images,
    mut progress: impl FnMut(usize),
) -> Result<Vec<f64>> {
    let trained = model.run.network.image_size;
    let mirror = [false, true].map(|flip| View { flip, ..View::default() }).to_vec();
    let (sizes, views) = match tta {
        None => (vec![trained], mirror[..1].to_vec()),
        Some(Tta::Flip) => (vec![trained], mirror),
        Some(Tta::Multi) => (sizes(trained), mirror),
        Some(Tta::Dense) => return dense(model, images, &mirror, progress),
        Some(Tta::Crops) => (vec![trained], crops(images, trained)),
    };
    let (classes, batch_size) = (model.classes.wnids.len(), model.batch_size());
    let mut mean = vec![0.0; images.count * classes];
    let passes = sizes.len() * views.len();
    let share = 1.0 / passes as f64;
    for (turn, size) in sizes.iter().enumerate() {
        let mut other;
        let engine = if *size == trained {
            model.engine.as_mut()
        } else {
            let plan = Network { image_size: *size, ..model.run.network.clone() }.plan()?;
            let tensors = model.engine.state()?.tensors;
            other = model.engine_of(plan, State::new(tensors))?;
            other.as_mut()
        };
        engine.attach(Source::Validation, images.clone())?;
        let add = |_, image: usize, logits: &[f32]| {
            let row = &mut mean[image * classes..][..classes];
            row.iter_mut().zip(metrics::softmax(logits)).for_each(|(mean, p)| *mean += share * p);
        };
        let before = turn * views.len() * images.count;
        look(engine, images.count, batch_size, &views, add, |done| progress((before + done) / passes))?;
    }
    Ok(mean)
}

/// [`Tta::Dense`] in each of `views`.
fn dense(model: &mut Model, images: &Images, views: &[View], mut progress: impl FnMut(usize)) -> Result<Vec<f64>> {
    let (classes, batch_size) = (model.classes.wnids.len(), model.batch_size());
    let tensors = model.engine.state()?.tensors;
    let dense = Dense::new(model.engine.plan(), model.run.network.image_size + dense::STRIDE)?;
    let (runs, passes) = (dense.count() as f64, dense.count() * views.len());
    let mut scores = vec![vec![0.0; images.count * classes]; views.len()];
    let mut engine: Option<Box<dyn Engine>> = None;
    for (turn, tensors) in dense.runs(&tensors).enumerate() {
        let state = State::new(tensors);
        let engine = match &mut engine {
            Some(engine) => {
                engine.load_state(&state)?;
                engine
            }
            none => {
                let engine = none.insert(model.engine_of(dense.plan.clone(), state)?);
                engine.attach(Source::Validation, images.clone())?;
                engine
            }
        };
        let add = |view: usize, image: usize, logits: &[f32]| {
            let row = &mut scores[view][image * classes..][..classes];
            row.iter_mut().zip(logits).for_each(|(score, logit)| *score += f64::from(*logit) / runs);
        };
        let before = turn * views.len() * images.count;
        look(engine.as_mut(), images.count, batch_size, views, add, |done| progress((before + done) / passes))?;
    }
    let mut mean = vec![0.0; images.count * classes];
    let share = 1.0 / views.len() as f64;
    for scores in &scores {
        for (row, scores) in mean.chunks_exact_mut(classes).zip(scores.chunks_exact(classes)) {
            row.iter_mut().zip(metrics::softmax(scores)).for_each(|(mean, p)| *mean += share * p);
        }
    }
    Ok(mean)
}

/// Shows `visit` the logits of each of `count` attached images in each of `views`: index of the view, of the image. `done` is
/// told how many views of images are.
fn look(
    engine: &mut dyn Engine,
    count: usize,
    batch_size: usize,
    views: &[View],
    mut visit: impl FnMut(usize, usize, &[f32]),
    mut done: impl FnMut(usize),
) -> Result<()> {
    for (turn, view) in views.iter().enumerate() {
        let visit = |image: usize, logits: &[f32]| visit(turn, image, logits);
        metrics::for_each_view(engine, count, batch_size, *view, visit, |n| done(turn * count + n))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_papers_ratios() {
        assert_eq!(sizes(64), [56, 64, 72]);
        assert_eq!(sizes(224), [196, 224, 252]);
        assert_eq!(sizes(100), [88, 100, 113]);
        assert_eq!(sizes(32), [32, 36], "none below 32");
        assert_eq!(sizes(4096), [3584, 4096]);
    }

    #[test]
    fn crops_reach_every_border_and_no_further() {
        // Square images, and others: 49 of 56 is 7/8.
        let images = crate::test_support::images(vec![0; 80 * 64 * 3], 80, 64);
        let views = crops(&images, 49);
        assert_eq!(views.len(), 10);
        let mut seen = Vec::new();
        for pair in views.chunks_exact(2) {
            assert!(!pair[0].flip && pair[1].flip && pair[0].geometry == pair[1].geometry);
            let Geometry::Warped(Warp { x, y, cut }) = pair[0].geometry else { panic!("a crop") };
            assert_eq!((x[0], y[1], x[1], y[0], cut), (56.0, 70.0, 0.0, 0.0, [0, 0, 64, 80]));
            seen.push((x[2], y[2]));
        }
        assert_eq!(seen, [(0.0, 0.0), (8.0, 0.0), (0.0, 10.0), (8.0, 10.0), (4.0, 5.0)]);
    }

    #[test]
    fn names_are_read_back() {
        for tta in Tta::ALL {
            assert_eq!(tta.name().parse(), Ok(tta));
        }
        assert!("Flip".parse::<Tta>().is_err_and(|e| e.starts_with("choose one of flip, ")));
    }
}
