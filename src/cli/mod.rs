//! The command line: one thin file a subcommand, clap types that become validated settings.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::cache;
use crate::engine::Precision;
use crate::engine::{Normalisation, Optimizer, Settings, Update, gpu};
use crate::engines::{Choice, Target};
use crate::error::{Kind, Result};
use crate::files::fault;
use crate::inference::model::Model;

pub mod output;

mod augment_arguments;
mod bench;
mod bench_count;
mod config;
mod describe;
mod devices;
mod evaluate;
mod export;
mod find_lr;
mod generate;
mod legacy;
mod network_arguments;
mod predict;
mod predict_files;
mod prepare;
mod recipe_arguments;
mod report;
mod selftest;
mod splits;
mod survey;
mod survey_readme;
mod survey_stage;
mod train;
mod train_again;
mod train_arguments;
mod training_display;
mod tune;
mod values;
mod verify;

/// Train the VGG networks on Tiny ImageNet, compare them, and render a report.
#[derive(Debug, Parser)]
#[command(name = "vggkit", version, about, long_about = None, propagate_version = true, after_help = EXAMPLES,
          args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
From the data set to the report:
  vggkit prepare --source tiny-imagenet-200.zip    class folders and packs in data/
  vggkit train --all                               the five networks in turn, in runs/
  vggkit predict                                   every test image by every network: predictions.csv
  vggkit report                                    site/index.html

Exit codes: 0 done, 1 failed or something found, 2 wrong usage, 130 and 143 stopped by a signal after saving.";

#[derive(Debug, Subcommand)]
enum Command {
    Prepare(prepare::Arguments),
    Verify(verify::Arguments),
    Describe(describe::Arguments),
    Train(Box<train::Arguments>),
    Evaluate(evaluate::Arguments),
    Predict(predict::Arguments),
    Export(export::Arguments),
    Report(report::Arguments),
    Bench(bench::Arguments),
    Tune(tune::Arguments),
    Devices(devices::Arguments),
    Selftest(selftest::Arguments),
    Survey(Box<survey::Arguments>),
    #[command(hide = true)]
    Generate(generate::Arguments),
}

/// Flags that all commands share.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "All commands")]
pub struct Shared {
    /// Folder of the data set [default: data; with --resume and evaluate: the run's own]
    #[arg(long = "data", value_name = "DIR", global = true)]
    data_folder: Option<PathBuf>,
    /// Folder of the runs
    #[arg(long, value_name = "DIR", default_value = "runs", global = true)]
    pub runs: PathBuf,
    /// Worker threads (default: all processors); never changes a result
    #[arg(long, value_name = "N", global = true, value_parser = values::threads, allow_negative_numbers = true)]
    pub threads: Option<NonZeroUsize>,
    /// What computes: gpu, cpu, or auto: a hardware GPU where there is one, else the CPU
    #[arg(long, value_name = "NAME", default_value = "auto", global = true, value_parser = values::engine)]
    pub engine: Choice,
    /// Which GPU the GPU engine takes: its index in `vggkit devices` or a part of its name. The CPU engine ignores it
    #[arg(long, value_name = "NAME|INDEX", global = true, env = "VGGKIT_ADAPTER")]
    pub adapter: Option<String>,
    /// Samples computed at once on a GPU [default: the whole batch, or as many as fit]. Gradients are added up; batch
    /// normalisation sees each part by itself
    #[arg(long, value_name = "N", global = true, value_parser = values::whole(NonZeroUsize::MIN),
          allow_negative_numbers = true)]
    pub micro_batch: Option<NonZeroUsize>,
    /// What a GPU multiplies: f32, or f16 by matrix units (tensor cores) where it has them, with sums and weights in f32
    /// and a scaled loss [default: f32; with --resume: as before]
    #[arg(long, value_name = "NAME", global = true, value_parser = values::precision)]
    pub precision: Option<Precision>,
    /// Keep to the most exact kernels: no Winograd F(4x4, 3x3)
    #[arg(long, global = true)]
    pub precise: bool,
    /// Print JSON on standard output instead of text: one object, or one a line from train, evaluate and predict --image
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

impl Shared {
    /// Folder of the data set: as given, or `data`.
    pub fn data(&self) -> &Path {
        self.data_given().unwrap_or(Path::new("data"))
    }

    /// Folder of the data set, if one was given.
    pub fn data_given(&self) -> Option<&Path> {
        self.data_folder.as_deref()
    }

    /// The engine and what was chosen of it.
    pub fn target(&self) -> Target {
        Target {
            choice: self.engine,
            precise: self.precise,
            gpu: gpu::Options {
                adapter: self.adapter.clone(),
                precision: self.precision.unwrap_or_default(),
                micro_batch: self.micro_batch.map(NonZeroUsize::get),
                tune: true,
                tell: (!self.quiet && !self.json).then(|| Arc::new(|line: &str| output::note(line)) as gpu::Tell),
                store: cache::Cache::of_user().map(|cache| Arc::new(cache) as Arc<dyn gpu::Store>),
                fault: values::fault(),
                ..gpu::Options::default()
            },
        }
    }

    /// Settings of a network that is measured or planned, not trained on data.
    pub fn settings(&self, batch_size: usize, optimizer: Option<Optimizer>) -> Settings {
        Settings {
            batch_size,
            normalisation: Normalisation::default(),
            optimizer,
            update: Update::default(),
            label_smoothing: 0.0,
            taught: 0.0,
            seed: 0,
            threads: self.threads(),
            precise: self.precise,
        }
    }

    /// The best network of the run in `folder`; of a damaged run that nobody `named`, nothing once that is told.
    pub fn open(&self, folder: &Path, named: bool) -> Result<Option<Model>> {
        match Model::open(folder, &self.target(), self.threads()) {
            Err(error) if !named && matches!(error.kind(), Kind::Data | Kind::Io) => {
                output::left_out(&error);
                Ok(None)
            }
            opened => opened.map(Some),
        }
    }

    /// Worker threads: as asked for, or all processors.
    pub fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or_else(all, NonZeroUsize::get)
    }
}

/// Runs one command line and returns its exit code (see [`crate::error::Error::exit_code`]).
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    // A file that grows beyond a limit (ulimit -f) is then an error that names it, and no sudden end.
    #[cfg(unix)]
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    let line = legacy::modernise(&Cli::command(), arguments);
    let cli = match Cli::try_parse_from(&line) {
        Ok(cli) => cli,
        Err(error) => {
            output::check(error.print());
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            return if output::failed() { ExitCode::FAILURE } else { ExitCode::from(code) };
        }
    };
    let done = run(cli, line);
    fault::tell();
    match done {
        Ok(_) if output::failed() => ExitCode::FAILURE,
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Carries out what was parsed from `line`.
fn run(cli: Cli, line: Vec<OsString>) -> Result<ExitCode> {
    match cli.command {
        Command::Prepare(arguments) => prepare::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Describe(arguments) => describe::run(arguments),
        Command::Train(arguments) => train::run(config::settle(*arguments, line)?),
        Command::Evaluate(arguments) => evaluate::run(arguments),
        Command::Predict(arguments) => predict::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Report(arguments) => report::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Tune(arguments) => tune::run(arguments),
        Command::Devices(arguments) => devices::run(arguments),
        Command::Selftest(arguments) => selftest::run(arguments),
        Command::Survey(arguments) => survey::run(*arguments),
        Command::Generate(arguments) => generate::run(arguments),
    }
}
