//! Reads everything a page can show, and keeps a list of what it could not read.
//!
//! It judges content only as far as the page relies on it (shapes, ranges, indices); it repairs nothing.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use super::commands::Commands;
use super::discover;
use super::evaluated::{self, check_schema, fraction};
use super::inputs::{Inputs, LoadedData, LoadedFusion, LoadedRun, Problem};
use super::predictions::Predictions;
use super::sources::Sources;
use crate::dataset::verify::{self, Verification};
use crate::dataset::{Identity, Manifest, Pack, manifest};
use crate::error::{Error, Result};
use crate::files;
use crate::inference::answers::Answers;
use crate::inference::evaluation::{self, Evaluation};
use crate::inference::inside::Inside;
use crate::inference::tta::Tta;
use crate::training::checkpoint;
use crate::training::history::{self, Epoch};
use crate::training::run::{self, Run};

/// Collects problems while the rest goes on.
#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, place: &Path, what: impl Display, help: impl Into<String>) {
        self.0.push(Problem { place: place.display().to_string(), what: what.to_string(), help: help.into() });
    }

    /// The value, or a problem and nothing.
    fn keep<T>(&mut self, place: &Path, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                // The error's text starts with the path, which the problem names already.
                let text = error.to_string();
                let shown = place.display().to_string();
                let what = text.strip_prefix(&shown).map_or(text.as_str(), |t| t.trim_start_matches([':', ' ']));
                self.add(place, what, error.help().unwrap_or_default());
                None
            }
        }
    }
}

/// Reads all of it.
pub fn load(sources: &Sources) -> Inputs {
    let mut problems = Problems::default();
    let mut missing = Vec::new();

    let at_hand = Identity::of(&sources.data).ok();
    let demo = at_hand.as_ref().is_some_and(|(manifest, _)| manifest.synthetic) || sources.data.ends_with("demo");
    let mut commands = Commands::new(sources, &sources.data, demo);
    let at_hand = at_hand.map(|(_, identity)| identity);
    let mut runs = load_runs(sources, at_hand.as_ref(), &commands, &mut problems, &mut missing);
    if let (None, Some(run)) = (&at_hand, runs.first()) {
        // What can be done without that data set can be done with theirs.
        commands = Commands::new(sources, Path::new(&run.run.data.folder), run.run.data.synthetic);
    }
    runs.sort_by(|a, b| order(a).cmp(&order(b)));

    let data = if Manifest::path(&sources.data).exists() {
        load_data(&sources.data, &mut problems)
    } else {
        missing.push(format!(
            "no data set at {}: `{}` makes one{}",
            sources.data.display(),
            commands.prepare(),
            if demo { "" } else { ", or `vggkit prepare --demo` a drawn one in data/demo" }
        ));
        None
    };

    let predictions = if sources.predictions.exists() {
        problems.keep(&sources.predictions, Predictions::read(&sources.predictions))
    } else {
        missing.push(format!(
            "no predictions at {}: `{}` makes them",
            sources.predictions.display(),
            commands.predict()
        ));
        None
    };

    let mut fusions = Vec::new();
    for (path, fusion) in evaluated::fusions(&sources.runs, &runs) {
        fusions.extend(problems.keep(&path, fusion).map(|fusion| LoadedFusion { path, fusion }));
    }
    let top1 = |loaded: &LoadedFusion| loaded.fusion.evaluation.top1;
    fusions.sort_by(|a, b| top1(b).total_cmp(&top1(a))); // stable: by name among equals
    Inputs { sources: sources.clone(), runs, data, predictions, fusions, problems: problems.0, commands, missing }
}

/// The order on the page: depth, the 1x1 variant ahead of the 3x3 one as in Table 1, then the name.
fn order(run: &LoadedRun) -> (usize, bool, bool, &str) {
    let network = &run.run.network;
    (network.depth, network.depth == 16 && !network.conv1x1, network.lrn, &run.name)
}

fn load_runs(
    sources: &Sources,
    at_hand: Option<&Identity>,
    commands: &Commands,
    problems: &mut Problems,
    missing: &mut Vec<String>,
) -> Vec<LoadedRun> {
    let (folder, train) = (&sources.runs, commands.train("-d 11"));
    let folders = match discover::run_folders(folder) {
        Ok(folders) => folders,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            missing.push(format!("no runs at {}: `{train}` makes one", folder.display()));
            return Vec::new();
        }
        Err(e) => {
            problems.keep::<()>(folder, Err(Error::io("cannot list", folder, e)));
            return Vec::new();
        }
    };
    if folders.is_empty() {
        missing.push(format!("{} holds no run: `{train}` makes one", folder.display()));
    }
    folders.into_iter().filter_map(|(name, path)| load_run(name, path, at_hand, commands, problems)).collect()
}

