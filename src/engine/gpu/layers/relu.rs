//! ReLU, with 2x2 maximum pooling where asked for, in networks without batch normalisation, and the gradient of a bias;
//! shader `relu.wgsl`, twins [`reference::relu`](crate::engine::cpu::reference::relu) and `max_pool`.
//!
//! Shapes are those of one sample of z with its real channels; a linear layer's is 1 x 1 x features.

use super::chunks::{chunk, chunks, pooled, quads};
use crate::engine::gpu::plumbing::device::{Gpu, Slice};
use crate::engine::gpu::plumbing::dispatch::{Dispatch, spread};
use crate::engine::gpu::plumbing::source::Access;
use crate::engine::gpu::plumbing::source::Access::{Read, Write};
use crate::engine::gpu::plumbing::source::Source;
use crate::engine::gpu::plumbing::source::shader;
use crate::error::Result;
use crate::vgg::Shape;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Dims {
    height: u32,
    width: u32,
    quads: u32,
    chunk: u32,
}

fn dims(shape: Shape) -> Dims {
    Dims {
        height: shape.height as u32,
        width: shape.width as u32,
        quads: quads(shape.channels) as u32,
        chunk: chunk(shape.pixels()) as u32,
    }
}

fn source(entry: &'static str, name: &'static str, access: &'static [Access]) -> Source {
    let files = vec![shader!("shared/window"), shader!("shared/pooling"), shader!("layers/relu")];
    Source { name, files, constants: Vec::new(), entry, access }
}

/// y = max(0, z), its 2x2 maxima where `pool`. NaN passes through.
pub fn forward(gpu: &Gpu, label: &str, shape: Shape, pool: bool, z: &Slice, y: &Slice) -> Result<Dispatch> {
    let (entry, name, output) = if pool {
        ("forward_pooled", "relu forward, pooled", pooled(shape))
    } else {
        ("forward", "relu forward", shape)
    };
    let vectors = output.pixels() * quads(shape.channels);
    let source = source(entry, name, &[Read, Write]);
    gpu.dispatch(label, &source, &dims(shape), &[z, y], move |n| spread((n * vectors).div_ceil(64), 1))
}

/// dz in the place of z, from dy, the gradient of [`forward`]'s y.
pub fn backward(gpu: &Gpu, label: &str, shape: Shape, pool: bool, z: &Slice, dy: &Slice) -> Result<Dispatch> {
    let (entry, name, windows) = if pool {
        ("backward_pooled", "relu backward, pooled", shape.height.div_ceil(2) * shape.width.div_ceil(2))
    } else {
        ("backward", "relu backward", shape.pixels())
    };
    let vectors = windows * quads(shape.channels);
    let source = source(entry, name, &[Write, Read]);
    gpu.dispatch(label, &source, &dims(shape), &[z, dy], move |n| spread((n * vectors).div_ceil(64), 1))
}

/// Four-byte numbers of scratch that [`bias_gradient`] needs for batches up to `batch`.
pub const fn scratch(shape: Shape, batch: usize) -> usize {
    4 * quads(shape.channels) * chunks(shape.pixels(), batch)
}

/// d_bias = sum of dz over all pixels of the micro-batch; overwritten, or added to where the step accumulates.
pub fn bias_gradient(
    gpu: &Gpu,
    label: &str,
    shape: Shape,
    dz: &Slice,
    d_bias: &Slice,
    scratch: &Slice,
) -> Result<Vec<Dispatch>> {
    let (dims, quads) = (dims(shape), quads(shape.channels));
    let sums = source("bias_sums", "relu bias sums", &[Read, Write]);
    let join = source("bias_gradient", "relu bias gradient", &[Read, Write]);
    let chunked = move |n| spread((chunks(shape.pixels(), n) * quads).div_ceil(64), 1);
    Ok(vec![
        gpu.dispatch(label, &sums, &dims, &[dz, scratch], chunked)?,
        gpu.dispatch(label, &join, &dims, &[scratch, d_bias], move |_| spread(quads, 1))?,
    ])
}
