//! 3x3 convolutions over few pixels, summed directly: for a single image and small maps, transforming the filters would
//! take longer than the products save, so each weight is read once, where it lies.

use rayon::prelude::*;

use super::product::{GROUP, Left, Result, Right, multiply};
use super::shape::{Convolution, Workspace};
use crate::engine::cpu::layers::activation_kernels::relu;
use crate::engine::cpu::plumbing::buffer::Shared;

/// Most pixels (n * height * width) for which it is used.
const FEW: usize = 32;
/// Taps of a 3x3 kernel.
const TAPS: usize = 9;
/// Groups of outputs of one task, and inputs that it sums at a time.
const TASK_GROUPS: usize = 8;
const DEPTH: usize = 256;

/// Floats between rows of inputs: one group more than needed, so that rows do not share cache sets.
fn padded(channels: usize) -> usize {
    channels.next_multiple_of(GROUP) + GROUP
}

/// Whether a forward pass over `pixels` pixels is summed directly. Outputs come in whole groups.
pub fn suits(shape: &Convolution, pixels: usize) -> bool {
    shape.kernel == 3 && pixels <= FEW && shape.outputs.is_multiple_of(GROUP)
}

/// Shared floats that it needs for a batch of at most `n`; 0 where it is not used.
pub fn shared(shape: &Convolution, n: usize) -> usize {
    let pixels = shape.height * shape.width;
    if suits(shape, pixels) { (n * pixels).min(FEW) * TAPS * padded(shape.inputs) } else { 0 }
}

/// Copies what each tap sees from each pixel of x [n,h,w,inputs] to `seen`, [tap][pixel][inputs, `row` apart].
pub fn gather_taps(shape: &Convolution, x: &[f32], seen: &mut [f32], row: usize) {
    let Convolution { height, width, inputs, .. } = *shape;
    let pixels = x.len() / inputs;
    seen[..TAPS * pixels * row].par_chunks_mut(row).enumerate().for_each(|(index, to)| {
        let (tap, pixel) = (index / pixels, index % pixels);
        let (line, column) = (pixel / width, pixel % width);
        let (image, line) = (line / height, line % height);
        let line = (line + tap / 3).checked_sub(1).filter(|r| *r < height);
        let column = (column + tap % 3).checked_sub(1).filter(|c| *c < width);
        match (line, column) {
            (Some(line), Some(column)) => {
                let from = (image * height + line) * width + column;
                to[..inputs].copy_from_slice(&x[from * inputs..][..inputs]);
            }
            _ => to[..inputs].fill(0.0),
        }
    });
}

/// y [n,h,w,outputs] = x * weights + bias, then ReLU where asked, for what [`suits`].
pub fn forward(
    shape: &Convolution,
    x: &[f32],
    weights: &[f32],
    bias: &[f32],
    activate: bool,
    y: &mut [f32],
    workspace: &mut Workspace<'_>,
) {
    let Convolution { inputs, outputs, set, .. } = *shape;
    let pixels = x.len() / inputs;
    assert!(x.len() == pixels * inputs && y.len() == pixels * outputs && weights.len() == TAPS * inputs * outputs);
    let row = padded(inputs);
    gather_taps(shape, x, workspace.shared, row);
    let seen = &workspace.shared[..TAPS * pixels * row];
    let y = Shared::new(y);
    let all = outputs / GROUP;
    (0..all.div_ceil(TASK_GROUPS)).into_par_iter().with_max_len(1).for_each(|task| {
        let groups = task * TASK_GROUPS..all.min((task + 1) * TASK_GROUPS);
        let first = groups.start * GROUP;
        for tap in 0..TAPS {
            for start in (0..inputs).step_by(DEPTH) {
                let left = Left { data: seen[tap * pixels * row + start..].as_ptr(), row, step: 1 };
                let data = weights[(tap * inputs + start) * outputs + first..].as_ptr();
                let right = Right { data, group: GROUP, step: outputs, ahead: None };
                let to = Result { data: y.at(first), row: outputs, accumulate: tap + start > 0 };
                // SAFETY: `seen` has a row of inputs for each pixel of the tap; whole groups of outputs of the weights
                // and of y, which are this task's alone.
                unsafe { multiply(set, pixels, DEPTH.min(inputs - start), groups.len(), left, right, to) };
            }
        }
        let end = groups.end * GROUP;
        for pixel in 0..pixels {
            for (o, bias) in bias[first..end].iter().enumerate() {
                // SAFETY: within y; these outputs are this task's alone.
                unsafe {
                    let to = y.at(pixel * outputs + first + o);
                    *to = if activate { relu(*to + bias) } else { *to + bias };
                }
            }
        }
    });
}
