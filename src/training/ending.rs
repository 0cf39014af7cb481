//! Why a training ends, and whether one that goes on has anything left to do.

use super::checkpoint::Progress;
use super::run::{Recipe, Run};

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All epochs are done.
    Epochs,
    /// Validation loss, or that of held-out train images, did not improve for `patience` epochs.
    EarlyStopping,
    /// `--max-steps` was reached.
    MaxSteps,
    /// `--max-minutes` have gone by.
    MaxMinutes,
    /// A signal; its number.
    Signal(i32),
}

impl Ending {
    /// As `run.toml` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epochs => "epochs",
            Self::EarlyStopping => "early stopping",
            Self::MaxSteps => "max steps",
            Self::MaxMinutes => "max minutes",
            Self::Signal(_) => "signal",
        }
    }
}

/// Why there is nothing left to train at `progress`; `None` where there is.
pub fn over(recipe: &Recipe, progress: &Progress) -> Option<Ending> {
    if recipe.patience > 0 && progress.epochs_without_improvement >= recipe.patience {
        return Some(Ending::EarlyStopping);
    }
    (progress.epoch > recipe.epochs).then_some(Ending::Epochs)
}

/// How the training of `run` ended, which stands at `progress` with nothing left to do; `None` where there is something.
pub fn ended(run: &Run, progress: &Progress) -> Option<Ending> {
    over(&run.training, progress).filter(|ending| ending.name() == run.origin.stopped_by)
}
