//! What a device has memory for: how many samples of a batch at once, and whether all images.

use super::layers::gather::{Gallery, Residence};
use super::network::GpuNetwork;
use super::plumbing::device::{Gpu, Slice};
use super::{Fault, Options};
use super::{layout, memory};
use crate::engine::{Images, Settings, Source, State};
use crate::error::{Error, Kind, Result};
use crate::vgg::Plan;

/// How many samples at once are asked for.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// So many, or as many as fit.
    AtMost(usize),
    /// So many, as peers have too.
    Exactly(usize),
}

/// A network for so many samples at once as are wanted, or for halves of them where fewer will do.
pub fn fit(
    gpu: &Gpu,
    plan: &Plan,
    settings: &Settings,
    state: &State,
    wanted: Wanted,
    metrics: &Slice,
) -> Result<GpuNetwork> {
    let tell = |line: &str| gpu.options.tell.iter().for_each(|tell| tell(line));
    let layout = layout::of(plan, settings, gpu.half())?;
    let batch = settings.batch_size;
    let (Wanted::AtMost(samples) | Wanted::Exactly(samples)) = wanted;
    let (mut samples, exactly) = (samples.clamp(1, batch), matches!(wanted, Wanted::Exactly(_)));
    let most = layout::most_samples(&layout, gpu.binding_floats())?;
    if exactly && samples > most {
        return Err(Error::new(
            Kind::Engine,
            format!("micro-batches of {samples} are beyond what this adapter can bind"),
        )
        .with_help(format!("begin a run with a --micro-batch of at most {most}, or train with --engine cpu")));
    }
    samples = samples.min(most);
    let planned = |samples| memory::planned(&gpu.capabilities(), &layout, settings, samples);
    loop {
        if !exactly {
            samples = batch.div_ceil(batch.div_ceil(samples)); // parts of about the same size
        }
        let memory = planned(samples);
        tell(&format!("{}: {}", gpu.found.info.name, memory::sentence(&memory, samples, batch)));
        let before = gpu.allocated();
        match GpuNetwork::new(gpu, plan, layout.clone(), settings, state, samples, metrics) {
            Err(error) if error.kind() == Kind::OutOfMemory && samples > 1 && exactly => {
                return Err(error.with_help(format!(
                    "begin a run with a --micro-batch below {samples}, or go on with --engine cpu or a larger card"
                )));
            }
            Err(error) if error.kind() == Kind::OutOfMemory && samples > 1 => {
                tell(&format!("{error}; trying smaller micro-batches"));
                gpu.released(gpu.allocated() - before);
                samples = samples.div_ceil(2);
            }
            Err(error) if error.kind() == Kind::OutOfMemory => {
                let least = planned(1).total() >> 20;
                return Err(error.with_help(format!(
                    "even one image at a time needs {least} MiB on this card: choose a smaller --width or smaller images \
                     (-i), or train with --engine cpu"
                )));
            }
            other => return other,
        }
    }
}

/// Puts images on the device for a network that sees them in `size`, or makes room there for those of a batch, which travel with it.
pub fn place(
    gpu: &Gpu,
    (source, images): (Source, &Images),
    size: usize,
    settings: &Settings,
    options: &Options,
) -> Result<Gallery> {
    let place = |residence| {
        let before = gpu.allocated();
        let gallery = Gallery::new(gpu, images, size, &settings.normalisation, residence);
        if gallery.is_err() {
            gpu.released(gpu.allocated() - before);
        }
        gallery
    };
    let resident = match options.fault {
        Some(Fault::Images) => Err(Error::new(Kind::OutOfMemory, "no room for images")),
        _ => place(Residence::Device { enhanced: settings.most_enhanced(source) }),
    };
    match resident {
        Err(error) if error.kind() == Kind::OutOfMemory => {
            let line = "the images do not fit on the device: those of each batch travel with it";
            options.tell.iter().for_each(|tell| tell(line));
            place(Residence::Streamed { batch: settings.batch_size })
        }
        other => other,
    }
}
