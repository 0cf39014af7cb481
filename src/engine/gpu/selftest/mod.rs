//! Every kernel variant against its plain CPU twin, on the adapter at hand: what `vggkit selftest` prints and what the
//! tests of this crate run on a software adapter. One file an operation.
//!
//! Sizes are awkward on purpose: 1, odd, not a multiple of any tile, batch tails, not square. Outputs are filled with NaN
//! beforehand, so that a number that was never written shows. On a device that is opened for f16, activations are f16 in
//! memory, and so are those that the twin gets.

mod average;
mod average_pool;
mod batch_norm;
mod convolution;
mod cross_entropy;
mod dropout;
pub(crate) mod gather;
mod gradient_norm;
mod local_response_normalisation;
mod loss_scaling;
mod max_pool;
mod optimizer;
mod relu;
mod winograd;

use half::f16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::device::{Gpu, Slice, Step};
use super::dispatch::Dispatch;
use crate::engine::cpu::reference::to_half;
use crate::error::Result;
use crate::vgg::Shape;

/// One comparison.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Check {
    /// The shader's stem, e.g. `convolution`.
    pub operation: &'static str,
    /// Pass and variant, e.g. `forward, tiled 64x64`.
    pub variant: String,
    /// Sizes and settings.
    pub sizes: String,
    /// ||ours - twin|| / ||twin||; infinite where a number is missing or NaN.
    pub error: f64,
    /// At most.
    pub allowed: f64,
}

impl Check {
    /// Whether it is close enough.
    pub fn passed(&self) -> bool {
        self.error <= self.allowed
    }
}

/// Makes the comparisons of one operation, telling each result as it comes.
type Checks = fn(&Gpu, &mut dyn FnMut(Check)) -> Result<()>;

/// What is checked, in this order.
const OPERATIONS: [(&str, Checks); 14] = [
    ("convolution", convolution::checks),
    ("winograd", winograd::checks),
    ("batch_norm", batch_norm::checks),
    ("relu", relu::checks),
    ("max_pool", max_pool::checks),
    ("average_pool", average_pool::checks),
    ("local_response_normalisation", local_response_normalisation::checks),
    ("dropout", dropout::checks),
    ("cross_entropy", cross_entropy::checks),
    ("optimizer", optimizer::checks),
    ("loss_scaling", loss_scaling::checks),
    ("gradient_norm", gradient_norm::checks),
    ("average", average::checks),
    ("gather", gather::checks),
];

/// Names of all operations.
pub fn operations() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|(name, _)| *name)
}

/// Runs everything, telling each result as it comes. Errors: the device fails.
pub fn run(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    operations().try_for_each(|operation| run_only(gpu, operation, tell))
}

/// The same for one of [`operations`].
pub fn run_only(gpu: &Gpu, operation: &str, tell: &mut dyn FnMut(Check)) -> Result<()> {
    let mut told = |mut check: Check| {
        if gpu.half() {
            check.variant.push_str(", f16 in memory");
        }
        tell(check);
    };
    let mut named = OPERATIONS.iter().filter(|(name, _)| *name == operation);
    named.try_for_each(|(_, checks)| checks(gpu, &mut told))
}

/// `count` numbers from -1 to 1.
pub(super) fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| generator.random_range(-1.0..1.0)).collect()
}

/// ||a - b|| / ||b|| in f64, infinite for different lengths or anything that is not finite; against zeros, ||a||.
pub(super) fn distance(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() || a.iter().any(|v| !v.is_finite()) {
        return f64::INFINITY;
    }
    let square = |v: f64| v * v;
    let difference: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let norm: f64 = b.iter().map(|v| square(f64::from(*v))).sum();
    if norm == 0.0 { difference.sqrt() } else { (difference / norm).sqrt() }
}

/// [.., channels] with zeros up to a multiple of four channels, as the device has it.
pub(super) fn padded(values: &[f32], channels: usize) -> Vec<f32> {
    let width = channels.next_multiple_of(4);
    let mut to = vec![0.0; values.len() / channels * width];
    for (to, from) in to.chunks_exact_mut(width).zip(values.chunks_exact(channels)) {
        to[..channels].copy_from_slice(from);
    }
    to
}

