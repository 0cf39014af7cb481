//! `vggkit bench --count`: what the operations of a GPU's step have to move and to multiply, and the least time that takes on
//! a card of given limits. Opens an adapter to record the calls, and runs none of them.

use std::process::ExitCode;

use crate::bench::{Mode, operations};
use crate::cli::arguments::shared::Shared;
use crate::cli::output;
use crate::engine::gpu::{GpuEngine, Options};
use crate::engine::{Limits, Optimizer, State};
use crate::error::{Error, Result};
use crate::vgg::{Network, initialisation};

/// Counts each of `networks`. Errors: the CPU engine, which records no calls; no adapter.
pub fn run(networks: &[Network], mode: Mode, batch_size: usize, shared: &Shared, limits: Limits) -> Result<ExitCode> {
    let target = shared.target();
    if !target.is_gpu() {
        return Err(Error::usage("--count is for the GPU engine")
            .with_help("give --engine gpu; --adapter llvmpipe will do, since nothing is run"));
    }
    let options = Options { tune: false, ..target.gpu };
    for network in networks {
        let plan = network.plan()?;
        let state = State::new(initialisation::initialise(&plan, 0));
        let settings = shared.settings(batch_size, (mode == Mode::Train).then(Optimizer::adam));
        let engine = GpuEngine::new(plan, settings, &state, &options)?;
        let operations = operations::predicted(&engine, mode, limits);
        let (bytes, seconds): (f64, f64) =
            operations.iter().fold((0.0, 0.0), |(b, s), (operation, bytes)| (b + bytes, s + operation.seconds));
        output::line(&format!(
            "{}, {} images: {:.2} GB, at least {:.2} ms, {:.0} images/s\n",
            network.title(),
            engine.micro_batch(),
            bytes / 1e9,
            1e3 * seconds,
            engine.micro_batch() as f64 / seconds
        ));
        output::line(&format!("{:36} {:24} {:>9} {:>9} {:>8}", "operation", "variant", "MB", "GF", "ms"));
        for (operation, bytes) in &operations {
            let gf = operation.flops.map_or_else(String::new, |f| format!("{:.1}", f * operation.seconds / 1e9));
            let variant = operation.variant.as_deref().unwrap_or_default();
            let (mb, ms) = (bytes / 1e6, 1e3 * operation.seconds);
            output::line(&format!("{:36} {variant:24} {mb:>9.1} {gf:>9} {ms:>8.3}", operation.name));
        }
    }
    Ok(ExitCode::SUCCESS)
}
