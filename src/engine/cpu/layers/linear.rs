//! Linear layers: y = x W^T + b with weight [out, in], and what is fused with them: ReLU and inverted dropout.
//!
//! The weights are by far the largest operand, so each pass goes through them once, row by row where they lie; what is
//! small is packed to suit that.

#![allow(clippy::needless_range_loop, reason = "closures would not be inlined: see `winograd_lines`")]

use rayon::prelude::*;

use super::activation_kernels::relu;
use crate::engine::cpu::plumbing::buffer::Shared;
use crate::engine::cpu::plumbing::lanes::kernel;
use crate::engine::cpu::plumbing::simd::InstructionSet;
use crate::engine::cpu::products::matrix::{Matrix, multiply, multiply_into};
use crate::engine::cpu::products::product;
use crate::engine::cpu::products::product::{GROUP, Left, Result, Right};
use crate::engine::random::DropoutMask;

/// Outputs of one task, and inputs that it sums at a time.
const ROWS: usize = 48;
const DEPTH: usize = 1024;
/// Inputs of one task of the input gradient, and outputs that it sums at a time.
const COLUMNS: usize = 512;
const GRADIENT_DEPTH: usize = 64;
/// Most samples whose outputs are computed one by one, and outputs that are computed side by side.
const FEW: usize = 4;
const DOTS: usize = 4;
/// Outputs of one task of the weight gradient.
const BLOCK: usize = 128;

/// One layer's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Features in.
    pub inputs: usize,
    /// Features out.
    pub outputs: usize,
    /// Instructions to use.
    pub set: InstructionSet,
}

impl Linear {
    /// Floats of workspace for a batch of `n`.
    pub fn workspace(&self, n: usize) -> usize {
        let forward = n.next_multiple_of(GROUP) * (self.inputs + self.outputs);
        forward.max(n * (self.outputs + GROUP))
    }

    /// y [n, outputs] = x [n, inputs] W^T + b.
    pub fn forward(&self, x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32], workspace: &mut [f32]) {
        let Self { inputs, outputs, set } = *self;
        let n = x.len() / inputs;
        assert!(x.len() == n * inputs && y.len() == n * outputs && weight.len() == inputs * outputs);
        if n <= FEW {
            let y = Shared::new(y);
            return weight.par_chunks(DOTS * inputs).with_min_len(8).enumerate().for_each(|(task, weight)| {
                for (sample, x) in x.chunks_exact(inputs).enumerate() {
                    let mut sums = [0.0; DOTS];
                    let rows = weight.len() / inputs;
                    let row = |r: usize| weight[r.min(rows - 1) * inputs..][..inputs].as_ptr();
                    let all: [*const f32; DOTS] = std::array::from_fn(row);
                    // SAFETY: all rows and x have `inputs` floats.
                    unsafe { dots(set, &all, x.as_ptr(), inputs, &mut sums) };
                    for (r, sum) in sums.iter().enumerate().take(rows) {
                        let o = task * DOTS + r;
                        // SAFETY: within y; these outputs are this task's alone.
                        unsafe { *y.at(sample * outputs + o) = sum + bias[o] };
                    }
                }
            });
        }
        let groups = n.div_ceil(GROUP);
        let (x_turned, products) = workspace.split_at_mut(groups * GROUP * inputs);
        // [16 samples][input][sample]
        x_turned.par_chunks_mut(inputs * GROUP).zip(x.par_chunks(inputs * GROUP)).for_each(|(to, from)| {
            if from.len() < to.len() {
                to.fill(0.0);
            }
            for (sample, from) in from.chunks_exact(inputs).enumerate() {
                to.iter_mut().skip(sample).step_by(GROUP).zip(from).for_each(|(to, from)| *to = *from);
            }
        });
        let x_turned = &*x_turned;
        let y = Shared::new(y);
        let products = &mut products[..groups * GROUP * outputs];
        products.par_chunks_mut(ROWS * groups * GROUP).with_max_len(1).enumerate().for_each(|(task, products)| {
            let rows = products.len() / (groups * GROUP);
            let first = task * ROWS;
            let sums = Shared::new(products);
            for start in (0..inputs).step_by(DEPTH) {
                let left = Left { data: weight[first * inputs + start..].as_ptr(), row: inputs, step: 1 };
                let right =
                    Right { data: x_turned[start * GROUP..].as_ptr(), group: inputs * GROUP, step: GROUP, ahead: None };
                let to = Result { data: sums.at(0), row: groups * GROUP, accumulate: start > 0 };
                // SAFETY: `rows` rows of weights from `first` on, whole groups of samples of each input, and as many
                // sums a row, which are this task's alone.
                unsafe { product::multiply(set, rows, DEPTH.min(inputs - start), groups, left, right, to) };
            }
            for sample in 0..n {
                for (row, bias) in bias[first..first + rows].iter().enumerate() {
                    // SAFETY: within the sums and y; these outputs are this task's alone.
                    unsafe { *y.at(sample * outputs + first + row) = *sums.at(row * groups * GROUP + sample) + bias };
                }
            }
        });
    }

    /// dx [n, inputs] = dy [n, outputs] W.
    pub fn input_gradient(&self, dy: &[f32], weight: &[f32], dx: &mut [f32], workspace: &mut [f32]) {
        let Self { inputs, outputs, set } = *self;
        let n = dy.len() / outputs;
        assert!(dy.len() == n * outputs && dx.len() == n * inputs && weight.len() == inputs * outputs);
        // Rows of a power of two would share sets of the cache.
        let row = outputs + GROUP;
        let apart = &mut workspace[..n * row];
        for (to, from) in apart.chunks_exact_mut(row).zip(dy.chunks_exact(outputs)) {
            to[..outputs].copy_from_slice(from);
        }
        let apart = &*apart;
        let dx = Shared::new(dx);
        let whole = inputs / GROUP * GROUP;
        (0..whole.div_ceil(COLUMNS)).into_par_iter().with_max_len(1).for_each(|task| {
            let columns = task * COLUMNS..whole.min((task + 1) * COLUMNS);
            for start in (0..outputs).step_by(GRADIENT_DEPTH) {
                let depth = GRADIENT_DEPTH.min(outputs - start);
                let left = Left { data: apart[start..].as_ptr(), row, step: 1 };
                let right = Right {
                    data: weight[start * inputs + columns.start..].as_ptr(),
                    group: GROUP,
                    step: inputs,
                    ahead: None,
                };
                let to = Result { data: dx.at(columns.start), row: inputs, accumulate: start > 0 };
                // SAFETY: `depth` rows of weights and as many columns of dy; whole groups of columns of the weights and
                // of dx, which are this task's alone.
                unsafe { product::multiply(set, n, depth, columns.len() / GROUP, left, right, to) };
            }
        });
        if whole < inputs {
            let w = Matrix::new(&weight[whole..], outputs, inputs - whole, inputs);
            // SAFETY: nothing else uses dx now.
            unsafe { multiply_into(&dx, whole, inputs, false, Matrix::new(dy, n, outputs, outputs), w) };
        }
    }

    /// dw [outputs, inputs] = dy^T x and db [outputs] = sum of dy over the batch.
    pub fn weight_gradient(&self, x: &[f32], dy: &[f32], dw: &mut [f32], db: &mut [f32]) {
        let n = dy.len() / self.outputs;
        let x = Matrix::new(x, n, self.inputs, self.inputs);
        dw.par_chunks_mut(BLOCK * self.inputs).with_max_len(1).enumerate().for_each(|(block, dw)| {
            let rows = dw.len() / self.inputs;
            let dy = Matrix::new(&dy[block * BLOCK..], n, rows, self.outputs).transposed();
            multiply(dw, self.inputs, false, dy, x);
        });
        db.par_iter_mut().with_min_len(256).enumerate().for_each(|(o, db)| {
            *db = dy.iter().skip(o).step_by(self.outputs).map(|v| f64::from(*v)).sum::<f64>() as f32;
        });
    }
}

