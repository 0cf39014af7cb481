//! Local response normalisation across channels, with the paper's constants; shader `local_response_normalisation.wgsl`,
//! twin [`reference::local_response_normalisation`](crate::engine::cpu::reference::local_response_normalisation).
//! Counts on padding that is zero, in dy too, and leaves it zero.

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
    shape: Shape,
    slices: &[&Slice],
    access: &'static [Access],
) -> Result<Dispatch> {
    let files = vec![shader!("layers/local_response_normalisation")];
    let source = Source { name, files, constants: Vec::new(), entry, access };
    let vectors = shape.pixels() * quads(shape.channels);
    let dims = [shape.pixels() as u32, quads(shape.channels) as u32, 0, 0];
    gpu.dispatch(label, &source, &dims, slices, move |n| spread((n * vectors).div_ceil(64), 1))
}

/// y from x.
pub fn forward(gpu: &Gpu, label: &str, shape: Shape, x: &Slice, y: &Slice) -> Result<Dispatch> {
    let what = ("forward", "local_response_normalisation forward");
    record(gpu, label, what, shape, &[x, y], &[Read, Write])
}

/// dx from x and dy; overwritten.
pub fn backward(gpu: &Gpu, label: &str, shape: Shape, x: &Slice, dy: &Slice, dx: &Slice) -> Result<Dispatch> {
    let what = ("backward", "local_response_normalisation backward");
    record(gpu, label, what, shape, &[x, dy, dx], &[Read, Read, Write])
}
