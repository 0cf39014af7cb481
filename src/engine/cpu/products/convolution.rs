//! Convolutions of stride 1: 1x1 kernels as plain matrix products, 3x3 kernels by Winograd's method, but for weight
//! gradients over few pixels.
//!
//! Activations are NHWC, weights [kernel, kernel, inputs, outputs] (HWIO). Work is cut into slabs by shape alone.

use rayon::prelude::*;

use super::matrix::{Matrix, multiply};
use super::shape::{Convolution, Workspace, WorkspaceSizes};
use super::winograd::Winograd;
use super::{direct, direct_gradient};
use crate::engine::cpu::layers::activation_kernels::relu;

/// Pixels of a slab of a 1x1 convolution.
const SLAB: usize = 256;
/// Input channels of a task of its weight gradient, and pixels that are summed at a time.
const CHANNEL_BLOCK: usize = 64;
const PIXEL_BLOCK: usize = 1024;

impl Convolution {
    fn winograd(&self) -> Winograd {
        Winograd::new(*self)
    }

    /// What the passes over a batch of `n` need.
    pub fn workspace(&self, n: usize, training: bool) -> WorkspaceSizes {
        if self.kernel == 1 {
            return WorkspaceSizes::default();
        }
        let mut workspace = self.winograd().workspace(n, training);
        workspace.shared = workspace.shared.max(direct::shared(self, n));
        if !training {
            return workspace;
        }
        let (scratch, shared) = (direct_gradient::scratch(self), direct_gradient::shared(self, n));
        workspace.max(WorkspaceSizes { scratch, shared, filters: 0 })
    }

    /// y [n,h,w,outputs] = x [n,h,w,inputs] * weights + bias; with `activate`, max(y, 0).
    pub fn forward(
        &self,
        x: &[f32],
        weights: &[f32],
        bias: &[f32],
        activate: bool,
        y: &mut [f32],
        workspace: &mut Workspace<'_>,
    ) {
        if direct::suits(self, y.len() / self.outputs) {
            return direct::forward(self, x, weights, bias, activate, y, workspace);
        }
        if self.kernel == 3 {
            return self.winograd().forward(x, weights, bias, activate, y, workspace);
        }
        let (i, o) = (self.inputs, self.outputs);
        let weights = Matrix::new(weights, i, o, o);
        y.par_chunks_mut(SLAB * o).zip(x.par_chunks(SLAB * i)).with_max_len(1).for_each(|(y, x)| {
            y.chunks_exact_mut(o).for_each(|pixel| pixel.copy_from_slice(bias));
            multiply(y, o, true, Matrix::new(x, x.len() / i, i, i), weights);
            if activate {
                y.iter_mut().for_each(|v| *v = relu(*v));
            }
        });
    }

    /// dx [n,h,w,inputs] from dy [n,h,w,outputs].
    pub fn input_gradient(&self, dy: &[f32], weights: &[f32], dx: &mut [f32], workspace: &mut Workspace<'_>) {
        if self.kernel == 3 {
            return self.winograd().input_gradient(dy, weights, dx, workspace);
        }
        let (i, o) = (self.inputs, self.outputs);
        let turned = Matrix::new(weights, i, o, o).transposed();
        dx.par_chunks_mut(SLAB * i).zip(dy.par_chunks(SLAB * o)).with_max_len(1).for_each(|(dx, dy)| {
            multiply(dx, i, false, Matrix::new(dy, dy.len() / o, o, o), turned);
        });
    }

    /// dw [kernel, kernel, inputs, outputs] from x and dy.
    pub fn weight_gradient(&self, x: &[f32], dy: &[f32], dw: &mut [f32], workspace: &mut Workspace<'_>) {
        if direct_gradient::suits(self, dy.len() / self.outputs) {
            return direct_gradient::weight_gradient(self, x, dy, dw, workspace);
        }
        if self.kernel == 3 {
            return self.winograd().weight_gradient(x, dy, dw, workspace);
        }
        let (i, o) = (self.inputs, self.outputs);
        dw.par_chunks_mut(CHANNEL_BLOCK * o).with_max_len(1).enumerate().for_each(|(block, dw)| {
            let channels = dw.len() / o;
            for (chunk, (x, dy)) in x.chunks(PIXEL_BLOCK * i).zip(dy.chunks(PIXEL_BLOCK * o)).enumerate() {
                let pixels = dy.len() / o;
                let x = Matrix::new(&x[block * CHANNEL_BLOCK..], pixels, channels, i).transposed();
                multiply(dw, o, chunk > 0, x, Matrix::new(dy, pixels, o, o));
            }
        });
    }
}
