//! Going on with runs that are there: which settings a command line changes, which it must not, and how the command that
//! goes on is spelled.
//!
//! Changes nothing itself: `training::changes` does.

use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::train_arguments::Arguments;
use crate::engine::Choice;
use crate::error::{Error, Result};
use crate::inference::model;
use crate::shell::{flag, quote};
use crate::training::changes::Changes;
use crate::training::checkpoint;
use crate::training::run::Run;

/// The flags that stand on the command line, by their names in [`Arguments`]: what a default says is not asked for.
#[derive(Clone, Debug, Default)]
pub struct Given(Vec<String>);

impl Given {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|given| given == name)
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let typed = |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        Ok(Self(matches.ids().filter(typed).map(ToString::to_string).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

/// The settings of a run: the flag's name, how it is spelled, and its place in `run.toml`.
const SETTINGS: [(&str, &str, &str); 27] = [
    ("depth", "--depth", "network.depth"),
    ("conv1x1", "--conv1x1", "network.conv1x1"),
    ("lrn", "--lrn", "network.lrn"),
    ("no_batch_norm", "batch normalisation", "network.batch_norm"),
    ("width", "--width", "network.width"),
    ("dropout", "--dropout", "network.dropout"),
    ("image_size", "--image-size", "network.image_size"),
    ("train", "--train", "data.train"),
    ("val", "--val", "data.val"),
    ("batch_size", "--batch-size", "training.batch_size"),
    ("epochs", "--epochs", "training.epochs"),
    ("patience", "--early-stopping", "training.patience"),
    ("learning_rate", "--learning-rate", "training.learning_rate"),
    ("optimizer", "--optimizer", "training.optimizer.name"),
    ("momentum", "--momentum", "training.optimizer.momentum"),
    ("weight_decay", "--weight-decay", "training.optimizer.weight_decay"),
    ("augment", "--augment", "training.augment"),
    ("schedule", "--schedule", "training.schedule"),
    ("warmup", "--warmup", "training.warmup"),
    ("label_smoothing", "--label-smoothing", "training.label_smoothing"),
    ("normalize", "--normalize", "training.normalisation"),
    ("seed", "--seed", "training.seed"),
    ("limit_train", "--limit-train", "training.limit_train"),
    ("shuffle", "--shuffle", "training.shuffle"),
    ("init", "--init", "training.init"),
    ("init_partial", "--init-partial", "training.init_partial"),
    ("precision", "--precision", "training.precision"),
];

/// The settings that can change while a training goes on.
const CHANGEABLE: [&str; 5] = ["epochs", "patience", "learning_rate", "schedule", "precision"];

/// What the command line changes of a run that goes on.
pub fn changes(arguments: &Arguments) -> Changes {
    let Arguments { given, recipe, run, shared, .. } = arguments;
    Changes {
        epochs: run.epochs,
        patience: given.has("patience").then_some(recipe.patience),
        learning_rate: given.has("learning_rate").then_some(recipe.learning_rate),
        schedule: given.has("schedule").then_some(recipe.schedule),
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
    fn has(self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Fixed => !CHANGEABLE.contains(&name),
            Self::Given(given) => !CHANGEABLE.contains(&name) && given.has(name),
        }
    }
}

/// The settings in which `run` is not what is `asked` for, each with both values.
pub fn differences(run: &Run, asked: &Run, which: Which<'_>) -> Result<Vec<String>> {
    let table = |run: &Run| toml::Value::try_from(run).map_err(|e| Error::usage(format!("the settings of a run: {e}")));
    let (there, asked) = (table(run)?, table(asked)?);
    let value = |table: &toml::Value, place: &str| {
        let value = place.split('.').try_fold(table, |table, key| table.get(key));
        value.map_or_else(|| "none".to_owned(), ToString::to_string)
    };
    Ok(SETTINGS
        .iter()
        .filter(|(name, ..)| which.has(name))
        .map(|(_, spelling, place)| (spelling, value(&there, place), value(&asked, place)))
        .filter(|(_, there, asked)| there != asked)
        .map(|(spelling, there, asked)| format!("{spelling} {asked}, where the run has {there}"))
        .collect())
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
    SETTINGS.iter().any(|(name, ..)| Which::Given(given).has(name))
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
        if given.has("runs") {
            command += &flag("--runs", &shared.runs);
        }
        command += &shared.data_given().map(|data| flag("--data", data)).unwrap_or_default();
    } else {
        command += &flag("--resume", folder);
    }
    if given.has("engine") {
        let engine = match shared.engine {
            Choice::Auto => "auto",
            Choice::Cpu => "cpu",
            Choice::Gpu => "gpu",
        };
        command += &format!(" --engine {engine}");
    }
    if let Some(adapter) = shared.adapter.as_ref().filter(|_| given.has("adapter")) {
        command += &format!(" --adapter {}", quote(adapter));
    }
    if let Some(parts) = shared.micro_batch {
        command += &format!(" --micro-batch {parts}");
    }
    command += if shared.precise { " --precise" } else { "" };
    command
}
