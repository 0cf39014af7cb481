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

/// What is read, and what is written.
#[derive(Clone, Copy, Debug)]
pub struct Tensors<'a> {
    /// [n, classes padded].
    pub logits: &'a Slice,
    /// [`TARGET`] numbers a sample, of the whole batch.
    pub targets: &'a Slice,
    /// What teachers say, [batch, classes], where they have a share; else any buffer.
    pub rows: &'a Slice,
    /// (softmax - target) / batch, [n, classes padded].
    pub d_logits: &'a Slice,
    /// [`SLOT`] numbers a sample.
    pub outcomes: &'a Slice,
    /// Slots of [`SLOT`] numbers.
    pub metrics: &'a Slice,
}

/// Gradient and outcomes of the logits of `classes` classes, and the outcomes' sum in slot `step.slot` of the metrics,
/// overwritten or, where the step accumulates, added to.
#[expect(clippy::cast_possible_truncation, reason = "rounded once")]
pub fn record(
    gpu: &Gpu,
    label: &str,
    classes: usize,
    Aim { smoothing, taught }: Aim,
    tensors: &Tensors<'_>,
) -> Result<Vec<Dispatch>> {
    let Tensors { logits, targets, rows, d_logits, outcomes, metrics } = *tensors;
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
