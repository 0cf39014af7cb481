//! Loss, its gradient, and hits; shader `cross_entropy.wgsl`, twin
//! [`reference::cross_entropy`](crate::engine::cpu::reference::cross_entropy). Means over the batch are taken by whoever
//! reads the metrics; gradients are of the mean.

use crate::engine::gpu::plumbing::device::{Gpu, Slice};
use crate::engine::gpu::plumbing::dispatch::{Dispatch, spread};
use crate::engine::gpu::plumbing::source::Access;
use crate::engine::gpu::plumbing::source::Access::{Read, Write};
use crate::engine::gpu::plumbing::source::Source;
use crate::engine::gpu::plumbing::source::shader;
use crate::engine::sample::Target;
use crate::error::Result;

/// Four-byte numbers of a slot of metrics, and of a sample's outcome: loss summed over samples (f32), then as u32 samples
/// whose first label has the highest logit, whose first label is among the five highest, and samples.
pub const SLOT: usize = 4;

/// Four-byte numbers of a target on the device.
pub const TARGET: usize = size_of::<Target>() / 4;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Dims {
    classes: u32,
    width: u32,
    everywhere: f32,
    labelled: f32,
    lowest: f32,
    not_a_number: f32,
    taught: f32,
    unused: u32,
}

/// What targets are made of besides labels.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    /// Label smoothing.
    pub smoothing: f32,
    /// Share of what teachers say; 0 where there are none.
    pub taught: f32,
}

/// From `logits` [n, classes padded] and `targets` ([`TARGET`] numbers a sample, of the whole batch), with what teachers
/// say, `rows` [batch, classes], where they have a share (else any buffer): `d_logits` = (softmax - target) / batch,
/// `outcomes` [n] and their sum in slot `step.slot` of `metrics`, overwritten or, where the step accumulates, added to.
#[expect(clippy::too_many_arguments, reason = "three inputs, three outputs")]
#[expect(clippy::cast_possible_truncation, reason = "rounded once")]
pub fn record(
    gpu: &Gpu,
    label: &str,
    classes: usize,
    Aim { smoothing, taught }: Aim,
    logits: &Slice,
    [targets, rows]: [&Slice; 2],
    d_logits: &Slice,
    outcomes: &Slice,
    metrics: &Slice,
) -> Result<Vec<Dispatch>> {
    let (smoothing, rest) = (f64::from(smoothing), 1.0 - f64::from(taught));
    let dims = Dims {
        classes: classes as u32,
        width: classes.next_multiple_of(4) as u32,
        everywhere: (rest * smoothing / classes as f64) as f32,
        labelled: (rest * (1.0 - smoothing)) as f32,
        lowest: f32::NEG_INFINITY,
        not_a_number: f32::NAN,
        taught,
        unused: 0,
    };
    let loss = source("forward_backward", "cross_entropy loss", &[Read, Read, Write, Write, Read]);
    let sum = source("metrics", "cross_entropy metrics", &[Read, Write]);
    Ok(vec![
        gpu.dispatch(label, &loss, &dims, &[logits, targets, d_logits, outcomes, rows], |n| spread(n, 1))?,
        gpu.dispatch(label, &sum, &dims, &[outcomes, metrics], |_| [1, 1, 1])?,
    ])
}

fn source(entry: &'static str, name: &'static str, access: &'static [Access]) -> Source {
    let files = vec![shader!("layers/cross_entropy")];
    Source { name, files, constants: Vec::new(), entry, access }
}
