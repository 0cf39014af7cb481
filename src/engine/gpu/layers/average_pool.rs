//! Adaptive average pooling, flattened channel first as torchvision's linear weights have it; shader
//! `average_pool.wgsl`, twin [`reference::average_pool`](crate::engine::cpu::reference::average_pool).

use super::chunks::quads;
use crate::engine::gpu::plumbing::device::{Gpu, Slice};
use crate::engine::gpu::plumbing::dispatch::{Dispatch, spread};
use crate::engine::gpu::plumbing::source::Access;
use crate::engine::gpu::plumbing::source::Access::{Read, Write};
use crate::engine::gpu::plumbing::source::Source;
use crate::engine::gpu::plumbing::source::shader;
use crate::error::Result;
use crate::vgg::Shape;

fn record(
    gpu: &Gpu,
    label: &str,
    (entry, name): (&'static str, &'static str),
    (shape, size): (Shape, usize),
    vectors: usize,
    slices: [&Slice; 2],
) -> Result<Dispatch> {
    const ACCESS: &[Access] = &[Read, Write];
    let files = vec![shader!("layers/average_pool")];
    let source = Source { name, files, constants: Vec::new(), entry, access: ACCESS };
    let dims = [shape.height, shape.width, shape.channels, size].map(|v| v as u32);
    gpu.dispatch(label, &source, &dims, &slices, move |n| spread((n * vectors).div_ceil(64), 1))
}

/// y [n, channels * size * size, padded to four] = averages of x [n, height, width, channels]; `shape` is x's.
pub fn forward(gpu: &Gpu, label: &str, shape: Shape, size: usize, x: &Slice, y: &Slice) -> Result<Dispatch> {
    let vectors = quads(shape.channels * size * size);
    record(gpu, label, ("forward", "average_pool forward"), (shape, size), vectors, [x, y])
}

/// dx from dy; overwritten.
pub fn backward(gpu: &Gpu, label: &str, shape: Shape, size: usize, dy: &Slice, dx: &Slice) -> Result<Dispatch> {
    let vectors = shape.pixels() * quads(shape.channels);
    record(gpu, label, ("backward", "average_pool backward"), (shape, size), vectors, [dy, dx])
}
