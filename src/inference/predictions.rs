//! `predictions.csv`: for every test image a column a run (class index), then `vote`, `vote_wnid`, `vote_name`,
//! `mean_softmax`, `mean_softmax_wnid`, `vote_probability` (the mean softmax of the vote's class).
//!
//! The vote is the class that most runs name; among equals the one with the higher mean softmax wins, then the lower
//! class index.

use std::path::Path;

use super::evaluation::check_classes;
use super::model::Model;
use super::tta::{self, Tta};
use crate::dataset::Pack;
use crate::engine::Images;
use crate::error::{Error, Result};
use crate::files;
use crate::training::checkpoint::Classes;
use crate::training::metrics;

/// The columns that are not runs, but for the first one, `image`; so no run may have such a name.
pub const COLUMNS: [&str; 6] =
    ["vote", "vote_wnid", "vote_name", "mean_softmax", "mean_softmax_wnid", "vote_probability"];

/// What several models say of several images.
pub struct Predictions {
    /// A name a model.
    pub models: Vec<String>,
    /// A file name an image.
    pub files: Vec<String>,
    /// A class index a model, for each image.
    pub by_model: Vec<Vec<usize>>,
    /// Mean over the models of their softmax probabilities, [images][classes].
    pub mean_softmax: Vec<Vec<f64>>,
    /// What the class indices mean.
    pub classes: Classes,
}

impl Predictions {
    /// Predicts all images with all models, each in the views of `tta`; the models must agree on their classes. `progress`
    /// is told after each batch how many images are done, counted over all models.
    pub fn of(
        models: &mut [Model],
        tta: Option<Tta>,
        images: &Images,
        files: &[String],
        mut progress: impl FnMut(usize),
    ) -> Result<Self> {
        let classes =
            models.first().map(|m| m.classes.clone()).ok_or_else(|| Error::usage("there is no run to predict with"))?;
        if let Some(other) = models.iter().find(|m| m.classes.wnids != classes.wnids) {
            return Err(Error::usage(format!(
                "runs {} and {} were trained on different classes",
                models[0].name, other.name
            ))
            .with_help("name the runs that belong together: `vggkit predict RUN...`"));
        }
        let mut by_model = vec![Vec::with_capacity(models.len()); files.len()];
        let mut mean_softmax = vec![vec![0.0; classes.wnids.len()]; files.len()];
        let share = 1.0 / models.len() as f64;
        for (turn, model) in models.iter_mut().enumerate() {
            let done_before = turn * files.len();
            let said = tta::probabilities(model, tta, images, |done| progress(done_before + done))?;
            for (i, row) in said.chunks_exact(classes.wnids.len().max(1)).enumerate() {
                by_model[i].push(metrics::predicted(row));
                mean_softmax[i].iter_mut().zip(row).for_each(|(mean, probability)| *mean += share * probability);
            }
        }
        let names = models.iter().map(|m| m.name.clone()).collect();
        Ok(Self { models: names, files: files.to_vec(), by_model, mean_softmax, classes })
    }

    /// Predicts a pack whose classes must be those of the models.
    pub fn of_pack(models: &mut [Model], tta: Option<Tta>, pack: &Pack, progress: impl FnMut(usize)) -> Result<Self> {
        for model in models.iter() {
            check_classes(model, pack)?;
        }
        Self::of(models, tta, &pack.images, &pack.image_names(), progress)
    }

    /// The class that most models name for image `image`.
    pub fn vote(&self, image: usize) -> usize {
        vote(&self.by_model[image], &self.mean_softmax[image])
    }

    /// The class with the highest mean softmax for image `image`.
    pub fn mean_class(&self, image: usize) -> usize {
        ranked(&self.mean_softmax[image])[0]
    }

    /// Writes `predictions.csv`.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |e: csv::Error| std::io::Error::other(e);
        files::write_atomic(path, |file| {
            let mut writer = csv::Writer::from_writer(file);
            let header = std::iter::once("image").chain(self.models.iter().map(String::as_str)).chain(COLUMNS);
            writer.write_record(header).map_err(failed)?;
            for (image, file) in self.files.iter().enumerate() {
                let (vote, mean) = (self.vote(image), self.mean_class(image));
                let mut row = vec![file.clone()];
                row.extend(self.by_model[image].iter().map(ToString::to_string));
                row.extend([vote.to_string(), self.classes.wnids[vote].clone(), self.classes.names[vote].clone()]);
                row.extend([mean.to_string(), self.classes.wnids[mean].clone()]);
                row.push(format!("{:.6}", self.mean_softmax[image][vote]));
                writer.write_record(&row).map_err(failed)?;
            }
            writer.flush()
        })
    }
}

/// The most frequent of `named`; ties go to the higher mean softmax, then to the lower index.
fn vote(named: &[usize], mean_softmax: &[f64]) -> usize {
    let votes = |class: usize| named.iter().filter(|&&n| n == class).count();
    ranked(mean_softmax)
        .into_iter()
        .filter(|class| named.contains(class))
        .reduce(|best, class| if votes(class) > votes(best) { class } else { best })
        .unwrap_or(0)
}

/// Class indices by falling value; equal values by index.
pub fn ranked(values: &[f64]) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..values.len()).collect();
    classes.sort_by(|&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_wins_and_ties_go_to_the_higher_mean() {
        assert_eq!(vote(&[2, 0, 2], &[0.9, 0.0, 0.1]), 2);
        assert_eq!(vote(&[0, 1], &[0.2, 0.7, 0.1]), 1);
        assert_eq!(vote(&[1, 0, 2], &[0.4, 0.4, 0.2]), 0);
        assert_eq!(vote(&[3], &[0.5, 0.3, 0.1, 0.1]), 3);
    }
}
