//! Flags of a training's run: how long, where to, and what is kept.

use std::path::PathBuf;

use clap::Args;

use super::recipe_name::Name;
use super::values;
use crate::training::run::Recipe;
use crate::training::tensorboard::Wanted;

/// How long, where to, and what is kept.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct RunArguments {
    /// A recipe that comes with vggkit; other flags go on top of it, whatever their order
    #[arg(long = "recipe", value_name = "NAME", value_enum)]
    pub preset: Option<Name>,
    /// The settings of another run (its folder or run.toml), or of a file like it; other flags go on top, whatever their
    /// order, --flag=off turns off a switch that it turns on, and 0 or none, as a flag says, what it sets. What that run was trained on, began from (--init) and paused at (--max-steps) stays its own
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    pub config: Option<PathBuf>,
    /// Print the settings, as --config takes them, and train nothing
    #[arg(long, conflicts_with_all = ["resume", "json"])]
    pub print_config: bool,
    /// Find a learning rate (the range test of Smith 2015): train while it rises from 1e-6 to 10 over 200 steps, or as many as
    /// --max-steps says, print the loss and the usual choice, and write nothing
    #[arg(long, conflicts_with_all = ["all", "resume", "print_config", "overwrite"])]
    pub find_lr: bool,
    #[arg(short, long, value_name = "N", help = format!("Epochs at most [default: {}; with --resume: as before]", Recipe::default().epochs),
           value_parser = values::whole(1usize), allow_negative_numbers = true)]
    pub epochs: Option<usize>,
    /// Stop after this many steps of the whole training, those before a --resume included
    #[arg(long, value_name = "N", value_parser = values::whole(1u64), allow_negative_numbers = true)]
    pub max_steps: Option<u64>,
    /// Save and stop after this many minutes; go on with --resume
    #[arg(long, value_name = "MINUTES", value_parser = values::whole(1u64), allow_negative_numbers = true)]
    pub max_minutes: Option<u64>,
    /// Name of the run's folder below --runs; with --all, what the five names begin with
    /// [default: the network's name, e.g. vgg16c]
    #[arg(long = "run", value_name = "NAME", value_parser = values::run_name)]
    pub name: Option<String>,
    /// Train the five networks in turn: 11, 13, 16, 16 with 1x1 convolutions, 19. Typed again with the same settings, it
    /// skips those that are done and goes on with the one that was stopped
    #[arg(long, conflicts_with_all = ["depth", "conv1x1", "lrn"])]
    pub all: bool,
    /// Go on with this run, exactly as if it had not stopped, or with other -e, -es, -lr or --schedule from here on; with
    /// --all and no RUN: with the settings of those that are there
    #[arg(long, value_name = "RUN", num_args = 0..=1, conflicts_with = "overwrite")]
    pub resume: Option<Option<PathBuf>>,
    /// Save every so many steps too, not only after each epoch
    #[arg(long, value_name = "STEPS", value_parser = values::whole(1u64), allow_negative_numbers = true)]
    pub checkpoint_every: Option<u64>,
    /// Replace an existing run of this name
    #[arg(long)]
    pub overwrite: bool,
    /// Write a line a step to steps.jsonl: step, loss, lr
    #[arg(long)]
    pub log_steps: bool,
    /// Write event files for TensorBoard: scalars a step and an epoch, and the settings. Into the run's folder, so that
    /// `tensorboard --logdir runs` shows all runs, or into a folder of the run's name below DIR; a run that goes on, goes on with it
    #[arg(long, value_name = "DIR", num_args = 0..=1, conflicts_with = "find_lr")]
    pub tensorboard: Option<Option<String>>,
    /// The same, with a histogram of each tensor of the weights at the end of each epoch
    #[arg(long, conflicts_with = "find_lr")]
    pub tensorboard_histograms: bool,
    /// Write what the training does when to FILE, which https://ui.perfetto.dev draws
    #[arg(long, value_name = "FILE", env = "VGGKIT_TRACE")]
    pub trace: Option<PathBuf>,
}

impl RunArguments {
    /// Where event files are asked for.
    pub fn tensorboard(&self) -> Option<Wanted> {
        let folder = self.tensorboard.clone().flatten();
        let asked = self.tensorboard.is_some() || self.tensorboard_histograms;
        asked.then_some(Wanted { folder, histograms: self.tensorboard_histograms })
    }
}
