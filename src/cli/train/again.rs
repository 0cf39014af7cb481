//! Going on with runs that are there: which settings a command line changes, which it must not, and how the command that
//! goes on is spelled.
//!
//! Changes nothing itself: `training::changes` does.

use std::path::{Path, PathBuf};

use crate::cli::arguments::config;
use crate::cli::arguments::given::Given;
use crate::cli::arguments::train::{Arguments, is_typed};
use crate::engines::Choice;
use crate::error::{Error, Result};
use crate::inference::model;
use crate::shell::{flag, quote};
use crate::training::changes::Changes;
use crate::training::checkpoint;
use crate::training::run::Run;
use crate::training::settings::{self, SETTINGS, Scope, Setting, Values};

/// What the command line changes of a run that goes on.
pub fn changes(arguments: &Arguments) -> Changes {
    let Arguments { given, recipe, run, shared, .. } = arguments;
    Changes {
        epochs: run.epochs,
        patience: recipe.patience,
        learning_rate: is_typed(given, "learning-rate").then_some(recipe.learning_rate),
        schedule: is_typed(given, "schedule").then_some(recipe.schedule),
        precision: shared.precision,
        max_steps: run.max_steps,
    }
}

/// Which settings two runs have to share.
#[derive(Clone, Copy)]
pub enum Which<'a> {
    /// All of them.
    All,
    /// Those that cannot change.
    Fixed,
    /// Those that cannot change and stand on the command line.
    Given(&'a Given),
}

impl Which<'_> {
    fn has(self, setting: &Setting) -> bool {
        match (self, setting.scope) {
            (_, Scope::Pause) => false,
            (Self::All, _) => true,
            (_, Scope::Changeable) => false,
            (Self::Fixed, _) => true,
            (Self::Given(given), _) => is_typed(given, setting.flag),
        }
    }
}

/// The settings in which `run` is not what is `asked` for, each with both values.
pub fn differences(run: &Run, asked: &Run, which: Which<'_>) -> Result<Vec<String>> {
    let (run, asked) = (Values::of(run)?, Values::of(asked)?);
    let differing = settings::differences(&run, &asked).filter(|(setting, ..)| which.has(setting));
    let told = differing.map(|(setting, there, asked)| {
        let [there, asked] = [there, asked].map(|value| config::in_words(setting, value));
        format!("{} {asked}, where the run has {there}", setting.spelling())
    });
    Ok(told.collect())
}

/// Errors: the command line asks for something that a run that goes on cannot change. `asked` are its settings.
pub fn refuse_others(folder: &Path, run: &Run, asked: &Run, given: &Given) -> Result<()> {
    let others = differences(run, asked, Which::Given(given))?;
    if others.is_empty() {
        return Ok(());
    }
    let last = checkpoint::last_path(folder);
    let (name, others) = (folder.display(), others.join("; "));
    Err(Error::usage(format!("{name} cannot go on with other settings: {others}")).with_help(format!(
        "leave them out; or train another run from its weights, with --init {} and --run NAME in place of --resume",
        quote(last)
    )))
}

/// Whether any setting is given that a run that goes on cannot change.
pub fn asks_for_fixed(given: &Given) -> bool {
    SETTINGS.iter().any(|setting| Which::Given(given).has(setting))
}

/// The first of the five runs of `--all` that is there, for `--resume` without a run to take the settings of. Those of the
/// demo set come after real ones.
pub fn first_of_all(arguments: &Arguments, names: &[String]) -> Result<Option<Run>> {
    let runs = &arguments.shared.runs;
    let demo = names.iter().filter(|name| !name.starts_with("demo")).map(|name| format!("demo-{name}"));
    let folders = names.iter().cloned().chain(demo).map(|name| runs.join(name));
    let there = folders.into_iter().find(|folder: &PathBuf| Run::path(folder).exists());
    there.map(|folder| model::load_run(&folder)).transpose()
}

/// The command that goes on with the run in `folder`, or with all five.
pub fn command(arguments: &Arguments, folder: &Path) -> String {
    let Arguments { run, shared, given, .. } = arguments;
    let mut command = "vggkit train".to_owned();
    if run.all {
        command += " --all --resume";
        command += &run.name.as_ref().map(|name| format!(" --run {name}")).unwrap_or_default();
        if is_typed(given, "runs") {
            command += &flag("--runs", &shared.runs);
        }
        command += &shared.data_given().map(|data| flag("--data", data)).unwrap_or_default();
    } else {
        command += &flag("--resume", folder);
    }
    if is_typed(given, "engine") {
        let engine = match shared.engine {
            Choice::Auto => "auto",
            Choice::Cpu => "cpu",
            Choice::Gpu => "gpu",
        };
        command += &format!(" --engine {engine}");
    }
    if let Some(adapter) = shared.adapter.as_ref().filter(|_| is_typed(given, "adapter")) {
        command += &format!(" --adapter {}", quote(adapter));
    }
    command += if shared.precise { " --precise" } else { "" };
    command
}
