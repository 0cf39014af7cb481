//! What a person sees of a training: a heading, a live bar an epoch, a line an epoch.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;

use super::output;
use crate::progress;
use crate::training::history::Epoch;
use crate::training::run::{Origin, Recipe};
use crate::training::session::Session;
use crate::training::trainer::{Ending, Live, Observer};

/// The value of `schema` in the lines of `train --json`.
const SCHEMA: &str = "vggkit/epoch/1";

/// A line of `train --json`: which run, and the line of its `history.jsonl`.
#[derive(Serialize)]
struct EpochLine<'a> {
    schema: &'static str,
    run: &'a str,
    #[serde(flatten)]
    epoch: &'a Epoch,
}

/// Shows a training.
pub struct Display {
    bar: ProgressBar,
    quiet: bool,
    json: bool,
    epochs: usize,
    best: Option<Epoch>,
    epochs_seen: u32,
    started: Instant,
    folder: String,
}

impl Display {
    /// Prints the heading.
    pub fn new(session: &Session, quiet: bool, json: bool) -> Self {
        let (run, device) = (&session.run, session.engine.device());
        if !quiet && !json {
            let plan = session.engine.plan();
            let synthetic = if run.data.synthetic { "  (synthetic demo data)" } else { "" };
            output::note(&format!(
                "{} · {:.1} M parameters · {} classes · {} train images{synthetic}",
                run.network.title(),
                plan.parameters() as f64 / 1e6,
                run.network.classes,
                session.train_images(),
            ));
            let threads = if device.threads > 0 { format!(" · {} threads", device.threads) } else { String::new() };
            output::note(&format!(
                "{} · {}{threads} · {} · {} of memory · {}",
                device.adapter,
                device.driver,
                run.training.precision.name(),
                indicatif::HumanBytes(session.engine.memory()),
                session.folder.display()
            ));
            if session.progress.step == 0 {
                first_weights(&run.training, &run.origin).iter().for_each(|line| output::note(line));
            }
            match session.ended() {
                Some(_) => output::note(&session.way_on()),
                None if session.progress.step > 0 => output::note(&format!(
                    "goes on after step {} in epoch {}",
                    session.progress.step, session.progress.epoch
                )),
                None => {}
            }
            session.notes.iter().for_each(|note| output::note(note));
        }
        Self {
            bar: ProgressBar::hidden(),
            quiet,
            json,
            epochs: run.training.epochs,
            best: session.best(),
            epochs_seen: 0,
            started: Instant::now(),
            folder: session.folder.display().to_string(),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// The last line for people.
    pub fn closing(&self, ending: Ending) -> String {
        let why = match ending {
            Ending::Epochs => "all epochs done",
            Ending::EarlyStopping => "validation loss stopped falling",
            Ending::MaxSteps => "--max-steps reached",
            Ending::MaxMinutes => "--max-minutes are over",
            Ending::Signal(_) => "stopped",
        };
        match &self.best {
            Some(best) => format!(
                "{why}: best epoch {} with val loss {:.4}, top-1 {:.2} %, top-5 {:.2} %  ({})",
                best.epoch,
                best.val_loss,
                100.0 * best.val_top1,
                100.0 * best.val_top5,
                self.folder
            ),
            None => format!("{why}  ({})", self.folder),
        }
    }

    /// The bar of epoch `live.epoch`, made when its first metrics arrive.
    fn bar_of(&mut self, live: &Live) {
        if !self.shows(live.epoch) {
            let heading = heading(live.epoch);
            self.bar.finish_and_clear();
            self.bar = progress::bar(&heading, live.batches as u64, "steps", self.quiet || self.json);
            self.bar.set_position(live.batch as u64);
            self.bar.reset_eta();
        }
    }

    /// Whether the bar is that of `epoch`.
    fn shows(&self, epoch: usize) -> bool {
        self.bar.prefix().trim() == heading(epoch).trim()
    }

    /// Time for all epochs that are left, from those seen.
    fn left(&self, epoch: usize) -> Option<Duration> {
        let per_epoch = self.started.elapsed().checked_div(self.epochs_seen)?;
        let left = u32::try_from(self.epochs.saturating_sub(epoch)).ok()?;
        (left > 0).then(|| per_epoch * left)
    }
}

/// Where the first weights are from, where they were not drawn.
fn first_weights(recipe: &Recipe, origin: &Origin) -> Vec<String> {
    let Some(file) = &recipe.init else { return Vec::new() };
    if !recipe.init_partial {
        return vec![format!("starts from {file}")];
    }
    let lists = [
        ("taken from", &origin.init_taken),
        ("drawn anew beside", &origin.init_drawn),
        ("not used of", &origin.init_unused),
    ];
    let lists = lists.into_iter().filter(|(_, layers)| !layers.is_empty());
    lists.map(|(what, layers)| format!("{what} {file}: {}", layers.join(", "))).collect()
}

/// Of the bar of `epoch`.
fn heading(epoch: usize) -> String {
    format!("epoch {epoch:>2}")
}

impl Observer for Display {
    fn progress(&mut self, live: &Live) {
        self.bar_of(live);
        self.bar.set_position(live.batch as u64);
        if live.images_per_s == 0.0 {
            self.bar.set_message("the first steps are on their way"); // a GPU answers some steps later
            return;
        }
        self.bar.set_message(format!(
            "loss {:.3}  top-1 {:.1} %  {:.1} images/s",
            live.loss,
            100.0 * live.top1,
            live.images_per_s
        ));
    }

    fn note(&mut self, line: &str) {
        self.bar.suspend(|| output::note(line));
    }

    fn validating(&mut self, done: usize, images: usize) {
        self.bar.set_message(format!("validating {done} / {images}"));
    }

    fn epoch(&mut self, epoch: &Epoch, improved: bool) {
        if self.shows(epoch.epoch) {
            self.bar.finish_and_clear();
        }
        let bar = self.bar.clone(); // of a later epoch, which may have begun
        self.epochs_seen += 1;
        if improved {
            self.best = Some(epoch.clone());
        }
        if self.json {
            if let Ok(text) = serde_json::to_string(&EpochLine { schema: SCHEMA, run: &self.folder, epoch }) {
                bar.suspend(|| output::line(&text));
            }
        } else if !self.quiet {
            let left =
                self.left(epoch.epoch).map(|d| format!("  {} left", indicatif::HumanDuration(d))).unwrap_or_default();
            let line = format!(
                "epoch {:>2}/{}  step {}  train loss {:.4} top-1 {:>5.2} %  val loss {:.4} top-1 {:>5.2} % top-5 {:>5.2} %  \
                 lr {:.3e}  {:.1} images/s  {:.0} s{}{left}",
                epoch.epoch,
                self.epochs,
                epoch.step,
                epoch.train_loss,
                100.0 * epoch.train_top1,
                epoch.val_loss,
                100.0 * epoch.val_top1,
                100.0 * epoch.val_top5,
                epoch.lr,
                epoch.images_per_s,
                epoch.seconds,
                if improved { "  *best" } else { "" },
            );
            bar.suspend(|| output::line(&line));
        }
    }
}