/// The other way round. Padding that is not zero becomes NaN, so that it fails the comparison.
pub(super) fn unpadded(values: &[f32], channels: usize) -> Vec<f32> {
    let pixels = values.chunks_exact(channels.next_multiple_of(4));
    pixels
        .flat_map(|pixel| {
            let clean = pixel[channels..].iter().all(|v| *v == 0.0);
            pixel[..channels].iter().map(move |v| if clean { *v } else { f32::NAN })
        })
        .collect()
}

/// A buffer of `floats` NaN.
pub(super) fn unwritten(gpu: &Gpu, floats: usize) -> Result<Slice> {
    gpu.upload("output", &vec![f32::NAN; floats])
}

/// `values` as the device has activations in memory: as they are, or rounded to f16.
pub(super) fn stored(gpu: &Gpu, values: Vec<f32>) -> Vec<f32> {
    if gpu.half() { to_half(&values) } else { values }
}

/// A buffer of activations.
pub(super) fn activations(gpu: &Gpu, label: &str, values: &[f32]) -> Result<Slice> {
    let words = gpu.capabilities().words(values.len());
    let slice = gpu.buffer(label, words)?.part(0, words);
    write_activations(gpu, &slice, values)?;
    Ok(slice)
}

/// Overwrites activations.
pub(super) fn write_activations(gpu: &Gpu, slice: &Slice, values: &[f32]) -> Result<()> {
    match gpu.half() {
        true => gpu.write(slice, &values.iter().map(|v| f16::from_f32(*v).to_bits()).collect::<Vec<u16>>()),
        false => gpu.write(slice, values),
    }
    gpu.check()
}

/// A buffer of `numbers` activations that are NaN.
pub(super) fn unwritten_activations(gpu: &Gpu, numbers: usize) -> Result<Slice> {
    activations(gpu, "output", &vec![f32::NAN; numbers])
}

/// Activations read back.
pub(super) fn read_activations(gpu: &Gpu, slice: &Slice) -> Result<Vec<f32>> {
    match gpu.half() {
        true => Ok(gpu.read::<u16>(slice)?.iter().map(|bits| f16::from_bits(*bits).to_f32()).collect()),
        false => gpu.read(slice),
    }
}

/// How far activations may be from a twin that is rounded as they are ([`stored`]) where they may be `allowed` apart before
/// that. An f32 error of 3e-7 sends one number in some thousand to the other of two f16, at most 2^-10 away: 3e-5 in the L2
/// norm. A rounding too many or too few would show with 2e-4.
pub(super) fn rounding(gpu: &Gpu, allowed: f64) -> f64 {
    if gpu.half() && allowed > 0.0 { f64::max(allowed, 1e-4) } else { allowed }
}

/// Runs `calls` for `samples` samples of a batch of as many, with what `step` says besides.
pub(super) fn execute(gpu: &Gpu, calls: &[Dispatch], samples: usize, step: Step) -> Result<()> {
    gpu.write_step(Step { samples: samples as u32, batch: samples as u32, ..step });
    gpu.submit([calls], samples, &[]);
    gpu.check()
}

/// Runs `calls` with exactly `step`: a micro-batch.
pub(super) fn execute_part(gpu: &Gpu, calls: &[Dispatch], step: Step) -> Result<()> {
    gpu.write_step(step);
    gpu.submit([calls], step.samples as usize, &[]);
    gpu.check()
}

/// For a twin in f64.
pub(super) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// What a twin in f64 came to.
#[expect(clippy::cast_possible_truncation, reason = "rounded once")]
pub(super) fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

/// The greatest error, of which none hides a number that is not one.
pub(super) fn worst(errors: &[f64]) -> f64 {
    errors.iter().fold(0.0, |worst, e| if e.is_nan() { f64::INFINITY } else { f64::max(worst, *e) })
}

/// `samples` maps of `shape`.
pub(super) fn sizes(shape: Shape, samples: usize) -> String {
    format!("{samples} x {} x {} x {}", shape.height, shape.width, shape.channels)
}

/// Multiples of a quarter from -1 to 1: full of zeros and of windows with several maxima.
pub(super) fn coarse(seed: u64, count: usize) -> Vec<f32> {
    values(seed, count).into_iter().map(|v| (v * 4.0).round() / 4.0).collect()
}
