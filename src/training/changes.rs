//! What a training that goes on may change of its settings: carried out and written down in `run.toml`, or refused with the
//! way to do it. What would have no effect is refused too.
//!
//! It reads and writes no file. Everything else of a recipe stays: another batch size or seed is another training.

use std::path::Path;

use super::checkpoint::Progress;
use super::choices::Schedule;
use super::ending::{self, Ending, over};
use super::run::{Change, Recipe, Run};
use super::schedule::{Plateau, learning_rate};
use super::selection::stopping_loss;
use super::settings::{Scope, Values, differences, words};
use crate::engine::Precision;
use crate::error::{Error, Result};
use crate::files;
use crate::shell::quote;

/// Writes down that a run is shared out in micro-batches of `parts` samples from here on, where it was not before.
pub fn share_out(run: &mut Run, progress: &Progress, parts: usize, command: &str) {
    if run.training.micro_batch == parts {
        return;
    }
    run.changes.push(Change {
        time: files::now(),
        epoch: progress.epoch,
        step: progress.step,
        setting: "micro_batch".into(),
        before: run.training.micro_batch.to_string(),
        after: parts.to_string(),
        command: command.to_owned(),
    });
    run.training.micro_batch = parts;
}

/// New settings of a training that goes on; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    /// Epochs at most.
    pub epochs: Option<usize>,
    /// Epochs without a lower validation loss after which it stops; 0 for never.
    pub patience: Option<usize>,
    /// Base learning rate.
    pub learning_rate: Option<f64>,
    /// How the learning rate moves. Named again, it agrees to a cosine over another number of epochs.
    pub schedule: Option<Schedule>,
    /// What the factors of products are rounded to.
    pub precision: Option<Precision>,
    /// Stop after this many steps of the whole training. It says when to pause and changes no step, so `None` forgets an
    /// earlier one.
    pub max_steps: Option<u64>,
}

impl Changes {
    /// The recipe after the changes.
    pub fn of(&self, recipe: &Recipe) -> Recipe {
        Recipe {
            epochs: self.epochs.unwrap_or(recipe.epochs),
            patience: self.patience.unwrap_or(recipe.patience),
            learning_rate: self.learning_rate.unwrap_or(recipe.learning_rate),
            schedule: self.schedule.unwrap_or(recipe.schedule),
            precision: self.precision.unwrap_or(recipe.precision),
            max_steps: self.max_steps,
            ..recipe.clone()
        }
    }

    /// Whether anything is asked for.
    fn any(&self) -> bool {
        let Self { epochs, patience, learning_rate, schedule, precision, max_steps } = self;
        let numbers = epochs.is_some() || patience.is_some() || learning_rate.is_some() || max_steps.is_some();
        numbers || schedule.is_some() || precision.is_some()
    }

    /// How a run that has ended would still be over with these changes; `None` where there is something to train.
    pub fn leave_over(&self, run: &Run, progress: &Progress) -> Option<Ending> {
        let recipe = self.of(&run.training);
        let ended = ending::ended(run, progress).is_some();
        let paused = recipe.max_steps.is_some_and(|most| progress.step >= most);
        let over = over(&recipe, progress).filter(|_| ended);
        over.or((paused && run.origin.stopped_by == Ending::MaxSteps.name()).then_some(Ending::MaxSteps))
    }

