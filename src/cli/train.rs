//! `vggkit train`: starts or resumes a training, or the five of `--all`, alone or as one of several ranks.

mod again;
mod display;
mod find_lr;
mod together;
mod trainings;

use std::process::ExitCode;

use super::arguments::config;
pub use super::arguments::train::Arguments;
use super::output;
use crate::distributed::launch;
use crate::error::Result;
use crate::training::stop::Stop;

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    if arguments.run.print_config {
        output::print(&config::printed(&arguments)?);
        return Ok(ExitCode::SUCCESS);
    }
    match launch::join()? {
        None => trainings::traced(&arguments, || {
            let stop = Stop::on_signals()?;
            trainings::train(&arguments, &stop.at(trainings::deadline(&arguments)), arguments.options())
        }),
        Some(link) => together::run(link, &arguments),
    }
}
