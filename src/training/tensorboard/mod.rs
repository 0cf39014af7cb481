//! Event files for TensorBoard: what a training says of steps and epochs, and histograms of its weights.
//!
//! A session of a training writes a file of its own, which says from which step on earlier files no longer hold. Nothing is
//! read back, and nothing is asked of an engine that the training does not ask it anyway.

mod event;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use self::event::{Event, Histogram, Kind, Metadata, PluginData, SessionLog, Summary, Tensor, Value, What};
use super::history::Epoch;
use crate::error::{Error, Result};
use crate::files::{
    self,
    fs::{self, File, OpenOptions, Writing},
};
use crate::vgg::Plan;

/// What names of such files begin with: TensorBoard knows them by it.
const PREFIX: &str = "events.out.tfevents.";
/// What ours end with.
const SUFFIX: &str = ".vggkit";
/// Parts of a histogram, as many as TensorFlow has.
const BUCKETS: usize = 30;

/// Where event files go, and what is in them; kept in `run.toml`, so that a resumed training goes on with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Folder in which each run has one of its own name; `None` for the run's folder itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Whether histograms of the weights are written at the end of each epoch.
    #[serde(default)]
    pub histograms: bool,
}

impl Wanted {
    /// The folder for the event files of the run in `run`.
    pub fn folder_of(&self, run: &Path) -> PathBuf {
        let below = |folder: &String| Path::new(folder).join(run.file_name().unwrap_or_default());
        self.folder.as_ref().map_or_else(|| run.to_owned(), below)
    }

    /// What is asked for now, on top of what was before.
    pub fn over(self, before: Option<Self>) -> Self {
        let before = before.unwrap_or_default();
        Self { folder: self.folder.or(before.folder), histograms: self.histograms || before.histograms }
    }
}

/// Steps that metrics arrived of at once.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// The last of them.
    pub step: u64,
    /// Their mean loss.
    pub loss: f64,
    /// Their fraction of hits.
    pub top1: f64,
    /// Learning rate of the last.
    pub lr: f64,
    /// Of the epoch so far.
    pub images_per_s: f64,
}

/// The file of a session. Any thread may write to it.
pub struct EventLog {
    path: PathBuf,
    file: Mutex<File>,
    histograms: bool,
}

impl EventLog {
    /// A new file in `folder`, of a training that goes on after step `done`: what earlier files there say of later steps is void.
    /// `settings` are shown as text. Errors: the file system's.
    pub fn begin(folder: &Path, histograms: bool, done: u64, settings: &str) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| Error::io("cannot create the folder", folder, e))?;
        let path = folder.join(name_after(&ours_in(folder)?));
        let open = fs::open_with(OpenOptions::new().append(true).create_new(true), &path);
        let file = Mutex::new(open.map_err(|e| Error::io("cannot create", &path, e))?);
        let log = Self { path, file, histograms };
        let start = SessionLog { status: event::START };
        // Text of a session belongs to its first step, so that it goes with it when the session is void.
        let shown: String = settings.lines().map(|line| format!("    {line}\n")).collect();
        log.append([
            (0, What::FileVersion("brain.Event:2".into())),
            (done + 1, What::SessionLog(start)),
            (done + 1, What::Summary(Summary { value: vec![text("settings", shown)] })),
        ])?;
        Ok(log)
    }

    /// Says how steps went.
    pub fn point(&self, point: &Point) -> Result<()> {
        let value = [
            ("step/loss", point.loss),
            ("step/top1", point.top1),
            ("step/learning_rate", point.lr),
            ("step/images_per_second", point.images_per_s),
        ];
        self.append([(point.step, scalars(value))])
    }

    /// Says how an epoch went, at its last step.
    pub fn epoch(&self, e: &Epoch) -> Result<()> {
        let mut values = vec![
            ("epoch", e.epoch as f64),
            ("loss/train", e.train_loss),
            ("loss/val", e.val_loss),
            ("top1/train", e.train_top1),
            ("top1/val", e.val_top1),
            ("top5/val", e.val_top5),
            ("learning_rate", e.lr),
            ("images_per_second", e.images_per_s),
        ];
        if let Some(held_out) = e.held_out {
            values.extend([
                ("loss/held_out", held_out.held_out_loss),
                ("top1/held_out", held_out.held_out_top1),
                ("top5/held_out", held_out.held_out_top5),
            ]);
        }
        self.append([(e.step, scalars(values))])
    }

    /// Says how the weights after `step` steps are spread, where that is asked for: `tensors` in the order of [`Plan::tensors`].
    pub fn weights(&self, step: u64, plan: &Plan, tensors: &[Vec<f32>]) -> Result<()> {
        if !self.histograms {
            return Ok(());
        }
        let of = |(name, numbers): (String, &Vec<f32>)| Value {
            tag: format!("weights/{name}"),
            metadata: None,
            kind: Some(Kind::Histogram(histogram(numbers))),
        };
        let names = plan.tensors().into_iter().map(|spec| spec.name);
        self.append([(step, What::Summary(Summary { value: names.zip(tensors).map(of).collect() }))])
    }

    /// Makes all of it durable.
    pub fn sync(&self) -> Result<()> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        fs::sync(&file, &self.path).map_err(|e| Error::io("cannot sync", &self.path, e))
    }

    fn append(&self, events: impl IntoIterator<Item = (u64, What)>) -> Result<()> {
        let wall_time = now().as_secs_f64();
        let mut bytes = Vec::new();
        for (step, what) in events {
            let step = i64::try_from(step).unwrap_or(i64::MAX);
            event::append(&mut bytes, &Event { wall_time, step, what: Some(what) });
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = Writing { file: &mut file, path: &self.path }.write_all(&bytes);
        written.map_err(|e| Error::io("cannot append to", &self.path, e))
    }
}

