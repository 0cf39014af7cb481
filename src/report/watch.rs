//! A page that follows a training: what it depends on, and whether anybody trains.
//!
//! It renders nothing and waits for nothing; the command does, with what is told here.

use std::path::PathBuf;
use std::time::SystemTime;

use walkdir::WalkDir;

use super::discover;
use super::inputs::Inputs;
use super::sources::Sources;
use crate::dataset::Manifest;
use crate::dataset::verify::Verification;
use crate::training::occupied;

/// What every file that a page is made of looks like from outside. Equal values mean an equal page.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Fingerprint(Vec<(PathBuf, u64, Option<SystemTime>)>);

/// Files of a run that change with every checkpoint and are not on the page.
const WEIGHTS: &str = "safetensors";

/// Looks at all of them.
pub fn fingerprint(sources: &Sources) -> Fingerprint {
    let single = [sources.predictions.clone(), Manifest::path(&sources.data), Verification::path(&sources.data)];
    let of_runs = WalkDir::new(&sources.runs).max_depth(4).sort_by_file_name().into_iter().filter_map(Result::ok);
    let of_runs = of_runs.map(walkdir::DirEntry::into_path).filter(|p| p.extension().is_none_or(|e| e != WEIGHTS));
    let look = |path: PathBuf| {
        let about = path.metadata().ok().filter(|m| m.is_file())?;
        Some((path, about.len(), about.modified().ok()))
    };
    Fingerprint(single.into_iter().chain(of_runs).filter_map(look).collect())
}

/// Names of the runs that are being trained now.
pub fn trained_now(sources: &Sources) -> Vec<String> {
    let runs = discover::run_folders(&sources.runs).unwrap_or_default();
    runs.into_iter().filter(|(_, folder)| occupied::is_occupied(folder)).map(|(name, _)| name).collect()
}

/// How often a page that follows had better load itself again, in seconds: a few times an epoch, never more often than every 5.
pub fn reload_seconds(inputs: &Inputs) -> u64 {
    let last = inputs.runs.iter().filter_map(|run| run.history.last());
    let shortest = last.map(|epoch| epoch.seconds).fold(f64::INFINITY, f64::min);
    if shortest.is_finite() { (shortest / 4.0).clamp(5.0, 60.0) as u64 } else { 5 }
}
