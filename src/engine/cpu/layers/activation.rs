//! What follows a convolution: batch normalisation, ReLU and 2x2 max pooling, fused so that each pass reads and writes
//! memory once. (torch.nn.BatchNorm2d: eps 1e-5, momentum 0.1, running variance unbiased; torch.nn.MaxPool2d.)
//!
//! Nothing but the convolution's output is saved for the backward pass: the ReLU mask and the pooling's winners (the
//! first in row-major order of equal ones) follow from it again, and the gradient replaces it in place.
//! A slab is a sample; sums over samples are added in order, in f64.

use rayon::prelude::*;

use super::activation_kernels::{
    gradient_sums, input_gradient, moments, normalise, normalise_and_pool, normalise_in_place, pool,
    pooled_gradient_sums, pooled_input_gradient, pooled_relu_gradient, relu_gradient,
};
use crate::engine::cpu::plumbing::simd::InstructionSet;
use crate::engine::settling::{EPSILON, finite};
use crate::vgg::Shape;

/// What is fused after a convolution of this output shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activation {
    /// One sample of the convolution's output.
    pub shape: Shape,
    /// 2x2 max pooling follows.
    pub pool: bool,
    /// Instructions to use.
    pub set: InstructionSet,
}

/// Batch normalisation's numbers for one layer, a value a channel.
pub struct Normalisation<'a> {
    /// Multiplied by: gamma / sqrt(variance + eps).
    pub scale: &'a mut [f32],
    /// Added: beta - mean * scale.
    pub shift: &'a mut [f32],
    /// The batch's mean, saved for the backward pass.
    pub mean: &'a mut [f32],
    /// 1 / sqrt(variance + eps), saved for the backward pass.
    pub inverse_deviation: &'a mut [f32],
}

impl Activation {
    /// Floats of one sample's result.
    pub fn output(&self) -> usize {
        let Shape { height, width, channels } = self.shape;
        if self.pool { (height / 2) * (width / 2) * channels } else { self.shape.elements() }
    }

    /// f64 partial sums for a batch of `n`.
    pub fn partials(&self, n: usize) -> usize {
        2 * n * self.shape.channels
    }

    /// Means and sums of squared deviations of z [n,h,w,c], a channel each: joined [2][c].
    pub fn moments(&self, z: &[f32], joined: &mut [f64], partials: &mut [f64]) {
        let (c, sample) = (self.shape.channels, self.shape.elements());
        let partials = &mut partials[..self.partials(z.len() / sample)];
        z.par_chunks(sample).zip(partials.par_chunks_mut(2 * c)).with_max_len(1).for_each(|(z, partial)| {
            moments(self.set, z, c, partial);
        });
        let pixels = self.shape.pixels() as f64;
        joined.fill(0.0);
        for (sample, partial) in partials.chunks_exact(2 * c).enumerate() {
            join(joined, pixels * sample as f64, partial, pixels);
        }
    }

    /// Fills `norm` from [`Self::moments`] of `count` pixels.
    pub fn normalisation(joined: &[f64], count: f64, gamma: &[f32], beta: &[f32], norm: &mut Normalisation<'_>) {
        let (means, squares) = joined.split_at(gamma.len());
        for (channel, (mean, squares)) in means.iter().zip(squares).enumerate() {
            let inverse = 1.0 / (finite(*squares) / count + EPSILON).sqrt();
            norm.mean[channel] = *mean as f32;
            norm.inverse_deviation[channel] = inverse as f32;
            norm.scale[channel] = (f64::from(gamma[channel]) * inverse) as f32;
            norm.shift[channel] = (f64::from(beta[channel]) - mean * f64::from(gamma[channel]) * inverse) as f32;
        }
    }

    /// Scale and shift of inference, from the running statistics.
    pub fn frozen(gamma: &[f32], beta: &[f32], mean: &[f32], variance: &[f32], scale: &mut [f32], shift: &mut [f32]) {
        for channel in 0..gamma.len() {
            let inverse = 1.0 / (f64::from(variance[channel]) + EPSILON).sqrt();
            scale[channel] = (f64::from(gamma[channel]) * inverse) as f32;
            shift[channel] =
                (f64::from(beta[channel]) - f64::from(mean[channel]) * f64::from(gamma[channel]) * inverse) as f32;
        }
    }

    /// y = max(z * scale + shift, 0), pooled where the layer pools.
    pub fn forward(&self, z: &[f32], scale: &[f32], shift: &[f32], y: &mut [f32]) {
        let (set, shape) = (self.set, self.shape);
        z.par_chunks(shape.elements()).zip(y.par_chunks_mut(self.output())).with_max_len(1).for_each(|(z, y)| {
            if self.pool {
                normalise_and_pool(set, z, shape, scale, shift, y);
            } else {
                normalise(set, z, shape.channels, scale, shift, y);
            }
        });
    }

    /// [`Self::forward`] without pooling, in place.
    pub fn forward_in_place(&self, z: &mut [f32], scale: &[f32], shift: &[f32]) {
        z.par_chunks_mut(self.shape.elements()).with_max_len(1).for_each(|z| {
            normalise_in_place(self.set, z, self.shape.channels, scale, shift);
        });
    }

