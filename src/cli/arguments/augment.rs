//! The flags of `vggkit train` that say what happens to train images.

use std::ops::Bound;

use clap::Args;

use super::values;
use crate::error::{Error, Result};
use crate::training::choices::TrivialAugment;
use crate::training::run::{Augment, Recipe};

/// What happens to train images, in this order; nothing of it does to others.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Augmentation")]
pub struct AugmentArguments {
    /// How train images are cropped and flipped
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Recipe::default().augment)]
    pub augment: Augment,
    /// Share of an image that a resized crop has at least (torchvision: 0.08; of 64 x 64 that is 18 x 18)
    #[arg(long, value_name = "SHARE", default_value_t = Recipe::default().crop_scale, allow_negative_numbers = true,
          value_parser = values::real(Bound::Excluded(0.0), Bound::Included(1.0)))]
    pub crop_scale: f64,
    /// One operation of TrivialAugment Wide an image, drawn anew each epoch: shear, translate, rotate, brightness, color,
    /// contrast, sharpness, posterize, solarize, autocontrast, equalize or none
    #[arg(long, value_name = "SET", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "wide",
          default_value_t = Recipe::default().trivial_augment)]
    pub trivial_augment: TrivialAugment,
    /// Shift colors along their principal components, with this deviation (the paper: 0.1)
    #[arg(long, value_name = "X", default_value_t = Recipe::default().color_shift, allow_negative_numbers = true,
          visible_alias = "colour-shift", value_parser = values::real(Bound::Included(0.0), Bound::Included(10.0)))]
    pub color_shift: f64,
    /// Probability that a rectangle is erased (random erasing: 0.25 to 0.5)
    #[arg(long, value_name = "PROBABILITY", default_value_t = Recipe::default().erase, allow_negative_numbers = true,
          value_parser = values::real(Bound::Included(0.0), Bound::Included(1.0)))]
    pub erase: f64,
    /// Add two images and their targets, in shares drawn from Beta(A, A) (0.2 is usual); with --cutmix: every other sample
    #[arg(long, value_name = "A", default_value_t = Recipe::default().mixup, allow_negative_numbers = true,
          value_parser = values::real(Bound::Included(0.0), Bound::Included(100.0)))]
    pub mixup: f64,
    /// Cover a rectangle with another image, of a share drawn from Beta(A, A) (1 is usual), and share out the target
    #[arg(long, value_name = "A", default_value_t = Recipe::default().cutmix, allow_negative_numbers = true,
          value_parser = values::real(Bound::Included(0.0), Bound::Included(100.0)))]
    pub cutmix: f64,
    /// Mix nothing in this many epochs at the end
    #[arg(long, value_name = "EPOCHS", default_value_t = Recipe::default().mix_off, allow_negative_numbers = true,
          value_parser = values::whole(0usize))]
    pub mix_off: usize,
}

impl AugmentArguments {
    /// Puts the settings into `recipe`. Errors: flags without what they are about.
    pub fn apply(&self, recipe: &mut Recipe) -> Result<()> {
        recipe.augment = self.augment;
        recipe.crop_scale = self.crop_scale;
        recipe.trivial_augment = self.trivial_augment;
        recipe.color_shift = self.color_shift;
        recipe.erase = self.erase;
        recipe.mixup = self.mixup;
        recipe.cutmix = self.cutmix;
        recipe.mix_off = self.mix_off;
        let default = Recipe::default().crop_scale;
        if recipe.augment != Augment::ResizedCrop && (recipe.crop_scale - default).abs() > 0.0 {
            return Err(Error::usage("--crop-scale is of resized crops")
                .with_help("add --augment resized-crop, or leave --crop-scale out"));
        }
        if recipe.mix_off > 0 && recipe.mixup <= 0.0 && recipe.cutmix <= 0.0 {
            return Err(Error::usage("--mix-off: nothing is mixed")
                .with_help("add --cutmix 1 or --mixup 0.2, or leave --mix-off out (--mix-off 0 on top of a file)"));
        }
        Ok(())
    }
}