    /// Carries the changes out on the run in `folder`, whose training stands at `progress`, and writes them down in it.
    /// Gives what a person should know of them, a sentence each.
    ///
    /// Errors: what is done and cannot be undone, what has no effect, and a cosine that would be stretched unasked.
    pub fn carry_out(
        &self,
        run: &mut Run,
        progress: &mut Progress,
        steps_per_epoch: usize,
        (folder, command): (&Path, &str),
    ) -> Result<Vec<String>> {
        let (old, new) = (run.training.clone(), self.of(&run.training));
        let (done, name) = (progress.epoch - 1, folder.display());
        if new.epochs < done {
            return Err(Error::usage(format!("{done} epochs of {name} are done, which -e cannot undo"))
                .with_help(format!("go on with more than {done}, or train another run")));
        }
        // Killed with its last step saved, before run.toml said how it ended: it has to be closed, not to be trained.
        let to_close = run.origin.stopped_by.is_empty() && run.training.max_steps == Some(progress.step);
        if let Some(most) = self.max_steps.filter(|&most| most < progress.step || (most == progress.step && !to_close))
        {
            let steps = progress.step;
            return Err(Error::usage(format!("{steps} steps of {name} are done: --max-steps {most} leaves none"))
                .with_help(format!("go on with more than {steps}, or without --max-steps")));
        }
        if self.any() && self.leave_over(run, progress).is_some() {
            return Err(Error::usage(format!(
                "{}: what is asked for does not change that",
                ended(&new, progress, folder)
            ))
            .with_help(way_on(&new, old.schedule, progress, folder)));
        }
        if new.epochs != old.epochs {
            new.check_epochs()?;
        }
        let rate = |recipe: &Recipe, plateau: &Plateau, step| learning_rate(recipe, plateau, steps_per_epoch, step);
        let next = rate(&new, &progress.plateau, progress.step);
        if new.epochs != old.epochs && old.schedule == Schedule::Cosine && self.schedule.is_none() && progress.step > 0
        {
            let last = rate(&old, &progress.plateau, progress.step - 1);
            return Err(Error::usage(format!(
                "{name} has a cosine over {} epochs, and its learning rate is {last:.2e} now: a cosine over {} would take \
                 it to {next:.2e} at once",
                old.epochs, new.epochs
            ))
            .with_help(format!(
                "say --schedule cosine again to have that, or --schedule constant -lr X to go on at one rate: `vggkit \
                 train --resume {} -e {} --schedule cosine`",
                quote(folder),
                new.epochs
            )));
        }
        let before = rate(&old, &progress.plateau, progress.step);
        let mut notes = Vec::new();
        let (mine, changed) = (Values::of(run)?, Values::of(&Run { training: new.clone(), ..run.clone() })?);
        for (setting, before, after) in differences(&mine, &changed).filter(|(s, ..)| s.scope == Scope::Changeable) {
            let (before, after) = (words(before), words(after));
            let setting = setting.key.trim_start_matches("training.");
            notes.push(format!("{setting} was {before} and is {after} from epoch {} on", progress.epoch));
            run.changes.push(Change {
                time: files::now(),
                epoch: progress.epoch,
                step: progress.step,
                setting: setting.to_owned(),
                before,
                after,
                command: command.to_owned(),
            });
        }
        if new.schedule == Schedule::Plateau && Plateau::patience(&old) != Plateau::patience(&new) {
            notes.push(format!("the plateau divides the learning rate after {} such epochs", Plateau::patience(&new)));
        }
        if new.schedule != old.schedule && new.schedule.patience() == 0 && new.patience > 0 && self.patience.is_none() {
            notes.push(format!("early stopping stays on with patience {}; -es 0 turns it off", new.patience));
        }
        run.training = new;
        renew_plateau(run, progress);
        let after = rate(&run.training, &progress.plateau, progress.step);
        if progress.step > 0 && (before - after).abs() > 1e-12 * before.abs() {
            let last = rate(&old, &progress.plateau, progress.step - 1);
            notes.push(format!("the learning rate was {last:.2e} at the last step and goes on from {after:.2e}"));
        }
        Ok(notes)
    }
}

/// A plateau waits anew where the learning rate or the schedule was changed: `-lr` is then the rate that follows. The
/// checkpoint was written before that, so that this is decided by what `run.toml` says of the step it stands at.
fn renew_plateau(run: &Run, progress: &mut Progress) {
    let here = |change: &Change| (change.step, change.epoch) == (progress.step, progress.epoch);
    let rate = |change: &Change| matches!(change.setting.as_str(), "learning_rate" | "schedule");
    if run.changes.iter().any(|change| here(change) && rate(change)) {
        progress.plateau = Plateau::default();
    }
}

/// Why a training with this recipe is over at `progress`.
pub fn ended(recipe: &Recipe, progress: &Progress, folder: &Path) -> String {
    let (name, waited) = (folder.display(), progress.epochs_without_improvement);
    match over(recipe, progress) {
        Some(Ending::EarlyStopping) => {
            let epochs = if waited == 1 { "epoch" } else { "epochs" };
            let patience = recipe.patience;
            let loss = stopping_loss(recipe);
            format!("{name} has ended by early stopping: {waited} {epochs} without a lower {loss} (-es {patience})")
        }
        _ => format!("{name} has ended after {} epochs", progress.epoch - 1),
    }
}

/// How a training that is over with this recipe, and followed schedule `was` until now, goes on.
pub fn way_on(recipe: &Recipe, was: Schedule, progress: &Progress, folder: &Path) -> String {
    let (done, waited) = (progress.epoch - 1, progress.epochs_without_improvement);
    let mut flags = Vec::new();
    let mut why = Vec::new();
    if recipe.patience > 0 && waited >= recipe.patience {
        flags.push("-es 0".to_owned());
        why.push(format!("-es 0 never stops it early, -es with more than {waited} stops it later"));
    }
    if done >= recipe.epochs {
        let more = done.max(1) * 2;
        let named = format!(" --schedule {}", recipe.schedule.name()); // a cosine is not left or stretched unasked
        let named = if was == Schedule::Cosine { named.as_str() } else { "" };
        flags.push(format!("-e {more}{named}"));
        why.push(format!("-e takes any number above {done}"));
    }
    format!("`vggkit train --resume {} {}` goes on: {}", quote(folder), flags.join(" "), why.join("; "))
}
