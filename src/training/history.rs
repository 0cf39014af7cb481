//! `history.jsonl` and `steps.jsonl`: one object an epoch, one a step; and `history.csv`, the former as a table.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::metrics::Scores;
use crate::error::Result;
use crate::files;

/// One line of `history.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Steps done so far in the whole training.
    pub step: u64,
    /// Learning rate of the epoch's last step.
    pub lr: f64,
    /// Mean loss over the epoch's samples, in training mode.
    pub train_loss: f64,
    /// Fraction in 0..1, in training mode.
    pub train_top1: f64,
    /// Mean loss over the validation split.
    pub val_loss: f64,
    /// Fraction in 0..1.
    pub val_top1: f64,
    /// Fraction in 0..1.
    pub val_top5: f64,
    /// The same of the train images that were held out, which selected then.
    #[serde(flatten)]
    pub held_out: Option<HeldOut>,
    /// Wall time of the epoch with its validation.
    pub seconds: f64,
    /// Training images per second (validation left out).
    pub images_per_s: f64,
    /// When it ended, RFC 3339 in UTC.
    pub time: String,
}

/// Figures of the train images that were held out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Mean loss.
    pub held_out_loss: f64,
    /// Fraction in 0..1.
    pub held_out_top1: f64,
    /// Fraction in 0..1.
    pub held_out_top5: f64,
}

impl From<Scores> for HeldOut {
    fn from(scores: Scores) -> Self {
        Self { held_out_loss: scores.loss, held_out_top1: scores.top1, held_out_top5: scores.top5 }
    }
}

/// A row of `history.csv`: an [`Epoch`] whose columns are always the same; what it lacks is empty.
#[derive(Serialize)]
pub struct Row<'a> {
    epoch: usize,
    step: u64,
    lr: f64,
    train_loss: f64,
    train_top1: f64,
    val_loss: f64,
    val_top1: f64,
    val_top5: f64,
    held_out_loss: Option<f64>,
    held_out_top1: Option<f64>,
    held_out_top5: Option<f64>,
    seconds: f64,
    images_per_s: f64,
    time: &'a str,
}

impl<'a> From<&'a Epoch> for Row<'a> {
    fn from(e: &'a Epoch) -> Self {
        Self {
            epoch: e.epoch,
            step: e.step,
            lr: e.lr,
            train_loss: e.train_loss,
            train_top1: e.train_top1,
            val_loss: e.val_loss,
            val_top1: e.val_top1,
            val_top5: e.val_top5,
            held_out_loss: e.held_out.map(|h| h.held_out_loss),
            held_out_top1: e.held_out.map(|h| h.held_out_top1),
            held_out_top5: e.held_out.map(|h| h.held_out_top5),
            seconds: e.seconds,
            images_per_s: e.images_per_s,
            time: &e.time,
        }
    }
}

/// One line of `steps.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepLine {
    /// From 1.
    pub step: u64,
    /// Before its update.
    pub loss: f64,
    /// Its learning rate.
    pub lr: f64,
}

/// `<run>/history.jsonl`.
pub fn path(run: &Path) -> PathBuf {
    run.join("history.jsonl")
}

/// `<run>/steps.jsonl`.
pub fn steps_path(run: &Path) -> PathBuf {
    run.join("steps.jsonl")
}

/// `<run>/history.csv`.
pub fn table_path(run: &Path) -> PathBuf {
    run.join("history.csv")
}

/// Writes `history.csv` anew from `history.jsonl`, or removes it where that is not there: a table cannot lose half of a row as a
/// log may, and so the two always agree.
pub fn tabulate(run: &Path) -> Result<()> {
    let (log, table) = (path(run), table_path(run));
    if !log.exists() {
        return files::remove_if_there(&table);
    }
    let lines: Vec<Epoch> = files::read_json_lines(&log)?;
    files::write_atomic_locked(&table, |file| {
        let mut writer = csv::Writer::from_writer(file);
        lines.iter().try_for_each(|line| writer.serialize(Row::from(line))).map_err(std::io::Error::other)?;
        writer.flush()
    })
}

/// Drops the lines that `keep` refuses, and a half-written last one. A log that is not there stays away.
pub fn truncate<T: Serialize + DeserializeOwned>(path: &Path, keep: impl Fn(&T) -> bool) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let lines: Vec<T> = files::read_json_lines(path)?;
    files::write_atomic_locked(path, |writer| {
        for line in lines.iter().filter(|line| keep(line)) {
            serde_json::to_writer(&mut *writer, line)?;
            writer.write_all(b"\n")?;
        }
        Ok(())
    })
}
