//! What a network will take of the device's memory, computed before anything is allocated and without a device.

use super::chosen::{PASSES, passes};
use super::layers::{batch_norm, relu};
use super::layout;
use super::plumbing::capabilities::Capabilities;
use super::products::convolution;
use super::products::variant::{Variant, candidates};
use crate::engine::Settings;
use crate::engine::layout::{Layout, Memory};
use crate::engine::stages::Work;
use crate::error::Result;
use crate::vgg::Plan;

/// The figures of a network that computes `samples` of a batch of `batch` at once, in words.
pub(super) fn sentence(memory: &Memory, samples: usize, batch: usize) -> String {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let mut text = format!(
        "{} MiB planned (parameters {}, gradients {}, moments {}, activations {}, scratch {}) for {samples} images at once",
        mib(memory.total()),
        mib(memory.parameters),
        mib(memory.gradients),
        mib(memory.moments),
        mib(memory.activations),
        mib(memory.scratch)
    );
    if samples < batch {
        text.push_str(&format!(
            ": micro-batches of a batch of {batch}; batch normalisation takes its statistics over each"
        ));
    }
    text
}

/// Bytes that a network of `layout` will allocate for `samples` samples at once, without its images.
pub(super) fn planned(capabilities: &Capabilities, layout: &Layout, settings: &Settings, samples: usize) -> Memory {
    let mut offered: Vec<[Vec<Variant>; 3]> = vec![Default::default(); layout.steps.len()];
    for (step, offered) in layout.steps.iter().zip(&mut offered) {
        let Some(convolution) = &step.convolution else { continue };
        for (at, pass) in passes(step) {
            offered[at] = candidates(capabilities, convolution, pass, settings.precise);
        }
    }
    let bytes = |floats: usize| floats as u64 * 4;
    let mut memory = layout.memory(settings, samples, bytes);
    if layout.format.half {
        let sets = if settings.keeps_average() { 2 } else { 1 };
        memory.parameters += sets * bytes(layout.extent.parameters) / 2;
    }
    let scratch = scratch(capabilities, layout, &offered, samples);
    memory.scratch = bytes(scratch.into_iter().sum::<usize>() + partials(layout, samples));
    memory
}

/// What training or inference of `plan` takes on an adapter with these `capabilities`, without images, and how many
/// samples of a batch are computed at once: as many as a shader can see. Errors: not even one.
pub fn of(plan: &Plan, settings: &Settings, capabilities: &Capabilities) -> Result<(Memory, usize)> {
    let layout = layout::of(plan, settings, capabilities.half())?;
    let samples = settings.batch_size.min(layout::most_samples(&layout, capabilities.binding_floats)?);
    Ok((planned(capabilities, &layout, settings, samples), samples))
}

/// Floats of the three scratch buffers: the most that any candidate needs.
pub fn scratch(
    capabilities: &Capabilities,
    layout: &Layout,
    candidates: &[[Vec<Variant>; 3]],
    samples: usize,
) -> [usize; 3] {
    let mut most = [0; 3];
    for (step, candidates) in layout.steps.iter().zip(candidates) {
        let Some(convolution) = &step.convolution else { continue };
        for (pass, variants) in PASSES.into_iter().zip(candidates) {
            for variant in variants {
                let needed = convolution::scratch(capabilities, convolution, pass, *variant, samples);
                most = std::array::from_fn(|i| most[i].max(needed[i]));
            }
        }
    }
    most
}

/// Floats that partial sums need.
pub fn partials(layout: &Layout, samples: usize) -> usize {
    layout
        .steps
        .iter()
        .map(|step| match step.stage.work {
            Work::Convolution { norm: true, .. } => batch_norm::scratch(step.stage.inner, samples, layout.format.half),
            Work::Convolution { .. } | Work::Linear { .. } => relu::scratch(step.stage.inner, samples),
            _ => 0,
        })
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Optimizer;
    use crate::vgg::Network;

    #[test]
    fn vgg_19_with_batches_of_128_and_the_pack_fits_a_card_of_eight_gigabytes() -> Result<()> {
        let plan = Network { depth: 19, ..Network::default() }.plan()?;
        let settings = Settings { optimizer: Some(Optimizer::adam()), ..Settings::inference(128, 1) };
        let (memory, samples) = of(&plan, &settings, &Capabilities::CARD)?;
        let images = 110_000 * 64 * 64 * 3;
        assert_eq!(samples, 128);
        assert!(memory.total() + images < 8_000_000_000, "{memory:?} and {images} of images");
        assert!(memory.scratch > 0 && memory.activations > 0, "{memory:?}");
        Ok(())
    }
}