    /// Sums over z [n,h,w,c] that its gradient needs, a channel each: of dy, and of dy * xhat, [2][c]; they are the gradients
    /// of beta and gamma.
    pub fn gradient_sums(
        &self,
        z: &mut [f32],
        dy: &[f32],
        norm: &Normalisation<'_>,
        sums: &mut [f64],
        partials: &mut [f64],
    ) {
        let (set, shape) = (self.set, self.shape);
        let (c, sample) = (shape.channels, shape.elements());
        let Normalisation { scale, shift, mean, inverse_deviation } = norm;
        let partials = &mut partials[..self.partials(z.len() / sample)];
        z.par_chunks_mut(sample)
            .zip(dy.par_chunks(self.output()))
            .zip(partials.par_chunks_mut(2 * c))
            .with_max_len(1)
            .for_each(|((z, dy), partial)| {
                partial.fill(0.0);
                if self.pool {
                    pooled_gradient_sums(set, z, dy, shape, scale, shift, mean, inverse_deviation, partial);
                } else {
                    gradient_sums(set, z, dy, c, scale, shift, mean, inverse_deviation, partial);
                }
            });
        sums.fill(0.0);
        for partial in partials.chunks_exact(2 * c) {
            sums.iter_mut().zip(partial).for_each(|(sum, part)| *sum += part);
        }
    }

    /// Replaces z by its gradient, from `dy`, the gradient of the result, and the sums of all `count` pixels that were normalised
    /// together.
    pub fn backward(
        &self,
        z: &mut [f32],
        dy: &[f32],
        gamma: &[f32],
        norm: &Normalisation<'_>,
        (sums, count): (&[f64], f64),
        factors: &mut [f32],
    ) {
        let (set, shape) = (self.set, self.shape);
        let (c, sample) = (shape.channels, shape.elements());
        let (scale, shift) = (&*norm.scale, &*norm.shift);
        // dz = a dy + b z + d, with the means of dy and of dy * xhat folded into b and d.
        let (b, d) = factors.split_at_mut(c);
        for channel in 0..c {
            let (sum, product) = (sums[channel], sums[c + channel]);
            let (mean, inverse) = (f64::from(norm.mean[channel]), f64::from(norm.inverse_deviation[channel]));
            let slope = -f64::from(gamma[channel]) * inverse * inverse * product / count;
            b[channel] = slope as f32;
            d[channel] = (-f64::from(gamma[channel]) * inverse * sum / count - slope * mean) as f32;
        }
        let (b, d) = (&*b, &d[..c]);
        z.par_chunks_mut(sample).zip(dy.par_chunks(self.output())).with_max_len(1).for_each(|(z, dy)| {
            if self.pool {
                pooled_input_gradient(set, z, dy, shape, scale, shift, b, d);
            } else {
                input_gradient(set, z, dy, c, scale, shift, b, d);
            }
        });
    }

    /// Pooling of an activation that is already there (no batch normalisation).
    pub fn pool(&self, z: &[f32], y: &mut [f32]) {
        z.par_chunks(self.shape.elements()).zip(y.par_chunks_mut(self.output())).with_max_len(1).for_each(|(z, y)| {
            pool(self.set, z, self.shape, y);
        });
    }

    /// Replaces an activation z = max(., 0) by the gradient ahead of its ReLU (no batch normalisation).
    pub fn backward_plain(&self, z: &mut [f32], dy: &[f32]) {
        let (set, shape) = (self.set, self.shape);
        z.par_chunks_mut(shape.elements()).zip(dy.par_chunks(self.output())).with_max_len(1).for_each(|(z, dy)| {
            if self.pool {
                pooled_relu_gradient(set, z, dy, shape);
            } else {
                relu_gradient(set, z, dy);
            }
        });
    }

    /// Sum of dz [n,h,w,c] over all pixels (no batch normalisation).
    pub fn bias_gradient(&self, dz: &[f32], d_bias: &mut [f32], partials: &mut [f64]) {
        let (c, sample) = (self.shape.channels, self.shape.elements());
        let partials = &mut partials[..self.partials(dz.len() / sample)];
        dz.par_chunks(sample).zip(partials.par_chunks_mut(2 * c)).with_max_len(1).for_each(|(dz, partial)| {
            moments(self.set, dz, c, partial);
        });
        for (channel, d_bias) in d_bias.iter_mut().enumerate() {
            let means: f64 = partials.chunks_exact(2 * c).map(|p| p[channel]).sum();
            *d_bias = (means * self.shape.pixels() as f64) as f32;
        }
    }
}

/// Joins the moments [2][c] of `count` pixels to those of `before` pixels (Chan et al. 1979).
pub fn join(joined: &mut [f64], before: f64, other: &[f64], count: f64) {
    let c = joined.len() / 2;
    for channel in 0..c {
        let delta = other[channel] - joined[channel];
        joined[channel] += delta * count / (before + count);
        joined[c + channel] += other[c + channel] + delta * delta * before * count / (before + count);
    }
}