fn load_run(
    name: String,
    folder: PathBuf,
    at_hand: Option<&Identity>,
    commands: &Commands,
    problems: &mut Problems,
) -> Option<LoadedRun> {
    let again = format!("run `{}` again", commands.evaluate_runs([name.as_str()]));
    let settings = Run::path(&folder);
    if !settings.exists() {
        problems.add(&folder, "has no run.toml, so it is not a run of vggkit; left out", "");
        return None;
    }
    let run = problems
        .keep(&settings, Run::load(&folder).and_then(|r| check_schema(&settings, &r.schema.clone(), run::SCHEMA, r)))?;
    let plan = problems.keep(&settings, run.network.plan())?;

    let log = history::path(&folder);
    let history = if log.exists() {
        problems.keep(&log, files::read_json_lines(&log).and_then(|h| check_history(&log, h))).unwrap_or_default()
    } else {
        Vec::new()
    };
    let mut evaluation = |split: &str, tta: Option<Tta>| {
        let path = evaluation::path(&folder, split, tta);
        let views = tta.map_or_else(String::new, |tta| format!(" --tta {tta}"));
        let again = format!("run `{}{views}` again", commands.evaluate_runs([name.as_str()]));
        let result = path.exists().then(|| evaluated::evaluation(&path, run.network.classes, split, tta));
        result.and_then(|r| problems.keep(&path, r.map_err(|e| e.or_help(again))))
    };
    let on_val = evaluation(&run.data.val, None);
    let on_train = evaluation(&run.data.train, None);
    let averaged: Vec<_> = Tta::ALL.into_iter().filter_map(|tta| evaluation(&run.data.val, Some(tta))).collect();
    let path = Answers::path(&folder, &run.data.val);
    let answers = on_val.as_ref().filter(|_| path.exists()).map(|e| evaluated::answers(&path, e));
    let answers = answers.and_then(|a| problems.keep(&path, a.map_err(|e| e.or_help(again.clone()))));
    let path = Inside::path(&folder);
    let inside = path.exists().then(|| evaluated::inside(&path, run.network.classes));
    let inside = inside.and_then(|i| problems.keep(&path, i.map_err(|e| e.or_help(again.clone()))));
    let known_as = run.data.known_as(at_hand);
    let loaded = LoadedRun {
        name,
        folder,
        known_as,
        plan,
        history,
        evaluation: on_val,
        train_evaluation: on_train,
        averaged,
        answers,
        inside,
        run,
    };
    compare_figures(&loaded, &again, problems);
    Some(loaded)
}

fn check_history(path: &Path, history: Vec<Epoch>) -> Result<Vec<Epoch>> {
    let mut last = 0;
    for e in &history {
        let finite =
            [e.lr, e.train_loss, e.val_loss, e.seconds, e.images_per_s].iter().all(|v| v.is_finite() && v.abs() < 1e12);
        if e.epoch <= last || e.epoch > 1_000_000 {
            return Err(Error::data(path, format!("epoch {} follows epoch {last}", e.epoch)));
        }
        let held_out = e.held_out.is_none_or(|h| {
            h.held_out_loss.is_finite() && [h.held_out_top1, h.held_out_top5].into_iter().all(fraction)
        });
        if !finite || !held_out || ![e.train_top1, e.val_top1, e.val_top5].into_iter().all(fraction) {
            return Err(Error::data(path, format!("epoch {} has a value out of its range", e.epoch)));
        }
        last = e.epoch;
    }
    Ok(history)
}

/// An evaluation belongs to other weights where it says so, or, if it is too old to say, where it is a point off the
/// history.
fn compare_figures(run: &LoadedRun, again: &str, problems: &mut Problems) {
    let digest = checkpoint::digest_of(&checkpoint::best_path(&run.folder)).ok();
    let is_of_best = |e: &Evaluation| Some(&e.weights_digest) == digest.as_ref();
    for e in run.evaluation.iter().chain(&run.train_evaluation).chain(&run.averaged) {
        if digest.is_some() && !e.weights_digest.is_empty() && !is_of_best(e) {
            let path = evaluation::path(&run.folder, &e.split, e.tta);
            let again = e.tta.map_or_else(
                || again.to_owned(),
                |tta| again.replacen("evaluate", &format!("evaluate --tta {tta}"), 1),
            );
            problems.add(&path, evaluated::OLD_WEIGHTS, again);
            return;
        }
    }
    let (Some(found), Some(best)) = (&run.evaluation, run.best()) else { return };
    if (found.top1 - best.val_top1).abs() > 0.01 {
        let (why, help) = if is_of_best(found) {
            let folder = run.folder.display();
            let help = format!("if the training was killed there, `vggkit train --resume {folder}` writes it again");
            ("the history lacks the epoch of best.safetensors", help)
        } else {
            ("it may be older than the weights", again.to_owned())
        };
        problems.add(
            &evaluation::path(&run.folder, &found.split, None),
            format!(
                "says {:.1} % top-1, the best epoch of history.jsonl says {:.1} %: {why}",
                100.0 * found.top1,
                100.0 * best.val_top1
            ),
            help,
        );
    }
}

fn load_data(folder: &Path, problems: &mut Problems) -> Option<LoadedData> {
    let path = Manifest::path(folder);
    let (manifest, identity) = problems.keep(
        &path,
        Identity::of(folder).and_then(|(m, i)| check_schema(&path, &m.schema.clone(), manifest::SCHEMA, (m, i))),
    )?;
    let mut packs = BTreeMap::new();
    for split in manifest.splits.keys() {
        if let Some(pack) = problems.keep(&Pack::path_of(folder, split), Pack::open(folder, split)) {
            packs.insert(split.clone(), pack);
        }
    }
    let path = Verification::path(folder);
    let verified = path
        .exists()
        .then(|| Verification::load(folder).and_then(|v| check_schema(&path, &v.schema.clone(), verify::SCHEMA, v)));
    let verification = verified.and_then(|v| problems.keep(&path, v));
    Some(LoadedData { manifest, identity, packs, verification })
}
