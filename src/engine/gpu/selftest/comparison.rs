//! What all comparisons are made of: numbers, buffers, distances, and one that was made.

use half::f16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::engine::cpu::reference::to_half;
use crate::engine::gpu::plumbing::device::{Gpu, Slice};
use crate::engine::gpu::plumbing::dispatch::Dispatch;
use crate::engine::gpu::plumbing::step::StepUniform;
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

/// `count` numbers from -1 to 1.
pub fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| generator.random_range(-1.0..1.0)).collect()
}

/// ||a - b|| / ||b|| in f64, infinite for different lengths or anything that is not finite; against zeros, ||a||.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() || a.iter().any(|v| !v.is_finite()) {
        return f64::INFINITY;
    }
    let square = |v: f64| v * v;
    let difference: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let norm: f64 = b.iter().map(|v| square(f64::from(*v))).sum();
    if norm == 0.0 { difference.sqrt() } else { (difference / norm).sqrt() }
}

/// [.., channels] with zeros up to a multiple of four channels, as the device has it.
pub fn padded(values: &[f32], channels: usize) -> Vec<f32> {
    let width = channels.next_multiple_of(4);
    let mut to = vec![0.0; values.len() / channels * width];
    for (to, from) in to.chunks_exact_mut(width).zip(values.chunks_exact(channels)) {
        to[..channels].copy_from_slice(from);
    }
    to
}

/// The other way round. Padding that is not zero becomes NaN, so that it fails the comparison.
pub fn unpadded(values: &[f32], channels: usize) -> Vec<f32> {
    let pixels = values.chunks_exact(channels.next_multiple_of(4));
    pixels
        .flat_map(|pixel| {
            let clean = pixel[channels..].iter().all(|v| *v == 0.0);
            pixel[..channels].iter().map(move |v| if clean { *v } else { f32::NAN })
        })
        .collect()
}

/// A buffer of `floats` NaN.
pub fn unwritten(gpu: &Gpu, floats: usize) -> Result<Slice> {
    gpu.upload("output", &vec![f32::NAN; floats])
}

/// `values` as the device has activations in memory: as they are, or rounded to f16.
pub fn stored(gpu: &Gpu, values: Vec<f32>) -> Vec<f32> {
    if gpu.half() { to_half(&values) } else { values }
}

/// A buffer of activations.
pub fn activations(gpu: &Gpu, label: &str, values: &[f32]) -> Result<Slice> {
    let words = gpu.capabilities().words(values.len());
    let slice = gpu.buffer(label, words)?.part(0, words);
    write_activations(gpu, &slice, values)?;
    Ok(slice)
}

/// Overwrites activations.
pub fn write_activations(gpu: &Gpu, slice: &Slice, values: &[f32]) -> Result<()> {
    match gpu.half() {
        true => gpu.write(slice, &values.iter().map(|v| f16::from_f32(*v).to_bits()).collect::<Vec<u16>>()),
        false => gpu.write(slice, values),
    }
    gpu.check()
}

/// A buffer of `numbers` activations that are NaN.
pub fn unwritten_activations(gpu: &Gpu, numbers: usize) -> Result<Slice> {
    activations(gpu, "output", &vec![f32::NAN; numbers])
}

/// Activations read back.
pub fn read_activations(gpu: &Gpu, slice: &Slice) -> Result<Vec<f32>> {
    match gpu.half() {
        true => Ok(gpu.read::<u16>(slice)?.iter().map(|bits| f16::from_bits(*bits).to_f32()).collect()),
        false => gpu.read(slice),
    }
}

/// How far activations may be from a twin that is rounded as they are ([`stored`]) where they may be `allowed` apart before
/// that. An f32 error of 3e-7 sends one number in some thousand to the other of two f16, at most 2^-10 away: 3e-5 in the L2
/// norm. A rounding too many or too few would show with 2e-4.
pub fn rounding(gpu: &Gpu, allowed: f64) -> f64 {
    if gpu.half() && allowed > 0.0 { f64::max(allowed, 1e-4) } else { allowed }
}

/// Runs `calls` for `samples` samples of a batch of as many, with what `step` says besides.
pub fn execute(gpu: &Gpu, calls: &[Dispatch], samples: usize, step: StepUniform) -> Result<()> {
    gpu.write_step(StepUniform { samples: samples as u32, batch: samples as u32, ..step });
    gpu.submit([calls], samples, &[]);
    gpu.check()
}

/// Runs `calls` with exactly `step`: a micro-batch.
pub fn execute_part(gpu: &Gpu, calls: &[Dispatch], step: StepUniform) -> Result<()> {
    gpu.write_step(step);
    gpu.submit([calls], step.samples as usize, &[]);
    gpu.check()
}

/// For a twin in f64.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// What a twin in f64 came to.
#[expect(clippy::cast_possible_truncation, reason = "rounded once")]
pub fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

/// The greatest error, of which none hides a number that is not one.
pub fn worst(errors: &[f64]) -> f64 {
    errors.iter().fold(0.0, |worst, e| if e.is_nan() { f64::INFINITY } else { f64::max(worst, *e) })
}

/// `samples` maps of `shape`.
pub fn sizes(shape: Shape, samples: usize) -> String {
    format!("{samples} x {} x {} x {}", shape.height, shape.width, shape.channels)
}

/// Multiples of a quarter from -1 to 1: full of zeros and of windows with several maxima.
pub fn coarse(seed: u64, count: usize) -> Vec<f32> {
    values(seed, count).into_iter().map(|v| (v * 4.0).round() / 4.0).collect()
}
