//! The learning rate of a step: warm-up, then constant, half a cosine, or divided on a plateau.

use serde::{Deserialize, Serialize};

use super::choices::Schedule;
use super::run::Recipe;

/// What a plateau divides the learning rate by.
const PLATEAU_FACTOR: f64 = 0.1;

/// The plateau schedule's memory; part of every checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// Multiplies the base learning rate.
    pub factor: f64,
    /// Epochs since validation loss last improved or the factor last moved.
    pub waited: usize,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 1.0, waited: 0 }
    }
}

impl Plateau {
    /// Takes note of an epoch's outcome.
    pub fn epoch(&mut self, recipe: &Recipe, improved: bool) {
        self.waited = if improved { 0 } else { self.waited + 1 };
        if self.waited >= Self::patience(recipe) {
            self.factor *= PLATEAU_FACTOR;
            self.waited = 0;
        }
    }

    /// Epochs without a lower validation loss after which the learning rate is divided.
    pub fn patience(recipe: &Recipe) -> usize {
        if recipe.patience == 0 { 3 } else { (recipe.patience / 2).max(2) }
    }
}

/// Learning rate of step `step` (from 0) with `steps_per_epoch` steps an epoch.
/// The cosine ends at the last step of the last epoch, whatever `--max-steps` says: a run cut short is a prefix.
pub fn learning_rate(recipe: &Recipe, plateau: &Plateau, steps_per_epoch: usize, step: u64) -> f64 {
    let step = step as f64;
    let warmup = recipe.warmup * steps_per_epoch as f64;
    if step < warmup {
        return recipe.learning_rate * ((step + 1.0) / warmup).min(1.0);
    }
    match recipe.schedule {
        Schedule::Constant => recipe.learning_rate,
        Schedule::Plateau => recipe.learning_rate * plateau.factor,
        Schedule::Cosine => {
            let total = (recipe.epochs * steps_per_epoch) as f64;
            let done = ((step - warmup) / (total - warmup).max(1.0)).clamp(0.0, 1.0);
            recipe.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(schedule: Schedule, warmup: f64) -> Recipe {
        Recipe { schedule, warmup, epochs: 10, learning_rate: 1.0, patience: 6, ..Recipe::default() }
    }

    #[test]
    fn warm_up_rises_to_the_base_rate() {
        let recipe = recipe(Schedule::Constant, 2.0);
        let at = |step| learning_rate(&recipe, &Plateau::default(), 5, step);
        assert!((at(0) - 0.1).abs() < 1e-12);
        assert!((at(9) - 1.0).abs() < 1e-12);
        assert!((at(30) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn cosine_falls_from_base_to_nearly_zero() {
        let recipe = recipe(Schedule::Cosine, 0.0);
        let at = |step| learning_rate(&recipe, &Plateau::default(), 5, step);
        assert!((at(0) - 1.0).abs() < 1e-12);
        assert!((at(25) - 0.5).abs() < 1e-12);
        assert!(at(49) < 0.01 && at(49) > 0.0);
        assert!(at(60) >= 0.0);
    }

    #[test]
    fn plateau_divides_after_half_the_patience() {
        let recipe = recipe(Schedule::Plateau, 0.0);
        let mut plateau = Plateau::default();
        for (improved, factor) in [(true, 1.0), (false, 1.0), (false, 1.0), (false, 0.1), (false, 0.1), (true, 0.1)] {
            plateau.epoch(&recipe, improved);
            assert!((learning_rate(&recipe, &plateau, 5, 7) - factor).abs() < 1e-12);
        }
    }
}
