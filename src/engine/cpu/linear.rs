//! Linear layers: y = x W^T + b with weight [out, in], and what is fused with them: ReLU and inverted dropout.

use rayon::prelude::*;

use super::activation_kernels::relu;
use super::buffer::Shared;
use super::matrix::{Matrix, multiply, multiply_into};
use crate::engine::random::DropoutMask;

/// Columns of one task's part of a product.
const BLOCK: usize = 128;

/// One layer's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Features in.
    pub inputs: usize,
    /// Features out.
    pub outputs: usize,
}

impl Linear {
    /// y [n, outputs] = x [n, inputs] W^T + b.
    pub fn forward(&self, x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
        let n = x.len() / self.inputs;
        y.chunks_exact_mut(self.outputs).for_each(|y| y.copy_from_slice(bias));
        let x = Matrix::new(x, n, self.inputs, self.inputs);
        let y = Shared::new(y);
        weight.par_chunks(BLOCK * self.inputs).with_max_len(1).enumerate().for_each(|(block, weight)| {
            let columns = weight.len() / self.inputs;
            let w = Matrix::new(weight, columns, self.inputs, self.inputs).transposed();
            // SAFETY: each task writes the columns of its own block of outputs.
            unsafe { multiply_into(&y, block * BLOCK, self.outputs, true, x, w) };
        });
    }

    /// dx [n, inputs] = dy [n, outputs] W.
    pub fn input_gradient(&self, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
        let n = dy.len() / self.outputs;
        let dy = Matrix::new(dy, n, self.outputs, self.outputs);
        let dx = Shared::new(dx);
        (0..self.inputs.div_ceil(BLOCK)).into_par_iter().with_max_len(1).for_each(|block| {
            let first = block * BLOCK;
            let w = Matrix::new(&weight[first..], self.outputs, BLOCK.min(self.inputs - first), self.inputs);
            // SAFETY: each task writes the columns of its own block of inputs.
            unsafe { multiply_into(&dx, first, self.inputs, false, dy, w) };
        });
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
        for (o, db) in db.iter_mut().enumerate() {
            *db = dy.iter().skip(o).step_by(self.outputs).map(|v| f64::from(*v)).sum::<f64>() as f32;
        }
    }
}

/// y = max(y, 0), then inverted dropout where there is a mask: 0 where it drops, y / (1 - probability) elsewhere.
pub fn activate(y: &mut [f32], probability: f32, mask: Option<&DropoutMask>) {
    let Some(mask) = mask else {
        return y.iter_mut().for_each(|v| *v = relu(*v));
    };
    let kept = (1.0 / (1.0 - f64::from(probability))) as f32;
    y.par_chunks_mut(4096).enumerate().for_each(|(chunk, y)| {
        for (block, y) in y.chunks_mut(4).enumerate() {
            let keeps = mask.keeps_block(chunk * 1024 + block);
            for (v, keep) in y.iter_mut().zip(keeps) {
                *v = if keep { relu(*v) * kept } else { 0.0 };
            }
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
