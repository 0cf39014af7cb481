//! Batch normalisation with the ReLU, and 2x2 maximum pooling where asked for, that follow it; shader
//! `batch_norm.wgsl`, twins [`reference::batch_norm`](crate::engine::cpu::reference::batch_norm), `relu` and
//! `max_pool`. Statistics are those of the micro-batch. Only z is saved for the backward pass, and becomes dz. z, y and their
//! gradients have the type of activations, f32 or f16; everything else is f32.
//!
//! Shapes are z's of one sample with its real channels. `gamma`, `beta`, their gradients and the running statistics have
//! padded channels, zero in the padding; `saved` has four times as many. No buffer may be both among those read and those
//! written by a call: running statistics, gradients, `saved` and `scratch` are written, parameters and `dy` read.

use super::chunks::{chunk, chunks, pooled, quads};
use crate::engine::gpu::plumbing::device::{Gpu, Slice};
use crate::engine::gpu::plumbing::dispatch::{Dispatch, spread};
use crate::engine::gpu::plumbing::source::Access;
use crate::engine::gpu::plumbing::source::Access::{Read, Write};
use crate::engine::gpu::plumbing::source::shader;
use crate::engine::gpu::plumbing::source::{Constant, Source};
use crate::engine::gpu::products::product_half::MOMENT_ROWS;
use crate::error::Result;
use crate::vgg::Shape;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Dims {
    height: u32,
    width: u32,
    quads: u32,
    chunk: u32,
    pooled: u32,
    unused: [u32; 3],
}

fn dims(shape: Shape, pool: bool, chunk: usize) -> Dims {
    Dims {
        height: shape.height as u32,
        width: shape.width as u32,
        quads: quads(shape.channels) as u32,
        chunk: chunk as u32,
        pooled: u32::from(pool),
        unused: [0; 3],
    }
}

fn source(gpu: &Gpu, entry: &'static str, name: &'static str, access: &'static [Access]) -> Source {
    let files = vec![shader!("shared/window"), shader!("shared/pooling"), shader!("layers/batch_norm")];
    // Invocations that join the moments of four channels: in f16 there are more chunks, and fewer bytes to wait for.
    let lanes = if gpu.half() { 256 } else { 64 };
    Source { name, files, constants: vec![("LANES", Constant::U32(lanes))], entry, access }
}

/// Pixels whose moments are kept together: in f16 those that a product can keep itself.
const fn moment_chunk(half: bool, pixels: usize) -> usize {
    if half { MOMENT_ROWS } else { chunk(pixels) }
}

/// A layer's tensors, without its gradients.
#[derive(Clone, Copy, Debug)]
pub struct Tensors<'a> {
    /// Scale.
    pub gamma: &'a Slice,
    /// Shift.
    pub beta: &'a Slice,
    /// Moves towards the mean of a training's micro-batch.
    pub running_mean: &'a Slice,
    /// Likewise.
    pub running_variance: &'a Slice,
    /// See [`saved_statistics`].
    pub saved: &'a Slice,
}

/// What a backward pass reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// What was normalised; its gradient takes its place.
    pub z: &'a Slice,
    /// Gradient of [`apply`]'s y.
    pub dy: &'a Slice,
    /// See [`saved_statistics`].
    pub saved: &'a Slice,
    /// Overwritten, or added to where the step accumulates.
    pub d_gamma: &'a Slice,
    /// Likewise.
    pub d_beta: &'a Slice,
    /// See [`scratch`].
    pub scratch: &'a Slice,
}

/// Four-byte numbers of `saved`: scale, shift, mean and inverse deviation of each channel.
pub const fn saved_statistics(channels: usize) -> usize {
    16 * quads(channels)
}

/// Four-byte numbers of scratch for batches up to `batch`, with activations in f16 where `half`; free between calls of
/// different layers.
pub const fn scratch(shape: Shape, batch: usize, half: bool) -> usize {
    let (pixels, gradients) = (shape.pixels() * batch, chunks(shape.pixels(), batch));
    let moments = pixels.div_ceil(moment_chunk(half, shape.pixels()));
    8 * quads(shape.channels) * (1 + if moments > gradients { moments } else { gradients })
}

