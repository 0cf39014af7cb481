//! Convolutions of stride 1 as matrix products: a slab of pixels is laid out as rows of its neighbourhoods (im2col)
//! in the thread's scratch, near its cache, and multiplied with the weights.
//!
//! Activations are NHWC, weights [kernel, kernel, inputs, outputs] (HWIO). Work is cut into slabs by shape alone.

use rayon::prelude::*;

use super::buffer::Scratch;
use super::matrix::{Matrix, multiply};

/// Floats of a slab's neighbourhoods: 2 MiB.
const SLAB_FLOATS: usize = 512 * 1024;

/// Input channels of one task of a weight gradient.
const CHANNEL_BLOCK: usize = 64;

/// One convolution's shape: stride 1, zero padding `kernel / 2`, so that the size stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Kernel height and width, 1 or 3.
    pub kernel: usize,
    /// Rows of a sample.
    pub height: usize,
    /// Columns of a sample.
    pub width: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
}

impl Convolution {
    /// The same with inputs and outputs swapped: its forward pass on gradients, with [`Self::turn_weights`], is this
    /// one's input gradient.
    pub fn turned(self) -> Self {
        Self { inputs: self.outputs, outputs: self.inputs, ..self }
    }

    /// Numbers in the weights.
    pub fn weights(&self) -> usize {
        self.kernel * self.kernel * self.inputs * self.outputs
    }

    /// Floats of scratch that a thread needs for any of the passes.
    pub fn scratch(&self) -> usize {
        let rows = |c: &Self| c.slab_rows() * c.width * c.patch();
        rows(self).max(rows(&self.turned())).max(self.gather_rows() * self.width * self.inputs.min(CHANNEL_BLOCK))
    }

    /// Floats of one pixel's neighbourhood; none need laying out for a 1x1 kernel.
    fn patch(&self) -> usize {
        self.kernel * self.kernel * self.inputs
    }

    /// Image rows of a forward slab.
    fn slab_rows(&self) -> usize {
        let pixels = (SLAB_FLOATS / self.patch()).clamp(64, 2048);
        (pixels / self.width).max(1)
    }

    /// Image rows of a weight gradient's chunk.
    fn gather_rows(&self) -> usize {
        (2048 / self.width).max(1)
    }

    /// y [n,h,w,outputs] = x [n,h,w,inputs] * weights + bias; with `relu`, max(y, 0).
    pub fn forward(
        &self,
        x: &[f32],
        weights: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        y: &mut [f32],
        scratch: &Scratch,
    ) {
        let slab_rows = self.slab_rows();
        y.par_chunks_mut(slab_rows * self.width * self.outputs).with_max_len(1).enumerate().for_each(|(slab, y)| {
            let first = slab * slab_rows;
            let pixels = y.len() / self.outputs;
            if let Some(bias) = bias {
                y.chunks_exact_mut(self.outputs).for_each(|pixel| pixel.copy_from_slice(bias));
            }
            let w = Matrix::new(weights, self.patch(), self.outputs, self.outputs);
            if self.kernel == 1 {
                let x = &x[first * self.width * self.inputs..];
                multiply(y, self.outputs, bias.is_some(), Matrix::new(x, pixels, self.inputs, self.inputs), w);
            } else {
                scratch.with(|patches| {
                    self.lay_out(x, first, pixels / self.width, patches);
                    let patches = Matrix::new(patches, pixels, self.patch(), self.patch());
                    multiply(y, self.outputs, bias.is_some(), patches, w);
                });
            }
            if relu {
                y.iter_mut().for_each(|v| *v = super::activation::relu(*v));
            }
        });
    }

