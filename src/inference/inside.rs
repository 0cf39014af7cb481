//! `inside.json`: the first layer's filters of a run's best network, and where it looked in a handful of images.
//!
//! The images follow from the pack alone, so that every network of a data set is asked about the same ones. Features come
//! from the CPU engine whatever engine evaluates: they are few, and what they are like is the network's doing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::answers::Answer;
use super::evaluation::check_classes;
use super::grad_cam::Head;
use super::model::{Model, inference_settings};
use crate::dataset::Pack;
use crate::engine::cpu::CpuEngine;
use crate::engine::resample::windows;
use crate::engine::{Batch, Engine, Pick, Settings, Source};
use crate::error::{Error, Kind, Result};
use crate::files;

/// The value of `schema`.
pub const SCHEMA: &str = "vggkit/inside/1";

/// Images that are looked into.
const IMAGES: usize = 8;
/// Rows and columns of a map at most; larger ones are scaled down.
const LARGEST_MAP: usize = 32;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inside {
    /// [`SCHEMA`].
    pub schema: String,
    /// The split that the images are of.
    pub split: String,
    /// Height and width of a filter of the first convolution.
    pub kernel: usize,
    /// Weights of each filter of the first convolution, [red, green, blue][row][column].
    pub filters: Vec<Vec<f32>>,
    /// Where the network looked, image by image.
    pub attention: Vec<Attention>,
}

/// Grad-CAM of one image, for the class that the network predicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attention {
    /// File name of the image in its pack.
    pub file: String,
    /// True class index.
    pub truth: usize,
    /// Predicted class index: what the map speaks for.
    pub predicted: usize,
    /// Softmax of the prediction.
    pub probability: f32,
    /// Softmax of the true class.
    pub truth_probability: f32,
    /// Rows of the map.
    pub height: usize,
    /// Columns of the map.
    pub width: usize,
    /// Row by row, 255 where it is largest; all 0 where nothing speaks for the class.
    pub map: Vec<u8>,
}

impl Inside {
    /// `<run>/inside.json`.
    pub fn path(run: &Path) -> PathBuf {
        run.join("inside.json")
    }

    /// Writes the file, on one line: most of it are numbers that nobody reads one by one.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write_atomic(path, |w| {
            serde_json::to_writer(&mut *w, self)?;
            std::io::Write::write_all(w, b"\n")
        })
    }
}

/// Images of a labelled pack: classes evenly spread, of each the one in the middle.
pub fn choose(pack: &Pack) -> Vec<usize> {
    let mut by_class: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (image, label) in pack.images.labels.iter().enumerate() {
        by_class.entry(*label).or_default().push(image);
    }
    let classes: Vec<_> = by_class.values().collect();
    let wanted = IMAGES.min(classes.len());
    let spread = (0..wanted).map(|i| classes[(2 * i + 1) * classes.len() / (2 * wanted)]);
    spread.map(|images| images[images.len() / 2]).collect()
}

/// Looks into a model with the images that [`choose`] names. `progress` is told after each how many are done.
pub fn look(
    model: &mut Model,
    pack: &Pack,
    split: &str,
    threads: usize,
    mut progress: impl FnMut(usize),
) -> Result<Inside> {
    check_classes(model, pack)?;
    let state = model.engine.state()?;
    let plan = model.engine.plan().clone();
    let headless = || Error::new(Kind::Engine, "the network has no average pooling");
    let head = Head::new(&plan, &state.tensors).ok_or_else(headless)?;
    let settings = Settings { batch_size: 1, ..inference_settings(&model.run, threads, false) };
    let mut engine = CpuEngine::new(plan.clone(), settings, &state)?;
    engine.attach(Source::Validation, pack.images.clone())?;
    let names = pack.image_names();
    let mut attention = Vec::new();
    for image in choose(pack) {
        let pick = Pick::of(u32::try_from(image).unwrap_or(u32::MAX));
        let features = engine.features(Batch::Picks(Source::Validation, &[pick]))?;
        let Answer { truth, predicted, probability, truth_probability } =
            Answer::of(&head.logits(&features), pack.images.labels[image]);
        let (truth, predicted) = (truth as usize, predicted as usize);
        let map = head.map(&features, predicted);
        let (height, width, map) = reduced(&map, head.features.height, head.features.width);
        let file = names[image].clone();
        attention.push(Attention { file, truth, predicted, probability, truth_probability, height, width, map });
        progress(attention.len());
    }
    let first = plan.tensors().first().map_or(1, |t| t.shape.iter().skip(1).product());
    let filters = state.tensors.first().map(|weight| weight.chunks_exact(first).map(<[f32]>::to_vec).collect());
    Ok(Inside {
        schema: SCHEMA.to_owned(),
        split: split.to_owned(),
        kernel: plan.tensors().first().and_then(|t| t.shape.last().copied()).unwrap_or_default(),
        filters: filters.unwrap_or_default(),
        attention,
    })
}

/// A map of at most [`LARGEST_MAP`] rows and columns in steps of its largest value / 255.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded values from 0 to 255")]
fn reduced(map: &[f64], height: usize, width: usize) -> (usize, usize, Vec<u8>) {
    let (rows, columns) = (height.min(LARGEST_MAP), width.min(LARGEST_MAP));
    let (down, across) = (windows(height, rows), windows(width, columns));
    let mut small = Vec::with_capacity(rows * columns);
    for row in &down {
        for column in &across {
            let weighted = row.weights.iter().enumerate().flat_map(|(r, v)| {
                let line = (row.start + r) * width + column.start;
                column.weights.iter().enumerate().map(move |(c, h)| v * h * map[line + c])
            });
            small.push(weighted.sum::<f64>());
        }
    }
    let largest = small.iter().copied().fold(0.0, f64::max);
    let step = if largest > 0.0 { 255.0 / largest } else { 0.0 };
    (rows, columns, small.iter().map(|v| (v * step).round() as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_small_and_as_large_as_their_largest_value() {
        assert_eq!(reduced(&[0.0, 0.5, 2.0, 1.0, 0.0, 0.0], 2, 3), (2, 3, vec![0, 64, 255, 128, 0, 0]));
        assert_eq!(reduced(&[0.0; 4], 2, 2), (2, 2, vec![0; 4]), "nothing speaks for the class");
        let mut spot = vec![0.0; 64 * 48];
        spot[63 * 48 + 47] = 3.0;
        let (rows, columns, map) = reduced(&spot, 64, 48);
        assert_eq!((rows, columns, map.len()), (32, 32, 1024));
        assert_eq!((map[1023], map[0]), (255, 0), "the corner stays in its corner");
    }
}
