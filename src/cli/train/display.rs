//! What a person sees of a training: a heading, a live bar an epoch, a line an epoch; all of it in 80 columns, so far as
//! names allow.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::cli::output;
use crate::progress;
use crate::training::ending::Ending;
use crate::training::history::Epoch;
use crate::training::observer::{Live, Observer};
use crate::training::run::{Origin, Recipe};
use crate::training::session::Session;
use crate::training::{selection, variations};

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

/// The bar of an epoch: what is done, what is left, and what came of it so far.
const PLAIN: &str = "{prefix} {bar:12} {human_pos}/{human_len}  ETA {eta}  {msg}";
const COLOURED: &str = "{prefix} {bar:12.cyan/dim} {human_pos}/{human_len}  ETA {eta}  {msg}";

/// Over the lines of [`epoch_line`]; `*` marks an epoch whose weights are kept.
const HEADING: &str = "   epoch  train loss   top-1  val loss   top-1   top-5  images/s   time   left";

/// One epoch, under [`HEADING`].
fn epoch_line(epoch: &Epoch, epochs: usize, improved: bool, left: Option<Duration>) -> String {
    format!(
        "{:>8}  {:>10} {:>7} {:>9} {:>7} {:>7} {:>9} {:>6} {:>6}{}",
        format!("{}/{epochs}", epoch.epoch),
        loss(epoch.train_loss, 4),
        percent(epoch.train_top1),
        loss(epoch.val_loss, 4),
        percent(epoch.val_top1),
        percent(epoch.val_top5),
        if epoch.images_per_s < 99_999.5 {
            format!("{:.1}", epoch.images_per_s)
        } else {
            format!("{:.0}", epoch.images_per_s)
        },
        time(epoch.seconds),
        left.map_or_else(String::new, |left| time(left.as_secs_f64())),
        if improved { " *" } else { "" },
    )
    .trim_end()
    .to_owned()
}

fn percent(fraction: f64) -> String {
    format!("{:.2}%", 100.0 * fraction)
}

/// With `decimals`, or in few digits where it has gone far off.
fn loss(value: f64, decimals: usize) -> String {
    if value.abs() < 1000.0 { format!("{value:.decimals$}") } else { format!("{value:.1e}") }
}

/// "38 s", "12 min", "3.1 h", "2.5 d".
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 99.5 => format!("{s:.0} s"),
        s if s < 99.5 * 60.0 => format!("{:.0} min", s / 60.0),
        s if s < 99.5 * 3600.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} d", s / 86400.0),
    }
}

/// `parts` one after another, as many a line as fit in 80 columns.
fn lines(parts: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 3 + part.chars().count() <= 80 => {
                line.push_str(" · ");
                line.push_str(part);
            }
            _ => lines.push(part.clone()),
        }
    }
    lines
}

/// Shows a training.
pub struct Display {
    bar: ProgressBar,
    quiet: bool,
    json: bool,
    epochs: usize,
    stopping_loss: &'static str,
    /// In parentheses, by what the best epoch is, where that is not the validation split.
    rule: String,
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
            let (trained, held_out) = session.train_images();
            let mut parts = vec![run.network.column()];
            parts.extend(variations::variations(run).unwrap_or_default()); // numbers that TOML holds: they are in run.toml
            parts.extend([
                format!("{:.1} M parameters", plan.parameters() as f64 / 1e6),
                format!("{} classes", run.network.classes),
                format!("{} train images", output::count(trained)),
            ]);
            parts.extend((held_out > 0).then(|| format!("{} held out", output::count(held_out))));
            parts.extend(run.data.synthetic.then(|| "synthetic demo data".to_owned()));
            parts.extend([device.adapter.clone(), device.driver.clone()]);
            parts.extend((device.threads > 0).then(|| format!("{} threads", device.threads)));
            parts.push(format!("{} of memory", indicatif::HumanBytes(session.engine.memory())));
            parts.push(session.folder.display().to_string());
            lines(&parts).iter().for_each(|line| output::note(line));
            if run.training.patience == 0 && run.training.schedule.patience() == 0 {
                output::note("no early stopping: a cosine comes to its end (-es N stops it earlier)");
            }
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
            stopping_loss: selection::stopping_loss(&run.training),
            rule: match run.training.hold_out > 0.0 {
                true => format!(" ({})", selection::rule(&run.training)),
                false => String::new(),
            },
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
            Ending::EarlyStopping => &format!("{} stopped falling", self.stopping_loss),
            Ending::MaxSteps => "--max-steps reached",
            Ending::MaxMinutes => "--max-minutes are over",
            Ending::Signal(_) => "stopped",
        };
        match &self.best {
            Some(best) => format!(
                "{why}  ({})\nbest epoch {}{} with val loss {:.4}, top-1 {:.2} %, top-5 {:.2} %",
                self.folder,
                best.epoch,
                self.rule,
                best.val_loss,
                100.0 * best.val_top1,
                100.0 * best.val_top5,
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
            if let Ok(style) = ProgressStyle::with_template(if progress::colour() { COLOURED } else { PLAIN }) {
                self.bar.set_style(style.progress_chars("━╸─"));
            }
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
            "loss {}  top-1 {:.1} %  {:.0} images/s",
            loss(live.loss, 3),
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
            if self.epochs_seen == 1 {
                bar.suspend(|| output::line(HEADING));
            }
            let line = epoch_line(epoch, self.epochs, improved, self.left(epoch.epoch));
            bar.suspend(|| output::line(&line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: usize, loss: f64, images_per_s: f64, seconds: f64) -> Epoch {
        Epoch {
            epoch: number,
            step: 123_456_789,
            lr: 0.05,
            train_loss: loss,
            train_top1: 1.0,
            val_loss: loss,
            val_top1: 0.0234,
            val_top5: 1.0,
            held_out: None,
            seconds,
            images_per_s,
            time: String::new(),
        }
    }

    #[test]
    fn lines_fit_80_columns_under_their_heading() {
        assert!(HEADING.len() <= 80, "{}", HEADING.len());
        let hours = Some(Duration::from_secs(359_000));
        for (epoch, epochs) in [
            (epoch(1, 5.285, 9279.9, 11.1), 26),
            (epoch(100, 5.285, 123_456.7, 99.4), 1000),
            (epoch(9, 1.5e11, 0.01, 1e6), 10),
            (epoch(9, -123.456, 99_999.4, 5e3), 10),
        ] {
            for left in [None, hours, Some(Duration::from_secs(1))] {
                let line = epoch_line(&epoch, epochs, true, left);
                assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
            }
            let line = epoch_line(&epoch, epochs, false, hours);
            // Numbers end under the ends of the words over them.
            for word in ["train loss", "images/s", "time", "left"] {
                let end = HEADING.find(word).expect("in the heading") + word.len();
                let around: Vec<char> = line.chars().skip(end - 1).take(2).collect();
                assert!(around[0] != ' ' && around.get(1).is_none_or(|c| *c == ' '), "{word}:\n{HEADING}\n{line}");
            }
        }
    }

    #[test]
    fn a_heading_is_broken_between_its_parts() {
        let parts: Vec<String> = ["a", "b", &"c".repeat(70), &"d".repeat(90), "e"].map(str::to_owned).to_vec();
        let broken = lines(&parts);
        assert_eq!(broken, [format!("a · b · {}", "c".repeat(70)), "d".repeat(90), "e".into()]);
    }
}
