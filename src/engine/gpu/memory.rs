//! What a network will take of the device's memory, computed before anything is allocated and without a device.

use super::chosen::{PASSES, passes};
use super::layers::{batch_norm, relu};
use super::layout::GpuLayout;
use super::plumbing::capabilities::Capabilities;
use super::products::convolution;
use super::products::variant::{Variant, candidates};
use crate::engine::Settings;
use crate::engine::stages::Work;
use crate::error::Result;
use crate::vgg::Plan;

/// Bytes that the engine allocates, by purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Parameters, their copy in f16 where products read such, and running statistics; all of them twice where an average is
    /// kept.
    pub parameters: u64,
    /// A gradient a parameter.
    pub gradients: u64,
    /// The optimiser's moments.
    pub moments: u64,
    /// Activations and their gradients, which share buffers by lifetime.
    pub activations: u64,
    /// What kernels need in between.
    pub scratch: u64,
    /// Images that live on the device.
    pub images: u64,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.parameters + self.gradients + self.moments + self.activations + self.scratch + self.images
    }

    /// The figures of a network that computes `samples` of a batch of `batch` at once, in words.
    pub(super) fn sentence(&self, samples: usize, batch: usize) -> String {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let mut text = format!(
            "{} MiB planned (parameters {}, gradients {}, moments {}, activations {}, scratch {}) for {samples} images at \
             once",
            mib(self.total()),
            mib(self.parameters),
            mib(self.gradients),
            mib(self.moments),
            mib(self.activations),
            mib(self.scratch)
        );
        if samples < batch {
            text.push_str(&format!(
                ": micro-batches of a batch of {batch}; batch normalisation takes its statistics over each"
            ));
        }
        text
    }

    /// Bytes that a network of `layout` will allocate for `samples` samples at once, without its images.
    pub(super) fn of(capabilities: &Capabilities, layout: &GpuLayout, settings: &Settings, samples: usize) -> Self {
        let training = settings.optimizer.is_some();
        let mut offered: Vec<[Vec<Variant>; 3]> = vec![Default::default(); layout.steps.len()];
        for (step, offered) in layout.steps.iter().zip(&mut offered) {
            let Some(convolution) = &step.convolution else { continue };
            for (at, pass) in passes(step) {
                offered[at] = candidates(capabilities, convolution, pass, settings.precise);
            }
        }
        let bytes = |floats: usize| floats as u64 * 4;
        let (parameters, trained) = (bytes(layout.extent.parameters), bytes(layout.extent.trained));
        let scratch = scratch(capabilities, layout, &offered, samples);
        let sets = if settings.keeps_average() { 2 } else { 1 };
        Self {
            parameters: sets
                * (parameters + if layout.half { parameters / 2 } else { 0 } + bytes(layout.extent.running)),
            gradients: if training { trained } else { 0 },
            moments: settings.optimizer.map_or(0, |o| o.moments().len() as u64) * trained,
            activations: layout.slots.iter().map(|slot| bytes(slot * samples)).sum(),
            scratch: bytes(scratch.into_iter().sum::<usize>() + partials(layout, samples)),
            images: 0,
        }
    }
}

/// What training or inference of `plan` takes on an adapter with these `capabilities`, without images, and how many
/// samples of a batch are computed at once: as many as a shader can see. Errors: not even one.
pub fn of(plan: &Plan, settings: &Settings, capabilities: &Capabilities) -> Result<(Memory, usize)> {
    let layout = GpuLayout::new(plan, settings, capabilities.half())?;
    let samples = settings.batch_size.min(layout.most_samples(capabilities.binding_floats)?);
    Ok((Memory::of(capabilities, &layout, settings, samples), samples))
}

/// Floats of the three scratch buffers: the most that any candidate needs.
pub fn scratch(
    capabilities: &Capabilities,
    layout: &GpuLayout,
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
pub fn partials(layout: &GpuLayout, samples: usize) -> usize {
    layout
        .steps
        .iter()
        .map(|step| match step.stage.work {
            Work::Convolution { norm: true, .. } => batch_norm::scratch(step.stage.inner, samples, layout.half),
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
