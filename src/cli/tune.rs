//! `vggkit tune`: which kernel variant each convolution of a network takes on the GPU at hand, measured now or before.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::arguments::network::NetworkArguments;
use super::arguments::shared::Shared;
use super::arguments::values;
use super::output;
use crate::engine::gpu::{Gpu, GpuEngine, tuning};
use crate::engine::{Engine, Optimizer, State};
use crate::error::Result;
use crate::vgg::initialisation;

/// The value of `schema`.
const SCHEMA: &str = "vggkit/tune/1";

/// Show or measure which kernel variants a GPU is fastest with
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    network: NetworkArguments,
    /// Images a step: what is fastest depends on it
    #[arg(short, long, value_name = "N", default_value = "64", visible_aliases = ["batchsize", "batch"],
          value_parser = values::whole(1usize), allow_negative_numbers = true)]
    batch_size: usize,
    /// Output classes
    #[arg(long, value_name = "N", default_value = "200", value_parser = values::whole(1usize), allow_negative_numbers = true)]
    classes: usize,
    /// Measure again what was measured before
    #[arg(long)]
    refresh: bool,
    #[command(flatten)]
    shared: Shared,
}

const EXAMPLES: &str = "\
Examples:
  vggkit tune -d 16 -b 128                    what VGG-16 in batches of 128 takes; measures what is not known yet
  vggkit tune -d 16 -b 128 --refresh          after a new driver, say

Training does the same by itself, once for each shape.";

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    adapter: &'a str,
    driver: &'a str,
    micro_batch: usize,
    /// `<layer> <pass>` -> variant.
    variants: &'a BTreeMap<String, String>,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let plan = arguments.network.network(arguments.classes)?.plan()?;
    let options = arguments.shared.target().gpu;
    if arguments.refresh {
        tuning::forget(&Gpu::open(&options)?);
    }
    let settings = arguments.shared.settings(arguments.batch_size, Some(Optimizer::adam()));
    let state = State::new(initialisation::initialise(&plan, 0));
    let engine = GpuEngine::new(plan, settings, &state, &options)?;
    let (device, variants) = (engine.device(), engine.network().variants());
    if arguments.shared.json {
        let (adapter, driver, micro_batch) = (&device.adapter, &device.driver, engine.micro_batch());
        output::json(&Report { schema: SCHEMA, adapter, driver, micro_batch, variants })?;
    } else {
        output::line(&format!("{} · {}", device.adapter, device.driver));
        for layer in &engine.plan().layers {
            for (key, variant) in variants.iter().filter(|(key, _)| key.starts_with(&format!("{} ", layer.name))) {
                output::line(&format!("{key:32} {variant}"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
