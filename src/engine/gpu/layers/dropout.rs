//! ReLU and inverted dropout of hidden linear layers; shader `dropout.wgsl`, twins
//! [`DropoutMask`](crate::engine::random::DropoutMask) and `engine::cpu::linear`. Masks are those of the CPU, bit by bit,
//! for batches below 2^32 elements; they are drawn anew where they are needed, and stored nowhere.

use super::chunks::quads;
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
    features: u32,
    quads: u32,
    layer: u32,
    threshold: u32,
    scale: f32,
    unused: [u32; 3],
}

/// `probability` lies in 0 .. 1, 1 left out.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2^32; rounded once")]
fn dims(shape: Shape, layer: usize, probability: f32) -> Dims {
    let probability = f64::from(probability.clamp(0.0, 1.0));
    Dims {
        features: shape.elements() as u32,
        quads: quads(shape.elements()) as u32,
        layer: layer as u32,
        threshold: (probability * 4_294_967_296.0).round() as u32,
        scale: (1.0 / (1.0 - probability)) as f32,
        unused: [0; 3],
    }
}

fn record(
    gpu: &Gpu,
    label: &str,
    entry: &'static str,
    name: &'static str,
    dims: Dims,
    (slices, access): (&[&Slice], &'static [Access]),
) -> Result<Dispatch> {
    let files = vec![shader!("shared/window"), shader!("layers/dropout")];
    let source = Source { name, files, constants: Vec::new(), entry, access };
    let quads = dims.quads as usize;
    gpu.dispatch(label, &source, &dims, slices, move |n| spread((n * quads).div_ceil(64), 1))
}

/// y [n, features] = max(0, y), then dropout; in place. `layer` is the dropout's index into `Plan::layers`. Where nothing is
/// dropped, the product that makes y takes the ReLU on itself.
pub fn forward(gpu: &Gpu, label: &str, shape: Shape, layer: usize, probability: f32, y: &Slice) -> Result<Dispatch> {
    record(gpu, label, "forward", "dropout forward", dims(shape, layer, probability), (&[y], &[Write]))
}

/// dy ahead of [`forward`], in place, from its result y.
pub fn backward(gpu: &Gpu, label: &str, shape: Shape, probability: f32, y: &Slice, dy: &Slice) -> Result<Dispatch> {
    record(gpu, label, "backward", "dropout backward", dims(shape, 0, probability), (&[y, dy], &[Read, Write]))
}
