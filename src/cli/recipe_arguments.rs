//! The flags of `vggkit train` that say how a network is trained, and how they become a validated recipe.
//!
//! How a further one is added stands in `training/settings.rs`.

use std::ops::Bound;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::augment_arguments::AugmentArguments;
use super::train_arguments::RunArguments;
use super::values;
use crate::engine::gpu::Precision;
use crate::engine::{Normalisation, Optimizer};
use crate::error::{Error, Result};
use crate::training::run::{Data, Recipe, Schedule};

/// How to train.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Training")]
pub struct RecipeArguments {
    /// Split below --data to train on
    #[arg(short, long, value_name = "SPLIT", default_value_t = Data::default().train)]
    pub train: String,
    /// Split below --data to validate on after each epoch
    #[arg(short, long, value_name = "SPLIT", default_value_t = Data::default().val)]
    pub val: String,
    /// Images a step
    #[arg(short, long = "batch-size", value_name = "N", default_value_t = Recipe::default().batch_size, visible_aliases = ["batchsize", "batch"],
          value_parser = values::whole(1usize), allow_negative_numbers = true)]
    pub batch_size: usize,
    /// Stop when validation loss has not fallen for this many epochs; 0 for never [also: -es N]
    #[arg(long = "early-stopping", value_name = "EPOCHS", default_value_t = Recipe::default().patience,
          visible_aliases = ["early_stopping", "patience"], value_parser = values::whole(0usize), allow_negative_numbers = true)]
    pub patience: usize,
    /// Learning rate [also: -lr X]
    #[arg(long, value_name = "X", default_value_t = Recipe::default().learning_rate, visible_aliases = ["learning_rate", "lr"],
          value_parser = values::real(Bound::Excluded(0.0), Bound::Unbounded), allow_negative_numbers = true)]
    pub learning_rate: f64,
    /// Optimiser, with PyTorch's constants
    #[arg(long, value_name = "NAME", value_enum, default_value_t = OptimizerName::of(&Recipe::default().optimizer))]
    pub optimizer: OptimizerName,
    /// Momentum of sgd (the paper: 0.9) [default: 0]
    #[arg(long, value_name = "X", value_parser = values::real(Bound::Included(0.0), Bound::Excluded(1.0)),
          allow_negative_numbers = true)]
    pub momentum: Option<f64>,
    /// L2 factor, added to the gradient (the paper: 5e-4)
    #[arg(long, value_name = "X", default_value_t = Recipe::default().optimizer.weight_decay(), allow_negative_numbers = true,
          value_parser = values::real(Bound::Included(0.0), Bound::Unbounded))]
    pub weight_decay: f64,
    /// How the learning rate moves
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Recipe::default().schedule)]
    pub schedule: Schedule,
    /// Epochs in which the learning rate rises from 0; fractions are allowed
    #[arg(long, value_name = "EPOCHS", default_value_t = Recipe::default().warmup, allow_negative_numbers = true,
          value_parser = values::real(Bound::Included(0.0), Bound::Unbounded))]
    pub warmup: f64,
    /// Share of the target that goes to all classes alike
    #[arg(long, value_name = "X", default_value_t = Recipe::default().label_smoothing.into(), allow_negative_numbers = true,
          value_parser = values::real(Bound::Included(0.0), Bound::Excluded(1.0)))]
    pub label_smoothing: f64,
    /// Learn from the networks of these runs too: what they say on average of an image is a part of its target
    #[arg(long, value_name = "RUN,...", value_delimiter = ',')]
    pub distill: Vec<String>,
    /// How much of the target that is
    #[arg(long, value_name = "SHARE", default_value_t = Recipe::default().distill_weight, allow_negative_numbers = true,
          value_parser = values::real(Bound::Excluded(0.0), Bound::Included(1.0)))]
    pub distill_weight: f64,
    /// Pixels to mean 0.5 and deviation 0.5, or to those of the data set
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Normalize::Half)]
    pub normalize: Normalize,
    /// Seed of weights, order, augmentation and dropout
    #[arg(long, value_name = "N", default_value_t = Recipe::default().seed, value_parser = values::whole(0u64), allow_negative_numbers = true)]
    pub seed: u64,
    /// Train on N images only, drawn with the seed
    #[arg(long, value_name = "N", value_parser = values::whole(1usize), allow_negative_numbers = true)]
    pub limit_train: Option<usize>,
    /// Whether each epoch has an order of its own
    #[arg(long, value_name = "WHETHER", value_enum, default_value_t = Switch::of(Recipe::default().shuffle))]
    pub shuffle: Switch,
    /// Start from these weights (safetensors with torchvision's names)
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,
    /// Of the weights of --init take the layers that fit by name and shape, draw the others, and list both: for another
    /// number of classes, another depth, or torchvision's weights
    #[arg(long, requires = "init")]
    pub init_partial: bool,
    #[command(flatten)]
    pub augment: AugmentArguments,
}

