//! Which of the train images are trained on and which are held out for selection: drawn from the seed, once for a training.
//!
//! In what order they come and how they are augmented is `sampler`'s.

use std::collections::BTreeMap;

use rand::seq::SliceRandom;

use super::run::Recipe;
use super::sampler::{Purpose, generator};
use crate::error::{Error, Kind, Result};

/// The train images of a training, as indices into their pack, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Trained on.
    pub trained: Vec<u32>,
    /// Not trained on: selection and early stopping read them.
    pub held_out: Vec<u32>,
    /// Labels of the held-out ones.
    pub held_out_labels: Vec<u32>,
}

impl Chosen {
    /// Chooses of the images that have these `labels`: as many as `limit_train` says, and of those of each class the share
    /// `hold_out`, but at least one and not all; a class of one image is trained on. Errors: none could be held
    /// out.
    pub fn new(recipe: &Recipe, labels: &[u32]) -> Result<Self> {
        let count =
            u32::try_from(labels.len()).map_err(|_| Error::new(Kind::Engine, "more than 2^32 images to train on"))?;
        let mut images: Vec<u32> = (0..count).collect();
        if let Some(limit) = recipe.limit_train.filter(|&limit| limit < images.len()) {
            images.shuffle(&mut generator(Purpose::Subset, recipe.seed, 0, 0));
            images.truncate(limit);
            images.sort_unstable();
        }
        if recipe.hold_out == 0.0 {
            return Ok(Self { trained: images, ..Self::default() });
        }
        let mut classes: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        images.into_iter().for_each(|image| classes.entry(labels[image as usize]).or_default().push(image));
        let mut chosen = Self::default();
        for (class, mut images) in classes {
            let most = images.len() - 1;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
            let share = (images.len() as f64 * recipe.hold_out).round() as usize;
            images.shuffle(&mut generator(Purpose::HeldOut, recipe.seed, 0, class.into()));
            let trained = images.split_off(share.max(1).min(most));
            chosen.held_out.extend(images);
            chosen.trained.extend(trained);
        }
        chosen.trained.sort_unstable();
        chosen.held_out.sort_unstable();
        chosen.held_out_labels = chosen.held_out.iter().map(|&image| labels[image as usize]).collect();
        if chosen.held_out.is_empty() {
            return Err(Error::usage(
                "--hold-out finds no class with two train images, of which one could be held out",
            )
            .with_help("leave --hold-out out, or train on more images"));
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten images of class 0, four of class 1, one of class 2.
    const LABELS: [u32; 15] = [0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 2];

    fn chosen(hold_out: f64, seed: u64, limit_train: Option<usize>) -> Result<Chosen> {
        Chosen::new(&Recipe { hold_out, seed, limit_train, ..Recipe::default() }, &LABELS)
    }

    #[test]
    fn a_share_of_each_class_is_held_out_and_never_trained_on() -> Result<()> {
        for (share, expected) in [(0.2, [2, 1, 0]), (0.5, [5, 2, 0]), (0.01, [1, 1, 0]), (0.99, [9, 3, 0])] {
            let chosen = chosen(share, 0, None)?;
            let count = |class: u32| chosen.held_out_labels.iter().filter(|&&label| label == class).count();
            assert_eq!([count(0), count(1), count(2)], expected, "{share}");
            let labels: Vec<u32> = chosen.held_out.iter().map(|&image| LABELS[image as usize]).collect();
            assert_eq!(labels, chosen.held_out_labels);
            let mut all = [chosen.trained.as_slice(), &chosen.held_out].concat();
            all.sort_unstable();
            assert_eq!(all, (0..15).collect::<Vec<_>>(), "each image once");
            assert!(chosen.trained.is_sorted() && chosen.held_out.is_sorted());
        }
        Ok(())
    }

    #[test]
    fn the_seed_says_which() -> Result<()> {
        assert_eq!(chosen(0.2, 3, None)?, chosen(0.2, 3, None)?);
        let draws: Vec<_> = (0..8).map(|seed| chosen(0.2, seed, None).map(|c| c.held_out)).collect::<Result<_>>()?;
        assert!(draws.iter().any(|draw| *draw != draws[0]));
        Ok(())
    }

    #[test]
    fn a_limit_counts_both_and_without_a_share_nothing_is_held_out() -> Result<()> {
        let limited = chosen(0.25, 1, Some(8))?;
        assert_eq!(limited.trained.len() + limited.held_out.len(), 8);
        let all = chosen(0.0, 1, None)?;
        assert_eq!((all.trained.len(), all.held_out.len()), (15, 0));
        let one_a_class = Recipe { hold_out: 0.5, ..Recipe::default() };
        assert!(Chosen::new(&one_a_class, &[0, 1, 2]).is_err_and(|e| e.to_string().contains("--hold-out")));
        Ok(())
    }
}
