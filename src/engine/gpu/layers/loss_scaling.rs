//! Dynamic loss scaling of a training in f16, wholly on the device; shader `loss_scaling.wgsl`, twin
//! [`reference::loss_scaling`](crate::engine::cpu::reference::loss_scaling), source torch.amp.GradScaler. What the optimiser
//! makes of it stands in `optimizer_scaled.wgsl`.

use crate::engine::gpu::plumbing::device::{Gpu, Slice};
use crate::engine::gpu::plumbing::dispatch::{Dispatch, spread};
use crate::engine::gpu::plumbing::source::Access;
use crate::engine::gpu::plumbing::source::Access::{Read, Write};
use crate::engine::gpu::plumbing::source::Source;
use crate::engine::gpu::plumbing::source::shader;
use crate::engine::{LossScaling, Optimizer};
use crate::error::Result;

/// `struct Scaling` of the shaders.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Record {
    scale: f32,
    good: u32,
    skipped: u32,
    found: u32,
    inverse: f32,
    skip: u32,
    step_size: f32,
    root_correction: f32,
    factor: f32,
}

/// `struct Scaling`, for shaders that read it.
pub(in crate::engine::gpu) const RECORD: &str = shader!("shared/scaling");

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Dims {
    count: u32,
    interval: u32,
    log_beta1: f32,
    log_beta2: f32,
}

/// The buffer that the others take, also where gradients are clipped and no loss is scaled: by 1, then. [`write`] comes before
/// its first use.
pub fn buffer(gpu: &Gpu) -> Result<Slice> {
    gpu.buffer("loss scaling", size_of::<Record>() / 4)
}

/// Puts a state in.
pub fn write(gpu: &Gpu, scaling: &Slice, state: &LossScaling) {
    let LossScaling { scale, good_steps, skipped_steps } = *state;
    let record = Record {
        scale,
        good: good_steps,
        skipped: skipped_steps,
        found: 0,
        inverse: 1.0 / scale,
        skip: 0,
        step_size: 0.0,
        root_correction: 1.0,
        factor: 1.0 / scale,
    };
    gpu.write(scaling, &[record]);
}

/// The state, and what gradients of the last step are multiplied by to take the scale out.
pub fn read(gpu: &Gpu, scaling: &Slice) -> Result<(LossScaling, f32)> {
    Ok(parse(&gpu.read(scaling)?))
}

/// [`read`] of what the buffer held.
pub fn parse(values: &[f32]) -> (LossScaling, f32) {
    let record: Record = bytemuck::pod_read_unaligned(bytemuck::cast_slice(values));
    let Record { scale, good, skipped, inverse, .. } = record;
    (LossScaling { scale, good_steps: good, skipped_steps: skipped }, inverse)
}

/// `d_logits` = `unscaled` (f32) times the scale, both [samples, width] with `width` a multiple of four, rounded to what
/// activations are.
pub fn scale(gpu: &Gpu, width: usize, unscaled: &Slice, d_logits: &Slice, scaling: &Slice) -> Result<Dispatch> {
    let dims = Dims { count: (width / 4) as u32, interval: 0, log_beta1: 0.0, log_beta2: 0.0 };
    let source = source("scale", "loss_scaling scale", &[Write, Read, Write]);
    let slices = [scaling, unscaled, d_logits];
    gpu.dispatch("loss scale", &source, &dims, &slices, move |n| spread((n * width).div_ceil(256), 1))
}

/// Looks for numbers in `gradients` that are not finite, then says what the optimiser is to do with them and moves the
/// scale, which is doubled after `interval` updates.
#[expect(clippy::cast_possible_truncation, reason = "rounded once; counts are below 2^32")]
pub fn decide(
    gpu: &Gpu,
    optimizer: &Optimizer,
    interval: u32,
    gradients: &Slice,
    scaling: &Slice,
) -> Result<Vec<Dispatch>> {
    let logarithm = |beta: f64| beta.ln().max(-1e4) as f32; // that of 0 is infinite
    let (log_beta1, log_beta2) = match *optimizer {
        Optimizer::Adam { beta1, beta2, .. } | Optimizer::AdamW { beta1, beta2, .. } => {
            (logarithm(beta1), logarithm(beta2))
        }
        Optimizer::Sgd { .. } => (0.0, 0.0),
    };
    let find = source("find", "loss_scaling find", &[Write, Read]);
    let most = gpu.binding_floats() / 64 * 64;
    let total = gradients.floats();
    let mut calls = Vec::new();
    for start in (0..total).step_by(most) {
        let floats = most.min(total - start);
        let dims = Dims { count: (floats / 4) as u32, interval, log_beta1, log_beta2 };
        let part = gradients.part(start, floats);
        let grid = move |_| spread(floats.div_ceil(256), 1);
        calls.push(gpu.dispatch("overflow", &find, &dims, &[scaling, &part], grid)?);
    }
    let dims = Dims { count: 0, interval, log_beta1, log_beta2 };
    let decide = source("decide", "loss_scaling decide", &[Write]);
    calls.push(gpu.dispatch("overflow", &decide, &dims, &[scaling], |_| [1, 1, 1])?);
    Ok(calls)
}

fn source(entry: &'static str, name: &'static str, access: &'static [Access]) -> Source {
    let files = vec![RECORD, shader!("layers/loss_scaling")];
    Source { name, files, constants: Vec::new(), entry, access }
}
