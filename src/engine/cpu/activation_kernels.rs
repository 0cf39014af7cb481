//! The loops of `activation`: one sample at a time, compiled for each instruction set.

use super::simd::vectorised;
use crate::vgg::Shape;

/// Pixels that are summed in f32 before the sum goes on in f64.
const BLOCK: usize = 16;
/// Channels that a pass holds in registers.
const LANES: usize = 32;

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
    pub fn moments(z: &[f32], c: usize, partial: &mut [f64]) {
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
    pub fn normalise(z: &[f32], c: usize, scale: &[f32], shift: &[f32], y: &mut [f32]) {
        for (z, y) in z.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
            for (((y, z), a), b) in y.iter_mut().zip(z).zip(scale).zip(shift) {
                *y = relu(z * a + b);
            }
        }
    }
}

vectorised! {
    pub fn normalise_in_place(z: &mut [f32], c: usize, scale: &[f32], shift: &[f32]) {
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
    pub fn normalise_and_pool(z: &[f32], shape: Shape, scale: &[f32], shift: &[f32], y: &mut [f32]) {
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
    pub fn pool(z: &[f32], shape: Shape, y: &mut [f32]) {
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
    pub fn gradient_sums(
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
    pub fn pooled_gradient_sums(
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
    pub fn input_gradient(
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
    pub fn pooled_input_gradient(
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
    pub fn relu_gradient(z: &mut [f32], dy: &[f32]) {
        for (z, dy) in z.iter_mut().zip(dy) {
            *z = if *z > 0.0 { *dy } else { 0.0 };
        }
    }
}

vectorised! {
    pub fn pooled_relu_gradient(z: &mut [f32], dy: &[f32], shape: Shape) {
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
