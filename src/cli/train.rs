//! `vggkit train`.

use std::process::ExitCode;

pub use super::train_arguments::Arguments;
use crate::error::Result;

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let _ = arguments.settings()?;
    Ok(ExitCode::SUCCESS)
}
