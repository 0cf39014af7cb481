//! `vggkit report`.

use std::process::ExitCode;

use clap::Args;

use super::Shared;
use crate::error::Result;

/// Render the runs as a static page
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    shared: Shared,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let _ = arguments.shared;
    Ok(ExitCode::SUCCESS)
}