impl RecipeArguments {
    /// How to train, for as long as `run` says. Errors: flags that do not go together.
    pub fn recipe(&self, run: &RunArguments, precision: Precision) -> Result<Recipe> {
        let mut optimizer = match (self.optimizer, self.momentum) {
            (OptimizerName::Adam, None) => Optimizer::adam(),
            (OptimizerName::Adam, Some(_)) => {
                return Err(Error::usage("--momentum goes with --optimizer sgd; adam has its own (beta1 = 0.9)")
                    .with_help("add --optimizer sgd, or leave --momentum out"));
            }
            (OptimizerName::Sgd, momentum) => Optimizer::Sgd { momentum: momentum.unwrap_or(0.0), weight_decay: 0.0 },
        };
        let (Optimizer::Adam { weight_decay, .. } | Optimizer::Sgd { weight_decay, .. }) = &mut optimizer;
        *weight_decay = self.weight_decay;
        let epochs = run.epochs.unwrap_or(Recipe::default().epochs);
        if self.warmup > epochs as f64 {
            return Err(Error::usage(format!(
                "--warmup {} is longer than the whole training (--epochs {epochs}): choose at most {epochs}",
                self.warmup
            )));
        }
        let mut recipe = Recipe {
            batch_size: self.batch_size,
            epochs,
            patience: self.patience,
            learning_rate: self.learning_rate,
            optimizer,
            schedule: self.schedule,
            warmup: self.warmup,
            label_smoothing: self.label_smoothing as f32,
            distill: self.distill.clone(),
            distill_weight: self.distill_weight,
            normalisation: Normalisation::default(),
            seed: self.seed,
            shuffle: self.shuffle == Switch::On,
            precision,
            max_steps: run.max_steps,
            limit_train: self.limit_train,
            init: self.init.as_ref().map(|path| path.display().to_string()),
            init_partial: self.init_partial,
            ..Recipe::default()
        };
        self.augment.apply(&mut recipe)?;
        if recipe.distill.is_empty() && (recipe.distill_weight - Recipe::default().distill_weight).abs() > 0.0 {
            return Err(Error::usage("--distill-weight: there is no teacher").with_help("name one with --distill RUN"));
        }
        Ok(recipe)
    }
}

/// Optimisers by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OptimizerName {
    /// torch.optim.Adam
    Adam,
    /// torch.optim.SGD
    Sgd,
}

impl OptimizerName {
    fn of(optimizer: &Optimizer) -> Self {
        match optimizer {
            Optimizer::Adam { .. } => Self::Adam,
            Optimizer::Sgd { .. } => Self::Sgd,
        }
    }
}

/// Where mean and deviation come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Normalize {
    /// 0.5 and 0.5
    Half,
    /// Those of the train images
    Dataset,
}

/// A thing that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes
    On,
    /// No
    Off,
}

impl Switch {
    fn of(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}