/// Removes the event files that trainings left in `folder`, where there is such a folder. Those of other programs stay.
pub fn clear(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    ours_in(folder)?.iter().try_for_each(|name| files::remove_if_there(&folder.join(name)))
}

/// Names of our event files in a folder.
fn ours_in(folder: &Path) -> Result<Vec<String>> {
    let cannot = |e| Error::io("cannot list", folder, e);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let name = entry.map_err(cannot)?.file_name().to_string_lossy().into_owned();
        names.extend(Some(name).filter(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX)));
    }
    Ok(names)
}

/// A name that comes after all `names`, which is the order in which TensorBoard reads files: its second is later than theirs.
fn name_after(names: &[String]) -> String {
    let second = |name: &String| name.strip_prefix(PREFIX)?.split('.').next()?.parse::<u64>().ok();
    let latest = names.iter().filter_map(second).max();
    let seconds = now().as_secs().max(latest.map_or(0, |latest| latest.saturating_add(1)));
    let host: String = host().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(64).collect();
    format!("{PREFIX}{seconds:010}.{host}.{}{SUFFIX}", std::process::id())
}

#[cfg(unix)]
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn scalars<'a>(values: impl IntoIterator<Item = (&'a str, f64)>) -> What {
    #[expect(clippy::cast_possible_truncation, reason = "the format's scalars are f32")]
    let scalar = |(tag, value): (&str, f64)| Value {
        tag: tag.to_owned(),
        metadata: None,
        kind: Some(Kind::Scalar(value as f32)),
    };
    What::Summary(Summary { value: values.into_iter().map(scalar).collect() })
}

/// Markdown, which is what TensorBoard takes texts for.
fn text(tag: &str, text: String) -> Value {
    let plugin_data = Some(PluginData { plugin_name: "text".into() });
    let shape = event::TensorShape { dim: vec![event::Dimension { size: 1 }] };
    let tensor = Tensor { dtype: event::STRING, tensor_shape: Some(shape), string_val: vec![text.into_bytes()] };
    Value { tag: tag.to_owned(), metadata: Some(Metadata { plugin_data }), kind: Some(Kind::Tensor(tensor)) }
}

/// How finite numbers are spread over equal parts from the least to the largest; one part where they are all the same.
fn histogram(numbers: &[f32]) -> Histogram {
    let least = numbers.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (min, max) = if numbers.is_empty() { (0.0, 0.0) } else { (f64::from(least), f64::from(largest)) };
    let width = (max - min) / BUCKETS as f64;
    let buckets = if width > 0.0 { BUCKETS } else { 1 };
    let mut all = Histogram { min, max, num: numbers.len() as f64, ..Histogram::default() };
    all.bucket = vec![0.0; buckets];
    all.bucket_limit = (1..=buckets).map(|i| if i == buckets { max } else { min + i as f64 * width }).collect();
    for number in numbers.iter().map(|v| f64::from(*v)) {
        all.sum += number;
        all.sum_squares += number * number;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the number of parts")]
        let bucket = if width > 0.0 { ((number - min) / width) as usize } else { 0 };
        all.bucket[bucket.min(buckets - 1)] += 1.0;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_every_number_once() {
        let numbers = crate::test_support::values(1000);
        let all = histogram(&numbers);
        assert_eq!((all.num, all.bucket.iter().sum::<f64>(), all.bucket.len()), (1000.0, 1000.0, BUCKETS));
        assert_eq!(all.bucket_limit.last(), Some(&all.max));
        let mut below = all.min;
        for (limit, count) in all.bucket_limit.iter().zip(&all.bucket) {
            let within = numbers.iter().filter(|v| (below..*limit).contains(&f64::from(**v))).count() as f64;
            assert!((within - count).abs() <= 1.0, "up to {limit}: {within} and {count}"); // one lies on the last limit
            below = *limit;
        }
        let same = histogram(&[0.5; 7]);
        assert_eq!((same.bucket, same.bucket_limit, same.min, same.sum_squares), (vec![7.0], vec![0.5], 0.5, 1.75));
        assert_eq!(histogram(&[]).num, 0.0);
    }

    #[test]
    fn a_name_comes_after_those_that_are_there() {
        let later = format!("{PREFIX}9999999998.host.1{SUFFIX}");
        let name = name_after(std::slice::from_ref(&later));
        assert!(name > later && name.starts_with("events.out.tfevents.9999999999."), "{name}");
        assert!(name_after(&[]) < later);
    }

    #[test]
    fn only_what_trainings_wrote_is_cleared_away() -> Result<()> {
        let folder = tempfile::tempdir().map_err(|e| Error::io("cannot create", "a folder", e))?;
        let folder = folder.path();
        clear(&folder.join("nowhere"))?;
        drop(EventLog::begin(folder, false, 0, "")?);
        drop(EventLog::begin(folder, false, 0, "")?);
        let others = folder.join("events.out.tfevents.1700000000.host.1.0");
        std::fs::write(&others, "").expect("written");
        assert_eq!(ours_in(folder)?.len(), 2);
        clear(folder)?;
        assert_eq!(ours_in(folder)?.len(), 0);
        assert!(others.exists());
        Ok(())
    }
}
