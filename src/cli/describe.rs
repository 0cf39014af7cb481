//! `vggkit describe`.

use std::process::ExitCode;

use clap::Args;

use super::network_arguments::NetworkArguments;
use super::{Shared, values};
use crate::error::Result;

/// Print a network layer by layer
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    network: NetworkArguments,
    /// Output classes
    #[arg(long, value_name = "N", default_value = "200", value_parser = values::whole(1usize), allow_negative_numbers = true)]
    classes: usize,
    #[command(flatten)]
    shared: Shared,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let _ = (arguments.network.network(arguments.classes)?, arguments.shared);
    Ok(ExitCode::SUCCESS)
}
