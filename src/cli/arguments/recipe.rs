//! The flags of `vggkit train` that say how a network is trained, and how they become a validated recipe.
//!
//! How a further one is added stands in `training/settings.rs`.

use std::ops::Bound;
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use super::augment::AugmentArguments;
use super::run::RunArguments;
use super::shared::Shared;
use super::values;
use crate::engine::{NoDecay, Normalisation, Optimizer};
use crate::error::{Error, Result};
use crate::training::choices::{Schedule, Select};
use crate::training::run::{Data, Recipe};
use crate::training::sizes::Sizes;
use crate::vgg::Freeze;

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
    /// Batch normalisation takes its statistics over the whole batch, where that is computed in micro-batches or by several ranks
    #[arg(long)]
    pub sync_batch_norm: bool,
    #[arg(long = "early-stopping", value_name = "EPOCHS", help = patience_help(),
          visible_aliases = ["early_stopping", "patience"], value_parser = values::whole(0usize), allow_negative_numbers = true)]
    pub patience: Option<usize>,
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
    /// Nesterov's momentum: a step follows gradient + momentum * buffer
    #[arg(long)]
    pub nesterov: bool,
    /// Weight decay: with adam and sgd an L2 factor, added to the gradient (the paper: 5e-4); with adamw what parameters lose
    /// of themselves, times the learning rate [default: 0; adamw: 0.01, PyTorch's]
    #[arg(long, value_name = "X", allow_negative_numbers = true,
          value_parser = values::real(Bound::Included(0.0), Bound::Unbounded))]
    pub weight_decay: Option<f64>,
    /// What weight decay leaves alone: norm (batch normalisation's scales and shifts), bias, norm,bias or none
    #[arg(long, value_name = "ROLES", default_value_t = Recipe::default().no_decay)]
    pub no_decay: NoDecay,
    /// The most that the L2 norm of all gradients together may be, beyond which all are scaled down (clip_grad_norm_); 0 for no
    /// bound
    #[arg(long, value_name = "X", default_value_t = Recipe::default().clip_norm, allow_negative_numbers = true,
          value_parser = values::real(Bound::Included(0.0), Bound::Unbounded))]
    pub clip_norm: f64,
    /// Decay of a moving average of the weights, e.g. 0.999; 0 for none. The average is validated, kept as the best network and
    /// used by evaluate and predict; training goes on with the live weights. At update t the decay is (1 + t) / (10 + t) at
    /// most, so that a short training is averaged too
    #[arg(long, value_name = "DECAY", default_value_t = Recipe::default().ema, allow_negative_numbers = true,
          value_parser = values::real(Bound::Included(0.0), Bound::Excluded(1.0)))]
    pub ema: f64,
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
    /// Learn from the networks of these runs too: what they say on average of an image is a part of its target; none: of none
    #[arg(long, value_name = "RUN,...", value_delimiter = ',', action = ArgAction::Set, num_args = 1, default_value = NOBODY)]
    distill: Vec<String>,
    /// How much of the target that is
    #[arg(long, value_name = "SHARE", default_value_t = Recipe::default().distill_weight, allow_negative_numbers = true,
          value_parser = values::real(Bound::Excluded(0.0), Bound::Included(1.0)))]
    pub distill_weight: f64,
    /// Pixels to mean 0.5 and deviation 0.5, to those of the data set, or as the weights of --init saw them: torchvision's those of
    /// ImageNet
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Normalize::Half)]
    pub normalize: Normalize,
    /// Seed of weights, order, augmentation and dropout
    #[arg(long, value_name = "N", default_value_t = Recipe::default().seed, value_parser = values::whole(0u64), allow_negative_numbers = true)]
    pub seed: u64,
    /// Train on N images only, drawn with the seed; 0 for all
    #[arg(long, value_name = "N", default_value_t = Recipe::default().limit_train.unwrap_or(0), value_parser = values::whole(0usize),
          allow_negative_numbers = true)]
    pub limit_train: usize,
    /// Whether each epoch has an order of its own
    #[arg(long, value_name = "WHETHER", value_enum, default_value_t = Switch::of(Recipe::default().shuffle))]
    pub shuffle: Switch,
    /// Which epoch's network is kept as best.safetensors. Early stopping and the plateau go by the loss in any case
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Recipe::default().select)]
    pub select: Select,
    /// Share of each class's train images that is not trained on, drawn with the seed: they say which network is kept and when
    /// to stop early, and --val, still measured after each epoch, has no say in that
    #[arg(long, value_name = "SHARE", default_value_t = Recipe::default().hold_out, allow_negative_numbers = true,
          value_parser = values::real(Bound::Included(0.0), Bound::Excluded(1.0)))]
    pub hold_out: f64,
    /// Start from these weights (safetensors with torchvision's names)
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,
    /// Of the weights of --init take the layers that fit by name and shape, draw the others, and list both: for another
    /// number of classes, another depth, or torchvision's weights
    #[arg(long, requires = "init")]
    pub init_partial: bool,
    /// Keep the first layers as --init has them, and train the rest: features (all convolutions), features:N (the first N of
    /// them) or none. Batch normalisation in them goes by its running statistics, which stay too; a step costs less
    #[arg(long, value_name = "LAYERS", default_value_t = Recipe::default().freeze)]
    pub freeze: Freeze,
    #[command(flatten)]
    pub augment: AugmentArguments,
}

/// No teacher, as `--distill` says it.
const NOBODY: &str = "none";

