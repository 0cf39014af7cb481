//! What follows a convolution: batch normalisation, ReLU and 2x2 max pooling, fused so that each pass reads and writes
//! memory once. (torch.nn.BatchNorm2d: eps 1e-5, momentum 0.1, running variance unbiased; torch.nn.MaxPool2d.)
//!
//! Nothing but the convolution's output is kept for the backward pass: the ReLU mask and the pooling's winners (the
//! first in row-major order of equal ones) follow from it again, and the gradient replaces it in place.
//! A slab is a sample; sums over samples are added in order, in f64.

use rayon::prelude::*;

use super::simd::{InstructionSet, vectorised};
use crate::vgg::Shape;

/// Added to the variance.
const EPSILON: f64 = 1e-5;
/// Share of the batch in the running statistics.
const MOMENTUM: f64 = 0.1;
/// Pixels that are summed in f32 before the sum goes on in f64.
const BLOCK: usize = 16;
/// Channels that a pass holds in registers.
const LANES: usize = 32;

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
    /// The batch's mean, kept for the backward pass.
    pub mean: &'a mut [f32],
    /// 1 / sqrt(variance + eps), kept for the backward pass.
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

    /// Statistics of the batch z [n,h,w,c]: fills `norm` and moves the running statistics.
    #[expect(clippy::too_many_arguments, reason = "the layer's parameters and buffers are slices of larger ones")]
    pub fn statistics(
        &self,
        z: &[f32],
        gamma: &[f32],
        beta: &[f32],
        norm: &mut Normalisation<'_>,
        running_mean: &mut [f32],
        running_variance: &mut [f32],
        partials: &mut [f64],
    ) {
        let (c, sample) = (self.shape.channels, self.shape.elements());
        let n = z.len() / sample;
        let partials = &mut partials[..self.partials(n)];
        z.par_chunks(sample).zip(partials.par_chunks_mut(2 * c)).with_max_len(1).for_each(|(z, partial)| {
            moments(self.set, z, c, partial);
        });
        let pixels = self.shape.pixels() as f64;
        let count = pixels * n as f64;
        for channel in 0..c {
            // Chan et al. 1979: means and squared deviations of samples joined in order.
            let (mut mean, mut squares) = (0.0, 0.0);
            for (sample, partial) in partials.chunks_exact(2 * c).enumerate() {
                let before = pixels * sample as f64;
                let delta = partial[channel] - mean;
                mean += delta * pixels / (before + pixels);
                squares += partial[c + channel] + delta * delta * before * pixels / (before + pixels);
            }
            let inverse = 1.0 / (squares / count + EPSILON).sqrt();
            norm.mean[channel] = mean as f32;
            norm.inverse_deviation[channel] = inverse as f32;
            norm.scale[channel] = (f64::from(gamma[channel]) * inverse) as f32;
            norm.shift[channel] = (f64::from(beta[channel]) - mean * f64::from(gamma[channel]) * inverse) as f32;
            let unbiased = squares / (count - 1.0).max(1.0);
            let moved = |old: f32, new: f64| (f64::from(old) * (1.0 - MOMENTUM) + MOMENTUM * new) as f32;
            running_mean[channel] = moved(running_mean[channel], mean);
            running_variance[channel] = moved(running_variance[channel], unbiased);
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

    /// Replaces z by its gradient, from `dy`, the gradient of the result; gradients of gamma and beta are written.
    #[expect(clippy::too_many_arguments, reason = "the layer's parameters and buffers are slices of larger ones")]
    pub fn backward(
        &self,
        z: &mut [f32],
        dy: &[f32],
        gamma: &[f32],
        norm: &Normalisation<'_>,
        d_gamma: &mut [f32],
        d_beta: &mut [f32],
        partials: &mut [f64],
        factors: &mut [f32],
    ) {
        let (set, shape) = (self.set, self.shape);
        let (c, sample) = (shape.channels, shape.elements());
        let n = z.len() / sample;
        let (scale, shift) = (&*norm.scale, &*norm.shift);
        let (mean, inverse) = (&*norm.mean, &*norm.inverse_deviation);
        let partials = &mut partials[..self.partials(n)];
        z.par_chunks_mut(sample)
            .zip(dy.par_chunks(self.output()))
            .zip(partials.par_chunks_mut(2 * c))
            .with_max_len(1)
            .for_each(|((z, dy), partial)| {
                partial.fill(0.0);
                if self.pool {
                    pooled_gradient_sums(set, z, dy, shape, scale, shift, mean, inverse, partial);
                } else {
                    gradient_sums(set, z, dy, c, scale, shift, mean, inverse, partial);
                }
            });
        // dz = a dy + b z + d, with the means of dy and of dy * xhat folded into b and d.
        let count = (shape.pixels() * n) as f64;
        let (b, d) = factors.split_at_mut(c);
        for channel in 0..c {
            let (mut sum, mut product) = (0.0, 0.0);
            for partial in partials.chunks_exact(2 * c) {
                sum += partial[channel];
                product += partial[c + channel];
            }
            d_beta[channel] = sum as f32;
            d_gamma[channel] = product as f32;
            let (mean, inverse) = (f64::from(mean[channel]), f64::from(inverse[channel]));
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

/// max(v, 0); a NaN stays one, so that a diverged network is seen in its loss.
#[inline(always)]
pub fn relu(v: f32) -> f32 {
    if v < 0.0 { 0.0 } else { v }
}

/// The greatest of four, in the form that is one instruction a comparison.
#[inline(always)]
fn greatest(p: f32, q: f32, r: f32, s: f32) -> f32 {
    let greater = |a: f32, b: f32| if a > b { a } else { b };
    greater(greater(p, q), greater(r, s))
}

vectorised! {
    /// Mean and sum of squared deviations of each channel: partial [2][c].
    fn moments(z: &[f32], c: usize, partial: &mut [f64]) {
        let (mean, squares) = partial.split_at_mut(c);
        mean.fill(0.0);
        squares.fill(0.0);
        for first in (0..c).step_by(LANES) {
            let lanes = LANES.min(c - first);
            let mut done = 0.0;
            for block in z.chunks(BLOCK * c) {
                let count = (block.len() / c) as f64;
                let mut sum = [0.0f32; LANES];
                for pixel in block.chunks_exact(c) {
                    let pixel = &pixel[first..first + lanes];
                    if let Ok(pixel) = <&[f32; LANES]>::try_from(pixel) {
                        for l in 0..LANES {
                            sum[l] += pixel[l];
                        }
                    } else {
                        for l in 0..lanes {
                            sum[l] += pixel[l];
                        }
                    }
                }
                let block_mean = sum.map(|s| s / count as f32);
                let mut deviation = [0.0f32; LANES];
                for pixel in block.chunks_exact(c) {
                    let pixel = &pixel[first..first + lanes];
                    if let Ok(pixel) = <&[f32; LANES]>::try_from(pixel) {
                        for l in 0..LANES {
                            let d = pixel[l] - block_mean[l];
                            deviation[l] += d * d;
                        }
                    } else {
                        for l in 0..lanes {
                            let d = pixel[l] - block_mean[l];
                            deviation[l] += d * d;
                        }
                    }
                }
                // The mean of a block is rounded; what that moves the squares by is far below their own rounding.
                let (share, weight) = (count / (done + count), done * count / (done + count));
                for l in 0..lanes {
                    let delta = f64::from(sum[l]) / count - mean[first + l];
                    mean[first + l] += delta * share;
                    squares[first + l] += f64::from(deviation[l]) + delta * delta * weight;
                }
                done += count;
            }
        }
    }
}

vectorised! {
    fn normalise(z: &[f32], c: usize, scale: &[f32], shift: &[f32], y: &mut [f32]) {
        for (z, y) in z.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
            for (((y, z), a), b) in y.iter_mut().zip(z).zip(scale).zip(shift) {
                *y = relu(z * a + b);
            }
        }
    }
}

vectorised! {
    fn normalise_in_place(z: &mut [f32], c: usize, scale: &[f32], shift: &[f32]) {
        for z in z.chunks_exact_mut(c) {
            for ((z, a), b) in z.iter_mut().zip(scale).zip(shift) {
                *z = relu(*z * a + b);
            }
        }
    }
}

/// The four pixels below one pooled pixel, in row-major order.
#[inline(always)]
fn window(z: &[f32], shape: Shape, row: usize, column: usize) -> [&[f32]; 4] {
    let c = shape.channels;
    let at = |y: usize, x: usize| &z[((2 * row + y) * shape.width + 2 * column + x) * c..][..c];
    [at(0, 0), at(0, 1), at(1, 0), at(1, 1)]
}

vectorised! {
    fn normalise_and_pool(z: &[f32], shape: Shape, scale: &[f32], shift: &[f32], y: &mut [f32]) {
        let (c, columns) = (shape.channels, shape.width / 2);
        for (pixel, y) in y.chunks_exact_mut(c).enumerate() {
            let [p, q, r, s] = window(z, shape, pixel / columns, pixel % columns);
            let (scale, shift) = (&scale[..c], &shift[..c]);
            for l in 0..c {
                let f = |z: f32| z * scale[l] + shift[l];
                y[l] = relu(greatest(f(p[l]), f(q[l]), f(r[l]), f(s[l])));
            }
        }
    }
}

vectorised! {
    fn pool(z: &[f32], shape: Shape, y: &mut [f32]) {
        let (c, columns) = (shape.channels, shape.width / 2);
        for (pixel, y) in y.chunks_exact_mut(c).enumerate() {
            let [p, q, r, s] = window(z, shape, pixel / columns, pixel % columns);
            for l in 0..c {
                y[l] = greatest(p[l], q[l], r[l], s[l]);
            }
        }
    }
}

vectorised! {
    /// Adds to partial [2][c] the sums of g and g * xhat, g being dy where the ReLU let it through.
    fn gradient_sums(
        z: &[f32], dy: &[f32], c: usize,
        scale: &[f32], shift: &[f32], mean: &[f32], inverse: &[f32], partial: &mut [f64],
    ) {
        let (sums, products) = partial.split_at_mut(c);
        for first in (0..c).step_by(LANES) {
            let lanes = LANES.min(c - first);
            let (scale, shift) = (padded(&scale[first..first + lanes]), padded(&shift[first..first + lanes]));
            let mean = padded(&mean[first..first + lanes]);
            for (z, dy) in z.chunks(BLOCK * c).zip(dy.chunks(BLOCK * c)) {
                let (mut sum, mut product) = ([0.0f32; LANES], [0.0f32; LANES]);
                for (z, dy) in z.chunks_exact(c).zip(dy.chunks_exact(c)) {
                    let (z, dy) = (&z[first..first + lanes], &dy[first..first + lanes]);
                    if let (Ok(z), Ok(dy)) = (<&[f32; LANES]>::try_from(z), <&[f32; LANES]>::try_from(dy)) {
                        for l in 0..LANES {
                            let g = if z[l] * scale[l] + shift[l] > 0.0 { dy[l] } else { 0.0 };
                            sum[l] += g;
                            product[l] += g * (z[l] - mean[l]);
                        }
                    } else {
                        for l in 0..lanes {
                            let g = if z[l] * scale[l] + shift[l] > 0.0 { dy[l] } else { 0.0 };
                            sum[l] += g;
                            product[l] += g * (z[l] - mean[l]);
                        }
                    }
                }
                for l in 0..lanes {
                    sums[first + l] += f64::from(sum[l]);
                    products[first + l] += f64::from(product[l]) * f64::from(inverse[first + l]);
                }
            }
        }
    }
}

/// A full register block whose lanes beyond `values` are zero.
#[inline(always)]
fn padded(values: &[f32]) -> [f32; LANES] {
    let mut all = [0.0; LANES];
    all[..values.len()].copy_from_slice(values);
    all
}

/// What the window's winner holds, normalised, and how it was before: the first of equal ones wins.
#[inline(always)]
fn winner(z: [f32; 4], scale: f32, shift: f32) -> (f32, f32) {
    let mut best = (z[0] * scale + shift, z[0]);
    for z in &z[1..] {
        let f = z * scale + shift;
        best = if f > best.0 { (f, *z) } else { best };
    }
    best
}

vectorised! {
    fn pooled_gradient_sums(
        z: &[f32], dy: &[f32], shape: Shape,
        scale: &[f32], shift: &[f32], mean: &[f32], inverse: &[f32], partial: &mut [f64],
    ) {
        let (c, columns) = (shape.channels, shape.width / 2);
        let (sums, products) = partial.split_at_mut(c);
        for first in (0..c).step_by(LANES) {
            let lanes = LANES.min(c - first);
            let (scale, shift) = (&scale[first..first + lanes], &shift[first..first + lanes]);
            let mean = &mean[first..first + lanes];
            for (block, dy) in dy.chunks(BLOCK * c).enumerate() {
                let (mut sum, mut product) = ([0.0f32; LANES], [0.0f32; LANES]);
                for (pixel, dy) in dy.chunks_exact(c).enumerate() {
                    let pixel = block * BLOCK + pixel;
                    let [p, q, r, s] = window(z, shape, pixel / columns, pixel % columns)
                        .map(|w| &w[first..first + lanes]);
                    let dy = &dy[first..first + lanes];
                    for l in 0..lanes {
                        let (value, z) = winner([p[l], q[l], r[l], s[l]], scale[l], shift[l]);
                        let g = if value > 0.0 { dy[l] } else { 0.0 };
                        sum[l] += g;
                        product[l] += g * (z - mean[l]);
                    }
                }
                for l in 0..lanes {
                    sums[first + l] += f64::from(sum[l]);
                    products[first + l] += f64::from(product[l]) * f64::from(inverse[first + l]);
                }
            }
        }
    }
}

vectorised! {
    fn input_gradient(
        z: &mut [f32], dy: &[f32], c: usize, scale: &[f32], shift: &[f32], b: &[f32], d: &[f32],
    ) {
        for (z, dy) in z.chunks_exact_mut(c).zip(dy.chunks_exact(c)) {
            let (scale, shift, b, d) = (&scale[..c], &shift[..c], &b[..c], &d[..c]);
            for l in 0..c {
                let g = if z[l] * scale[l] + shift[l] > 0.0 { dy[l] } else { 0.0 };
                z[l] = scale[l] * g + (b[l] * z[l] + d[l]);
            }
        }
    }
}

vectorised! {
    fn pooled_input_gradient(
        z: &mut [f32], dy: &[f32], shape: Shape, scale: &[f32], shift: &[f32], b: &[f32], d: &[f32],
    ) {
        let (c, columns) = (shape.channels, shape.width / 2);
        let line = shape.width * c;
        for (row, lines) in z.chunks_mut(2 * line).enumerate() {
            if lines.len() < 2 * line {
                // An odd last row is under no window, but the means still reach it.
                lines.chunks_exact_mut(c).for_each(|z| spread(z, b, d));
                continue;
            }
            let (upper, lower) = lines.split_at_mut(line);
            for column in 0..columns {
                let dy = &dy[(row * columns + column) * c..][..c];
                let (p, q) = upper[2 * column * c..][..2 * c].split_at_mut(c);
                let (r, s) = lower[2 * column * c..][..2 * c].split_at_mut(c);
                let (scale, shift, b, d) = (&scale[..c], &shift[..c], &b[..c], &d[..c]);
                for l in 0..c {
                    let z = [p[l], q[l], r[l], s[l]];
                    let f = z.map(|z| z * scale[l] + shift[l]);
                    let best = greatest(f[0], f[1], f[2], f[3]);
                    let g = if best > 0.0 { dy[l] * scale[l] } else { 0.0 };
                    let (one, two, three) = (f[0] == best, f[1] == best, f[2] == best);
                    let rest = z.map(|z| b[l] * z + d[l]);
                    p[l] = rest[0] + if one { g } else { 0.0 };
                    q[l] = rest[1] + if two & !one { g } else { 0.0 };
                    r[l] = rest[2] + if three & !one & !two { g } else { 0.0 };
                    s[l] = rest[3] + if one | two | three { 0.0 } else { g };
                }
            }
            if shape.width % 2 == 1 {
                spread(&mut upper[line - c..], b, d);
                spread(&mut lower[line - c..], b, d);
            }
        }
    }
}

/// The gradient of a pixel that no window sees: only what comes through the batch's statistics.
#[inline(always)]
fn spread(z: &mut [f32], b: &[f32], d: &[f32]) {
    for ((z, b), d) in z.iter_mut().zip(b).zip(d) {
        *z = b * *z + d;
    }
}

vectorised! {
    fn relu_gradient(z: &mut [f32], dy: &[f32]) {
        for (z, dy) in z.iter_mut().zip(dy) {
            *z = if *z > 0.0 { *dy } else { 0.0 };
        }
    }
}

vectorised! {
    fn pooled_relu_gradient(z: &mut [f32], dy: &[f32], shape: Shape) {
        let (c, columns) = (shape.channels, shape.width / 2);
        let line = shape.width * c;
        for (row, lines) in z.chunks_mut(2 * line).enumerate() {
            if lines.len() < 2 * line {
                lines.fill(0.0);
                continue;
            }
            let (upper, lower) = lines.split_at_mut(line);
            for column in 0..columns {
                let dy = &dy[(row * columns + column) * c..][..c];
                let (p, q) = upper[2 * column * c..][..2 * c].split_at_mut(c);
                let (r, s) = lower[2 * column * c..][..2 * c].split_at_mut(c);
                for l in 0..c {
                    let best = greatest(p[l], q[l], r[l], s[l]);
                    let g = if best > 0.0 { dy[l] } else { 0.0 };
                    let (one, two, three) = (p[l] == best, q[l] == best, r[l] == best);
                    p[l] = if one { g } else { 0.0 };
                    q[l] = if two & !one { g } else { 0.0 };
                    r[l] = if three & !one & !two { g } else { 0.0 };
                    s[l] = if one | two | three { 0.0 } else { g };
                }
            }
            if shape.width % 2 == 1 {
                upper[line - c..].fill(0.0);
                lower[line - c..].fill(0.0);
            }
        }
    }
}
