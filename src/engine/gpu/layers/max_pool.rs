//! 2x2 maxima where no ReLU goes right before, as after local response normalisation; shader `max_pool.wgsl`, twin
//! [`reference::max_pool`](crate::engine::cpu::reference::max_pool).

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
    entry: &'static str,
    name: &'static str,
    shape: Shape,
    windows: usize,
    (slices, access): (&[&Slice], &'static [Access]),
) -> Result<Dispatch> {
    let files = vec![shader!("shared/pooling"), shader!("layers/max_pool")];
    let source = Source { name, files, constants: Vec::new(), entry, access };
    let quads = quads(shape.channels);
    let dims = [shape.height as u32, shape.width as u32, quads as u32, 0];
    gpu.dispatch(label, &source, &dims, slices, move |n| spread((n * windows * quads).div_ceil(64), 1))
}

/// y [n, height/2, width/2, channels] = maxima of x [n, height, width, channels]; `shape` is x's.
pub fn forward(gpu: &Gpu, label: &str, shape: Shape, x: &Slice, y: &Slice) -> Result<Dispatch> {
    let windows = (shape.height / 2) * (shape.width / 2);
    record(gpu, label, "forward", "max_pool forward", shape, windows, (&[x, y], &[Read, Write]))
}

/// dx: dy where x was the maximum, 0 elsewhere; overwritten.
pub fn backward(gpu: &Gpu, label: &str, shape: Shape, x: &Slice, dy: &Slice, dx: &Slice) -> Result<Dispatch> {
    let windows = shape.height.div_ceil(2) * shape.width.div_ceil(2);
    record(gpu, label, "backward", "max_pool backward", shape, windows, (&[x, dy, dx], &[Read, Read, Write]))
}
