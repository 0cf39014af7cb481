//! A run's best network, ready to infer.

use std::path::{Path, PathBuf};

use crate::dataset::Identity;
use crate::engine::{Engine, Settings, State};
use crate::engines::{self, Target};
use crate::error::{Error, Result};
use crate::files::fs;
use crate::shell::quote;
use crate::training::checkpoint::{self, Checkpoint, Classes};
use crate::training::run::Run;
use crate::vgg::Plan;

/// A run that can predict.
pub struct Model {
    /// Its folder's name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Its settings.
    pub run: Run,
    /// What its outputs mean.
    pub classes: Classes,
    /// [`checkpoint::Checkpoint::digest`] of its weights.
    pub digest: String,
    /// The network.
    pub engine: Box<dyn Engine>,
    target: Target,
    threads: usize,
}

impl Model {
    /// Images in a batch.
    pub fn batch_size(&self) -> usize {
        self.run.training.batch_size
    }

    /// Opens the best network of the run in `folder`. Errors: no such run, not trained far enough to have a best
    /// network, damaged files.
    pub fn open(folder: &Path, target: &Target, threads: usize) -> Result<Self> {
        let (run, plan, mut checkpoint) = load_best(folder)?;
        if target.gpu.precision != run.training.precision {
            checkpoint.state.variants.clear(); // those of the other precision
        }
        let settings = inference_settings(&run, threads, target.precise);
        let engine = engines::open(target, plan, settings, checkpoint.state)?;
        let name = name(folder);
        let (classes, digest) = (checkpoint.classes, checkpoint.digest);
        Ok(Self { name, folder: folder.to_owned(), run, classes, digest, engine, target: target.clone(), threads })
    }

    /// Another network on the same device, for the same images. Errors: the engine's, e.g. no memory.
    pub fn engine_of(&self, plan: Plan, state: State) -> Result<Box<dyn Engine>> {
        engines::open(&self.target, plan, inference_settings(&self.run, self.threads, self.target.precise), state)
    }
}

/// What the run in `folder` is called: its folder's name.
pub fn name(folder: &Path) -> String {
    folder.file_name().map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into_owned())
}

/// The settings of the run in `folder`, or an error that says that there is no run.
pub fn load_run(folder: &Path) -> Result<Run> {
    if !Run::path(folder).exists() {
        return Err(Error::data(folder, "is not a run: it has no run.toml").with_help("list the runs with `ls runs`"));
    }
    Run::load(folder)
}

/// Where the best network of the run in `folder` lies, or an error that says that it has none yet.
fn best_of(folder: &Path) -> Result<PathBuf> {
    let path = checkpoint::best_path(folder);
    if path.exists() {
        return Ok(path);
    }
    Err(Error::data(&path, "is not there: the run has not finished its first epoch")
        .with_help(format!("go on with `vggkit train --resume {}`", quote(folder))))
}

/// The settings, the plan and the best network of the run in `folder`. Errors: no such run, not trained far enough to have a
/// best network, damaged files.
pub fn load_best(folder: &Path) -> Result<(Run, Plan, Checkpoint)> {
    let run = load_run(folder)?;
    let plan = run.network.plan()?;
    let checkpoint = checkpoint::load(&best_of(folder)?, &plan, None)?;
    Ok((run, plan, checkpoint))
}

/// The settings of an engine that infers with the best network of `run`.
pub(crate) fn inference_settings(run: &Run, threads: usize, precise: bool) -> Settings {
    // The batch is that of validation in training, so that an evaluation repeats its figures to the bit: the order in which a
    // matrix product adds depends on its size.
    let recipe = &run.training;
    let inference = Settings::inference(recipe.batch_size, threads);
    Settings { normalisation: recipe.normalisation, seed: recipe.seed, precise, ..inference }
}

/// What a run on demo data is called that is to be `name`: such runs keep apart from real ones.
pub fn demo_name(name: &str) -> String {
    if name.starts_with("demo") { name.to_owned() } else { format!("demo-{name}") }
}

/// The folder that a user means by `name`: a path, or a name below `runs`, where a run on demo data has its own.
pub fn find(runs: &Path, name: impl AsRef<Path>) -> Result<PathBuf> {
    let path = name.as_ref().to_path_buf();
    let below = runs.join(&path);
    let of_demo = |path: &Path| Some(path.with_file_name(demo_name(path.file_name()?.to_str()?)));
    let places = [Some(below.clone()), Some(path.clone()), of_demo(&below), of_demo(&path)];
    if let Some(found) = places.into_iter().flatten().find(|place| Run::path(place).exists()) {
        return Ok(found);
    }
    let known: Vec<String> =
        all(runs)?.iter().filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned())).collect();
    let help = if known.is_empty() {
        "train one first: `vggkit train -d 11`".to_owned()
    } else {
        format!("the runs in {} are {}", runs.display(), known.join(", "))
    };
    Err(Error::usage(format!(
        "there is no run {}: neither {} nor {} has a run.toml",
        path.display(),
        below.display(),
        path.display()
    ))
    .with_help(help))
}

/// Every run below `runs`, sorted by name; none where the folder is missing.
pub fn all(runs: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if runs.exists() {
        for entry in fs::read_dir(runs).map_err(|e| Error::io("cannot list", runs, e))? {
            let path = entry.map_err(|e| Error::io("cannot list", runs, e))?.path();
            if Run::path(&path).exists() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The runs that a command works on.
pub struct Chosen {
    /// Their folders.
    pub chosen: Vec<PathBuf>,
    /// Why others were left out, a sentence each.
    pub left_out: Vec<String>,
    /// What is wrong with those that cannot be read.
    pub damaged: Vec<Error>,
}

/// The runs named by `given`, or, where none is named, all below `runs` that were trained on the data set in `data`
/// and have a best network. An error where that is none.
pub fn choose(runs: &Path, given: &[PathBuf], data: &Path) -> Result<Chosen> {
    if !given.is_empty() {
        let mut chosen = Vec::new();
        for name in given {
            let folder = find(runs, name)?;
            if !chosen.contains(&folder) {
                chosen.push(folder);
            }
        }
        return Ok(Chosen { chosen, left_out: Vec::new(), damaged: Vec::new() });
    }
    let unprepared = "prepare the data with `vggkit prepare`, or name its folder with --data";
    let (_, identity) = Identity::of(data).map_err(|error| error.with_help(unprepared))?;
    let (mut chosen, mut left_out, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
    for folder in all(runs)? {
        match Run::load(&folder) {
            Err(error) => damaged.push(error),
            Ok(run) if !run.data.is(&identity) => {
                left_out.push(format!("left out: {} was trained on another data set", folder.display()));
            }
            Ok(_) if !checkpoint::best_path(&folder).exists() => {
                left_out.push(format!("left out: {} has no finished epoch", folder.display()));
            }
            Ok(_) => chosen.push(folder),
        }
    }
    if chosen.is_empty() && damaged.is_empty() {
        return Err(Error::usage(format!("no run in {} was trained on {}", runs.display(), data.display())).with_help(
            "train one with `vggkit train`, or name the data with --data and the runs' folder with --runs",
        ));
    }
    Ok(Chosen { chosen, left_out, damaged })
}