impl RecipeArguments {
    /// The runs that teach. Errors: no run and another one.
    pub fn teachers(&self) -> Result<Vec<String>> {
        let named: Vec<String> = self.distill.iter().filter(|run| *run != NOBODY).cloned().collect();
        if named.is_empty() || named.len() == self.distill.len() {
            return Ok(named);
        }
        Err(Error::usage(format!("--distill {}: choose runs, or {NOBODY}", self.distill.join(",")))
            .with_help(format!("a run of that name is ./{NOBODY}")))
    }

    /// How to train, for as long as `run` says. Errors: flags that do not go together.
    pub fn recipe(&self, run: &RunArguments, sizes: &Sizes, shared: &Shared) -> Result<Recipe> {
        let optimizer = match (self.optimizer, self.momentum) {
            (OptimizerName::Adam, None) => Optimizer::adam(),
            (OptimizerName::Adamw, None) => Optimizer::adamw(),
            (OptimizerName::Adam | OptimizerName::Adamw, Some(_)) => {
                return Err(Error::usage(
                    "--momentum goes with --optimizer sgd; adam and adamw have their own (beta1 = 0.9)",
                )
                .with_help("add --optimizer sgd, or leave --momentum out"));
            }
            (OptimizerName::Sgd, momentum) => {
                Optimizer::Sgd { momentum: momentum.unwrap_or_default(), weight_decay: 0.0, nesterov: self.nesterov }
            }
        };
        if self.nesterov && self.momentum.is_none_or(|momentum| momentum == 0.0) {
            return Err(Error::usage("--nesterov is a way to use momentum, and there is none").with_help(
                "add --optimizer sgd --momentum 0.9, or leave --nesterov out (--nesterov=off on top of a file)",
            ));
        }
        let optimizer = optimizer.with_decay(self.weight_decay.unwrap_or(optimizer.weight_decay()));
        if !self.no_decay.is_none() && optimizer.weight_decay() == 0.0 {
            return Err(Error::usage("--no-decay says which tensors weight decay leaves alone, and there is none")
                .with_help("add --weight-decay 5e-4, or leave --no-decay out (--no-decay none on top of a file)"));
        }
        let epochs = run.epochs.unwrap_or(Recipe::default().epochs);
        let mut recipe = Recipe {
            batch_size: self.batch_size,
            micro_batch: shared.micro_batch().unwrap_or_default(),
            sync_batch_norm: self.sync_batch_norm,
            epochs,
            patience: self.patience.unwrap_or_else(|| self.schedule.patience()),
            learning_rate: self.learning_rate,
            optimizer,
            no_decay: self.no_decay,
            clip_norm: self.clip_norm,
            ema: self.ema,
            schedule: self.schedule,
            warmup: self.warmup,
            label_smoothing: self.label_smoothing as f32,
            image_sizes: sizes.several(),
            distill: self.teachers()?,
            distill_weight: self.distill_weight,
            normalisation: match self.normalize {
                Normalize::Half | Normalize::Dataset => Normalisation::default(), // the latter once the data is at hand
                Normalize::Imagenet => Normalisation::IMAGENET,
            },
            seed: self.seed,
            shuffle: self.shuffle == Switch::On,
            precision: shared.precision.unwrap_or_default(),
            max_steps: run.max_steps,
            limit_train: (self.limit_train > 0).then_some(self.limit_train),
            select: self.select,
            hold_out: self.hold_out,
            init: self.init.as_ref().map(|path| path.display().to_string()),
            init_partial: self.init_partial,
            freeze: self.freeze,
            ..Recipe::default()
        };
        self.augment.apply(&mut recipe)?;
        recipe.check_epochs()?;
        if recipe.distill.is_empty() && (recipe.distill_weight - Recipe::default().distill_weight).abs() > 0.0 {
            return Err(Error::usage("--distill-weight: there is no teacher").with_help(format!(
                "name one with --distill RUN, or leave it out (--distill-weight {} on top of a file)",
                Recipe::default().distill_weight
            )));
        }
        if !recipe.freeze.is_none() && recipe.init.is_none() && run.resume.is_none() {
            let freeze = recipe.freeze;
            return Err(Error::usage(format!(
                "--freeze {freeze} keeps weights as they are, and there are none to keep"
            ))
            .with_help(
                "add --init FILE: weights from elsewhere, or best.safetensors of a run; or leave --freeze out",
            ));
        }
        Ok(recipe)
    }
}

/// What `--early-stopping` does: its default is that of the schedule.
fn patience_help() -> String {
    let [default, cosine] = [Schedule::Constant, Schedule::Cosine].map(Schedule::patience);
    format!(
        "Stop when validation loss, or with --hold-out that of held-out images, has not fallen for this many epochs; 0 for never \
         [default: {default}; with --schedule cosine, which has a planned end: {cosine}] [also: -es N]"
    )
}

/// Optimisers by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OptimizerName {
    /// torch.optim.Adam
    Adam,
    /// torch.optim.AdamW
    Adamw,
    /// torch.optim.SGD
    Sgd,
}

impl OptimizerName {
    /// Its name in text.
    pub fn title(self) -> &'static str {
        match self {
            Self::Adam => "Adam",
            Self::Adamw => "AdamW",
            Self::Sgd => "SGD",
        }
    }

    /// That of a rule.
    pub fn of(optimizer: &Optimizer) -> Self {
        match optimizer {
            Optimizer::Adam { .. } => Self::Adam,
            Optimizer::AdamW { .. } => Self::Adamw,
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
    /// Those of ImageNet, as torchvision has them
    Imagenet,
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
