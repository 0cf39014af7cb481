//! `vggkit predict`.

use std::process::ExitCode;

use clap::Args;

use super::Shared;
use crate::error::Result;

/// Predict the test images, or any image file
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    shared: Shared,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let _ = arguments.shared;
    Ok(ExitCode::SUCCESS)
}
