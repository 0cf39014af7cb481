//! The command line: one thin file a subcommand, clap types that become validated settings.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::error::Result;

pub mod output;

mod describe;
mod evaluate;
mod legacy;
mod network_arguments;
mod predict;
mod prepare;
mod report;
mod splits;
mod train;
mod train_arguments;
mod values;
mod verify;

/// Train the VGG networks on Tiny ImageNet, compare them, and render a report.
#[derive(Debug, Parser)]
#[command(name = "vggkit", version, about, long_about = None, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Prepare(prepare::Arguments),
    Verify(verify::Arguments),
    Describe(describe::Arguments),
    Train(train::Arguments),
    Evaluate(evaluate::Arguments),
    Predict(predict::Arguments),
    Report(report::Arguments),
}

/// Flags that all commands share.
#[derive(Clone, Debug, Args)]
pub struct Shared {
    /// Folder of the data set
    #[arg(long, value_name = "DIR", default_value = "data", global = true)]
    pub data: PathBuf,
    /// Folder of the runs
    #[arg(long, value_name = "DIR", default_value = "runs", global = true)]
    pub runs: PathBuf,
    /// Worker threads (default: all processors); never changes a result
    #[arg(long, value_name = "N", global = true, value_parser = values::threads, allow_negative_numbers = true)]
    pub threads: Option<NonZeroUsize>,
    /// What computes: auto or cpu (gpu is not part of this version)
    #[arg(long, value_name = "NAME", default_value = "auto", global = true, value_parser = values::engine)]
    pub engine: EngineChoice,
    /// Print one JSON object on standard output instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// The fastest that there is; in this version the CPU.
    Auto,
    /// The CPU.
    Cpu,
}

/// Runs one command line and returns its exit code (see [`crate::error::Error::exit_code`]).
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(legacy::modernise(&Cli::command(), arguments)) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            output::note(&format!("error: {error}"));
            if let Some(help) = error.help() {
                output::note(&format!("  help: {help}"));
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Prepare(arguments) => prepare::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Describe(arguments) => describe::run(arguments),
        Command::Train(arguments) => train::run(arguments),
        Command::Evaluate(arguments) => evaluate::run(arguments),
        Command::Predict(arguments) => predict::run(arguments),
        Command::Report(arguments) => report::run(arguments),
    }
}