    /// Neighbourhoods of `rows` image rows from `first` on (counted over all samples): [pixels][tap][inputs].
    fn lay_out(&self, x: &[f32], first: usize, rows: usize, patches: &mut [f32]) {
        let (k, c, line) = (self.kernel, self.inputs, self.width * self.inputs);
        let half = k / 2;
        for r in 0..rows {
            let (image, row) = ((first + r) / self.height, (first + r) % self.height);
            for tap_row in 0..k {
                let source = (row + tap_row).checked_sub(half).filter(|s| *s < self.height);
                let source = source.map(|s| &x[(image * self.height + s) * line..][..line]);
                for column in 0..self.width {
                    let start = (r * self.width + column) * self.patch() + tap_row * k * c;
                    let patch = &mut patches[start..start + k * c];
                    let Some(source) = source else {
                        patch.fill(0.0);
                        continue;
                    };
                    // Taps reach from column - half to column + half; those outside the image are zero.
                    let left = half.saturating_sub(column);
                    let right = (column + half + 1).saturating_sub(self.width);
                    patch[..left * c].fill(0.0);
                    patch[(k - right) * c..].fill(0.0);
                    let from = (column + left - half) * c;
                    let inside = (k - left - right) * c;
                    patch[left * c..left * c + inside].copy_from_slice(&source[from..from + inside]);
                }
            }
        }
    }

    /// The weights with taps turned by 180 degrees and inputs and outputs swapped: [kernel, kernel, outputs, inputs].
    pub fn turn_weights(&self, weights: &[f32], turned: &mut [f32]) {
        let (i, o, taps) = (self.inputs, self.outputs, self.kernel * self.kernel);
        turned[..self.weights()].par_chunks_mut(i * o).enumerate().for_each(|(tap, turned)| {
            let source = &weights[(taps - 1 - tap) * i * o..][..i * o];
            // Blocks of 16x16 keep both sides in cache lines already there.
            for o0 in (0..o).step_by(16) {
                for i0 in (0..i).step_by(16) {
                    for oo in o0..(o0 + 16).min(o) {
                        for ii in i0..(i0 + 16).min(i) {
                            turned[oo * i + ii] = source[ii * o + oo];
                        }
                    }
                }
            }
        });
    }

    /// dw [kernel, kernel, inputs, outputs] = sum over all pixels of x shifted by the tap times dy.
    /// A task is a tap and a block of input channels; its sum runs over chunks of pixels in order.
    pub fn weight_gradient(&self, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &Scratch) {
        let (c, o) = (self.inputs, self.outputs);
        let rows = dy.len() / (self.width * o);
        dw.par_chunks_mut(c * o)
            .enumerate()
            .flat_map(|(tap, dw)| {
                dw.par_chunks_mut(CHANNEL_BLOCK * o)
                    .with_max_len(1)
                    .enumerate()
                    .map(move |(block, dw)| (tap, block, dw))
            })
            .for_each(|(tap, block, dw)| {
                let channels = dw.len() / o;
                dw.fill(0.0);
                scratch.with(|gathered| {
                    for first in (0..rows).step_by(self.gather_rows()) {
                        let chunk = self.gather_rows().min(rows - first);
                        let pixels = chunk * self.width;
                        self.gather(x, first, chunk, tap, block * CHANNEL_BLOCK, channels, gathered);
                        let dy = Matrix::new(&dy[first * self.width * o..], pixels, o, o);
                        let x = Matrix::new(gathered, pixels, channels, channels).transposed();
                        multiply(dw, o, true, x, dy);
                    }
                });
            });
    }

    /// What one tap sees of `rows` image rows, for `channels` channels from `channel` on: [pixels][channels].
    #[expect(clippy::too_many_arguments, reason = "a block of a tensor takes this many numbers to name")]
    fn gather(
        &self,
        x: &[f32],
        first: usize,
        rows: usize,
        tap: usize,
        channel: usize,
        channels: usize,
        to: &mut [f32],
    ) {
        let half = self.kernel / 2;
        let (tap_row, tap_column) = (tap / self.kernel, tap % self.kernel);
        for r in 0..rows {
            let (image, row) = ((first + r) / self.height, (first + r) % self.height);
            let source_row = (row + tap_row).checked_sub(half).filter(|s| *s < self.height);
            for column in 0..self.width {
                let to = &mut to[(r * self.width + column) * channels..][..channels];
                let source_column = (column + tap_column).checked_sub(half).filter(|s| *s < self.width);
                match (source_row, source_column) {
                    (Some(y), Some(z)) => {
                        let pixel = (image * self.height + y) * self.width + z;
                        to.copy_from_slice(&x[pixel * self.inputs + channel..][..channels]);
                    }
                    _ => to.fill(0.0),
                }
            }
        }
    }
}
