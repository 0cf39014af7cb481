//! The weight gradient of a 3x3 convolution over few pixels, summed directly.
//!
//! With few samples and small maps many of its elements are exactly zero: no sample has both the input and the gradient
//! that meet in a tap. Winograd's sums and differences leave rounding noise there, and Adam, which divides by the size
//! of what it sees, makes whole steps of it. A direct sum of zeros is zero.

use rayon::prelude::*;

use super::direct::gather_taps;
use super::product::{GROUP, Left, Result, Right, multiply};
use super::shape::{Convolution, Workspace};
use crate::engine::cpu::plumbing::buffer::Shared;

/// Most pixels (n * height * width) for which it is used. With more than 256 a zero that nothing but chance makes is
/// rare, and Winograd's F(4x4, 3x3) takes a third of the time.
fn few(shape: &Convolution) -> usize {
    if shape.precise { 1024 } else { 256 }
}

/// Whether a gradient over `pixels` pixels (n * height * width) is summed directly.
pub fn suits(shape: &Convolution, pixels: usize) -> bool {
    shape.kernel == 3 && pixels <= few(shape)
}

/// Taps of a 3x3 kernel.
const TAPS: usize = 9;
/// Pixels whose products are summed before the sum is added to the rest.
const CHUNK: usize = 96;
/// Input channels of one task.
const TASK: usize = 64;

/// Floats between rows: whole groups, and one more so that rows do not share cache sets.
fn padded(channels: usize) -> usize {
    channels.next_multiple_of(GROUP) + GROUP
}

/// Shared floats that it needs for a batch of `n`; 0 where it is not used.
pub fn shared(shape: &Convolution, n: usize) -> usize {
    // Tails are smaller than the batch that the workspace is made for, and may be few pixels where the batch is many.
    let pixels = (n * shape.height * shape.width).min(few(shape));
    let used = suits(shape, shape.height * shape.width);
    if used { pixels * (TAPS * padded(shape.inputs) + padded(shape.outputs)) } else { 0 }
}

/// dw [3, 3, inputs, outputs] from x and dy of pixels as few as [`suits`] says.
pub fn weight_gradient(shape: &Convolution, x: &[f32], dy: &[f32], dw: &mut [f32], workspace: &mut Workspace<'_>) {
    let Convolution { inputs, outputs, set, .. } = *shape;
    let (v_row, d_row) = (padded(inputs), padded(outputs));
    let pixels = dy.len() / outputs;
    let (seen, gradient) = workspace.shared.split_at_mut(TAPS * pixels * v_row);
    let gradient = &mut gradient[..pixels * d_row];
    gradient.par_chunks_mut(d_row).zip(dy.par_chunks(outputs)).for_each(|(to, from)| {
        to[..outputs].copy_from_slice(from);
        to[outputs..].fill(0.0);
    });
    gather_taps(shape, x, seen, v_row);
    let (seen, gradient) = (&*seen, &*gradient);
    let row = outputs.next_multiple_of(GROUP);
    let whole = row == outputs;
    // A row of whole groups may not fit into dw: then it is summed in the thread's scratch.
    dw.par_chunks_mut(inputs * outputs)
        .enumerate()
        .flat_map(|(tap, dw)| {
            dw.par_chunks_mut(TASK * outputs).with_max_len(1).enumerate().map(move |(block, dw)| (tap, block, dw))
        })
        .for_each(|(tap, block, dw)| {
            let rows = dw.len() / outputs;
            let sum = |to: &Shared<'_>| {
                for group in (0..row / GROUP).step_by(2) {
                    for t in (0..pixels).step_by(CHUNK) {
                        let left = &seen[(tap * pixels + t) * v_row + block * TASK..];
                        let right = &gradient[t * d_row + group * GROUP..];
                        let left = Left { data: left.as_ptr(), row: 1, step: v_row };
                        let right = Right { data: right.as_ptr(), group: GROUP, step: d_row, ahead: None };
                        let to = Result { data: to.at(group * GROUP), row, accumulate: t > 0 };
                        let (depth, groups) = (CHUNK.min(pixels - t), 2.min(row / GROUP - group));
                        // SAFETY: `seen` has v_row floats for each pixel of the tap, the gradient whole groups for
                        // each pixel, and the sum `rows` rows of whole groups, all of them this task's alone.
                        unsafe { multiply(set, rows, depth, groups, left, right, to) };
                    }
                }
            };
            if whole {
                return sum(&Shared::new(dw));
            }
            workspace.scratch.with(|scratch| {
                sum(&Shared::new(&mut scratch[..rows * row]));
                for (dw, sum) in dw.chunks_exact_mut(outputs).zip(scratch.chunks_exact(row)) {
                    dw.copy_from_slice(&sum[..outputs]);
                }
            });
        });
}

/// Floats of scratch that a thread needs.
pub fn scratch(shape: &Convolution) -> usize {
    TASK * shape.outputs.next_multiple_of(GROUP)
}
