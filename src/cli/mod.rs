//! The command line: one thin file a subcommand, clap types that become validated settings.
//!
//! **To add a command X**: `X.rs` and two lines here; flags that others have too are in [`arguments`], and what it prints with `--json`
//! stands in docs/formats.md.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};

use crate::error::Result;
use crate::files::fault;

mod arguments;
pub mod output;

mod bench;
mod describe;
mod devices;
mod evaluate;
mod export;
mod generate;
mod predict;
mod prepare;
mod report;
mod selftest;
mod survey;
mod train;
mod tune;
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

/// Runs one command line and returns its exit code (see [`crate::error::Error::exit_code`]).
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    // A file that grows beyond a limit (ulimit -f) is then an error that names it, and no sudden end.
    #[cfg(unix)]
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    let line = arguments::legacy::modernise(&Cli::command(), arguments);
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
        Command::Train(arguments) => train::run(arguments::config::settle(*arguments, line)?),
        Command::Evaluate(arguments) => evaluate::run(arguments),
        Command::Predict(arguments) => predict::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Report(arguments) => report::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Tune(arguments) => tune::run(arguments),
        Command::Devices(arguments) => devices::run(arguments),
        Command::Selftest(arguments) => selftest::run(arguments),
        Command::Survey(arguments) => survey::run(*arguments),
        Command::Generate(arguments) => generate::run(arguments, &Cli::command()),
    }
}