/// Moments of chunks of z, for [`join`] in `scratch`, where the product that made z did not keep them.
pub fn moments(gpu: &Gpu, label: &str, shape: Shape, z: &Slice, scratch: &Slice) -> Result<Dispatch> {
    let (quads, chunk) = (quads(shape.channels), moment_chunk(gpu.half(), shape.pixels()));
    let source = source(gpu, "moments", "batch_norm moments", &[Read, Write]);
    let groups = move |n: usize| spread(((shape.pixels() * n).div_ceil(chunk) * quads).div_ceil(64), 1);
    gpu.dispatch(label, &source, &dims(shape, false, chunk), &[z, scratch], groups)
}

/// Mean and variance of z from the moments of its chunks: writes `saved` and moves the running statistics (by 0.1, the
/// variance unbiased).
pub fn join(gpu: &Gpu, label: &str, shape: Shape, tensors: &Tensors<'_>, scratch: &Slice) -> Result<Dispatch> {
    let Tensors { gamma, beta, running_mean, running_variance, saved } = tensors;
    let (quads, chunk) = (quads(shape.channels), moment_chunk(gpu.half(), shape.pixels()));
    let access = &[Read, Read, Write, Write, Write, Write];
    let source = source(gpu, "statistics", "batch_norm statistics", access);
    let slices = [*gamma, beta, running_mean, running_variance, saved, scratch];
    gpu.dispatch(label, &source, &dims(shape, false, chunk), &slices, move |_| [quads as u32, 1, 1])
}

/// `saved` of inference, from the running statistics.
pub fn frozen(gpu: &Gpu, label: &str, shape: Shape, tensors: &Tensors<'_>) -> Result<Dispatch> {
    let Tensors { gamma, beta, running_mean, running_variance, saved } = tensors;
    let source = source(gpu, "frozen", "batch_norm frozen", &[Read, Read, Write, Write, Write]);
    let groups = quads(shape.channels).div_ceil(64) as u32;
    let slices = [*gamma, beta, running_mean, running_variance, saved];
    gpu.dispatch(label, &source, &dims(shape, false, 0), &slices, move |_| [groups, 1, 1])
}

/// y = max(0, z * scale + shift), its 2x2 maxima where `pool`.
pub fn apply(
    gpu: &Gpu,
    label: &str,
    shape: Shape,
    pool: bool,
    z: &Slice,
    saved: &Slice,
    y: &Slice,
) -> Result<Dispatch> {
    let (entry, name, output) = if pool {
        ("normalise_pooled", "batch_norm apply, pooled", pooled(shape))
    } else {
        ("normalise", "batch_norm apply", shape)
    };
    let vectors = output.pixels() * quads(shape.channels);
    let source = source(gpu, entry, name, &[Read, Read, Write]);
    gpu.dispatch(label, &source, &dims(shape, pool, 0), &[z, saved, y], move |n| spread((n * vectors).div_ceil(64), 1))
}

/// Gradients of gamma and beta, then of z.
pub fn backward(gpu: &Gpu, label: &str, shape: Shape, pool: bool, tensors: &Gradients<'_>) -> Result<Vec<Dispatch>> {
    let Gradients { z, dy, saved, d_gamma, d_beta, scratch } = *tensors;
    let quads = quads(shape.channels);
    let output = if pool { pooled(shape) } else { shape };
    let dims = dims(shape, pool, chunk(output.pixels()));
    let sums_access: &[Access] = &[Read, Read, Read, Write];
    let input_access: &[Access] = &[Write, Read, Read, Read];
    let (sums, input, windows) = if pool {
        (
            source(gpu, "sums_pooled", "batch_norm gradient sums, pooled", sums_access),
            source(gpu, "input_gradient_pooled", "batch_norm input gradient, pooled", input_access),
            shape.height.div_ceil(2) * shape.width.div_ceil(2),
        )
    } else {
        (
            source(gpu, "sums", "batch_norm gradient sums", sums_access),
            source(gpu, "input_gradient", "batch_norm input gradient", input_access),
            shape.pixels(),
        )
    };
    let gradients = source(gpu, "gradients", "batch_norm gradients", &[Read, Write, Write, Write]);
    let chunked = move |n| spread((chunks(output.pixels(), n) * quads).div_ceil(64), 1);
    Ok(vec![
        gpu.dispatch(label, &sums, &dims, &[z, saved, dy, scratch], chunked)?,
        gpu.dispatch(label, &gradients, &dims, &[saved, d_gamma, d_beta, scratch], move |_| [quads as u32, 1, 1])?,
        gpu.dispatch(label, &input, &dims, &[z, saved, dy, scratch], move |n| {
            spread((n * windows * quads).div_ceil(64), 1)
        })?,
    ])
}
