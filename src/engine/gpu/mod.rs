//! The GPU engine: every operation of a training step as a WGSL compute shader, through wgpu (Vulkan, Metal, DX12).
//!
//! From the device upwards: [`plumbing`] is what wgpu is asked for, [`products`] the matrix products, [`layers`] all other operations,
//! one file each with the stem of its shader, of its comparison in [`selftest`] and of its CPU twin in
//! [`reference`](super::cpu::reference). Beside this file: `layout` and `memory` plan without a device, `network` owns `buffers` and
//! calls, `record` makes the calls of a stage, `engine` is the contract, with `fitting`, `metrics`, `sharing` and
//! `snapshot`; `chosen` and [`tuning`] are
//! which variants a stage has, [`profile`] and [`limits`] measure, [`listing`] is an inference as data.
//! Knows nothing of files: what it keeps between runs goes through [`Store`].
//!
//! Activations are NHWC, f32 or with `--precision f16` f16, with **channels padded to a multiple of four** by zeros that stay
//! zero, so that every kernel reads and writes whole vectors of four: a `Quad` in the shaders.
//!
//! **To add** a layer: the top of [`layers`]; a way to compute products: that of [`products`].

mod buffers;
mod chosen;
mod engine;
mod fitting;
pub mod layers;
mod layout;
pub mod limits;
pub mod listing;
mod memory;
mod metrics;
mod network;
pub mod plumbing;
pub mod products;
pub mod profile;
mod record;
pub mod selftest;
mod sharing;
mod snapshot;
pub mod tuning;

pub use engine::GpuEngine;
pub use memory::of as memory_of;
pub use plumbing::device::{Gpu, Slice};

use std::sync::Arc;

use super::Precision;

/// Bytes kept from one run to the next under a name: tuned variants, compiled pipelines. Losing them costs time only.
pub trait Store: Send + Sync {
    /// What was kept, if it can be read.
    fn load(&self, name: &str) -> Option<Vec<u8>>;
    /// Keeps it; a failure is not an error.
    fn save(&self, name: &str, bytes: &[u8]);
}

/// Takes a line for people.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// What a user chooses of the GPU engine, besides [`Settings`](super::Settings).
#[derive(Clone, Default)]
pub struct Options {
    /// Part of an adapter's name, or its index in [`plumbing::adapter::list`]; `None` for the fastest hardware.
    pub adapter: Option<String>,
    /// Without a name: which of several cards of the fastest kind, counted round from 0.
    pub turn: usize,
    /// Of products; f16 needs matrix units, or a software device, which emulates them.
    pub precision: Precision,
    /// At most as many samples at once; `None` for as many of a batch as fit.
    pub micro_batch: Option<usize>,
    /// Measures which variants are fastest; without, the first that the device can run are taken.
    pub tune: bool,
    /// Is told what takes long or was decided: the memory plan, a measurement, smaller batches.
    pub tell: Option<Tell>,
    /// Where tuned variants and compiled pipelines are kept.
    pub store: Option<Arc<dyn Store>>,
    /// Keeps the driver's bounds checks in every shader, to find errors in them.
    pub checked: bool,
    /// A failure to provoke, for tests.
    pub fault: Option<Fault>,
}

/// Failures of drivers and devices that cannot be waited for, provoked to see what they lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device is lost while this step (from 1) is being done.
    Lost(u64),
    /// The device is lost ahead of this submission (from 1), whatever it is for.
    Submission(u64),
    /// Step `.0` never ends, as far as the engine can see.
    Hang(u64),
    /// No buffer beyond this many bytes in all.
    Memory(u64),
    /// No room for images.
    Images,
    /// The driver rejects the shader whose name has this index among those that are built.
    Shader(usize),
}

impl Fault {
    /// `lost:STEP`, `submission:NUMBER`, `hang:STEP`, `memory:BYTES`, `images:0` or `shader:INDEX`.
    pub fn parse(text: &str) -> Option<Self> {
        let (what, number) = text.split_once(':')?;
        match what {
            "lost" => number.parse().ok().map(Self::Lost),
            "submission" => number.parse().ok().map(Self::Submission),
            "hang" => number.parse().ok().map(Self::Hang),
            "memory" => number.parse().ok().map(Self::Memory),
            "images" => Some(Self::Images),
            "shader" => number.parse().ok().map(Self::Shader),
            _ => None,
        }
    }
}
