//! The GPU engine: every operation of a training step as a WGSL compute shader, through wgpu (Vulkan, Metal, DX12).
//!
//! From the device upwards: `adapter` finds and chooses one, `device` owns it with its buffers, `program` turns shader
//! files into pipelines, `dispatch` is one recorded call. Above them one file an operation, with the stem of its shader
//! and of its CPU twin in [`reference`](super::cpu::reference); `layout` and `network` put them into a step, `engine`
//! behind the contract. Knows nothing of files: what it keeps between runs goes through [`Store`].
//!
//! Activations are NHWC, f32 or with `--precision f16` f16, with **channels padded to a multiple of four** by zeros that stay
//! zero, so that every kernel reads and writes whole vectors of four: a `Quad` in the shaders.

pub mod adapter;
pub mod average;
pub mod average_pool;
pub mod batch_norm;
mod buffers;
pub mod capabilities;
mod chosen;
pub mod chunks;
pub mod convolution;
pub mod cross_entropy;
pub mod device;
pub mod dispatch;
pub mod dropout;
mod engine;
pub mod gather;
pub mod gradient_norm;
mod layout;
pub mod limits;
pub mod listing;
pub mod local_response_normalisation;
pub mod loss_scaling;
pub mod max_pool;
mod memory;
mod metrics;
mod network;
pub mod operands;
pub mod optimizer;
pub mod precision;
pub mod product;
pub mod product_half;
pub mod profile;
mod program;
mod readback;
mod record;
pub mod reduce;
pub mod relu;
pub mod selftest;
mod snapshot;
pub mod source;
pub mod tuning;
pub mod variant;
pub mod winograd;

pub use device::{Gpu, Slice};
pub use engine::GpuEngine;
pub use memory::{Memory, of as memory_of};

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
    /// Part of an adapter's name, or its index in [`adapter::list`]; `None` for the fastest hardware.
    pub adapter: Option<String>,
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