kernel! {
    /// The products of `rows` with x, summed over their `len` floats.
    ///
    /// # Safety
    /// Each row and x have `len` floats.
    unsafe fn dots<L>(rows: &[*const f32; DOTS], x: *const f32, len: usize, sums: &mut [f32; DOTS]) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sum = [[L::splat(0.0); 2]; DOTS];
            let mut k = 0;
            while k + 2 * L::COUNT <= len {
                let x = [L::load(x.add(k)), L::load(x.add(k + L::COUNT))];
                for r in 0..DOTS {
                    for h in 0..2 {
                        sum[r][h] = L::load(rows[r].add(k + h * L::COUNT)).mul_add(x[h], sum[r][h]);
                    }
                }
                k += 2 * L::COUNT;
            }
            for r in 0..DOTS {
                let mut lanes = [0.0f32; GROUP];
                sum[r][0].add(sum[r][1]).store(lanes.as_mut_ptr());
                let mut total = 0.0;
                for l in 0..L::COUNT {
                    total += lanes[l];
                }
                for k in k..len {
                    total += *rows[r].add(k) * *x.add(k);
                }
                sums[r] = total;
            }
        }
    }
}

/// y = max(y, 0), then inverted dropout where there is a mask: 0 where it drops, y / (1 - probability) elsewhere. The mask's
/// elements count over the whole batch, of which y begins at `first`.
pub fn activate(y: &mut [f32], probability: f32, mask: Option<&DropoutMask>, first: usize) {
    let Some(mask) = mask else {
        return y.iter_mut().for_each(|v| *v = relu(*v));
    };
    let kept = (1.0 / (1.0 - f64::from(probability))) as f32;
    y.par_chunks_mut(4096).enumerate().for_each(|(chunk, mut y)| {
        let mut element = first + chunk * 4096;
        while !y.is_empty() {
            let keeps = mask.keeps_block(element / 4);
            let (now, later) = y.split_at_mut((4 - element % 4).min(y.len()));
            for (v, keep) in now.iter_mut().zip(&keeps[element % 4..]) {
                *v = if *keep { relu(*v) * kept } else { 0.0 };
            }
            element += now.len();
            y = later;
        }
    });
}

/// The gradient ahead of [`activate`], in place, from its result: what was dropped or below zero is zero there.
pub fn activate_gradient(y: &[f32], dy: &mut [f32], probability: f32) {
    let kept = (1.0 / (1.0 - f64::from(probability))) as f32;
    for (dy, y) in dy.iter_mut().zip(y) {
        *dy = if *y > 0.0 { *dy * kept } else { 0.0 };
    }
}
