//! The loops of `activation`: one sample at a time, compiled for each instruction set.

use crate::engine::cpu::plumbing::simd::vectorised;
use crate::vgg::Shape;

/// Pixels that are summed in f32 before the sum goes on in f64.
const BLOCK: usize = 16;
/// Channels that a pass holds in registers: many sums at once, because each waits for the one before it.
const LANES: usize = 64;
/// Channels that fill the largest register: what a pass without sums works on at a time, because the compiler does not
/// see that so many slices are apart.
const REGISTER: usize = 16;

/// max(v, 0); a NaN stays one, so that a diverged network is seen in its loss.
#[inline(always)]
pub fn relu(v: f32) -> f32 {
    if v < 0.0 { 0.0 } else { v }
}

/// The greatest of four; a NaN wins, as it does in torch.
#[inline(always)]
fn greatest(p: f32, q: f32, r: f32, s: f32) -> f32 {
    let greater = |a: f32, b: f32| if a > b || a.is_nan() { a } else { b };
    greater(greater(p, q), greater(r, s))
}

/// The channels `first ..` of a pixel: those beyond the last one are zero.
#[inline(always)]
fn lanes<const N: usize>(pixel: &[f32], first: usize) -> [f32; N] {
    if let Some(lanes) = pixel[first..].first_chunk::<N>() {
        return *lanes;
    }
    let mut all = [0.0; N];
    all[..pixel.len() - first].copy_from_slice(&pixel[first..]);
    all
}

/// Sets the channels `first ..` of a pixel.
#[inline(always)]
fn set_lanes<const N: usize>(pixel: &mut [f32], first: usize, lanes: &[f32; N]) {
    if let Some(to) = pixel[first..].first_chunk_mut::<N>() {
        return *to = *lanes;
    }
    let count = pixel.len() - first;
    pixel[first..].copy_from_slice(&lanes[..count]);
}

vectorised! {
    /// Mean and sum of squared deviations of each channel: partial [2][c].
    pub fn moments(z: &[f32], c: usize, partial: &mut [f64]) {
        let (mean, squares) = partial.split_at_mut(c);
        mean.fill(0.0);
        squares.fill(0.0);
        let mut done = 0.0;
        for block in z.chunks(BLOCK * c) {
            let count = (block.len() / c) as f64;
            let (inverse, share, weight) = (1.0 / count, count / (done + count), done * count / (done + count));
            let narrow_inverse = inverse as f32;
            for first in (0..c).step_by(LANES) {
                let mut sum = [0.0f32; LANES];
                for pixel in block.chunks_exact(c) {
                    let pixel = lanes::<LANES>(pixel, first);
                    for l in 0..LANES {
                        sum[l] += pixel[l];
                    }
                }
                let block_mean = sum.map(|s| s * narrow_inverse);
                let mut deviation = [0.0f32; LANES];
                for pixel in block.chunks_exact(c) {
                    let pixel = lanes::<LANES>(pixel, first);
                    for l in 0..LANES {
                        let d = pixel[l] - block_mean[l];
                        deviation[l] += d * d;
                    }
                }
                // The mean of a block is rounded; what that moves the squares by is far below their own rounding.
                let end = c.min(first + LANES);
                let (mean, squares) = (&mut mean[first..end], &mut squares[first..end]);
                for (l, (mean, squares)) in mean.iter_mut().zip(squares).enumerate() {
                    let delta = f64::from(sum[l]) * inverse - *mean;
                    *mean += delta * share;
                    *squares += f64::from(deviation[l]) + delta * delta * weight;
                }
            }
            done += count;
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

/// Adds sums and products of one block of pixels to partial [2][c].
#[inline(always)]
fn add_sums(partial: &mut [f64], c: usize, first: usize, inverse: &[f32], sum: &[f32; LANES], product: &[f32; LANES]) {
    let (sums, products) = partial.split_at_mut(c);
    let end = c.min(first + LANES);
    for (l, to) in sums[first..end].iter_mut().enumerate() {
        *to += f64::from(sum[l]);
    }
    for ((l, to), inverse) in products[first..end].iter_mut().enumerate().zip(&inverse[first..end]) {
        *to += f64::from(product[l]) * f64::from(*inverse);
    }
}

vectorised! {
    /// Adds to partial [2][c] the sums of g and g * xhat, g being dy where the ReLU let it through.
    pub fn gradient_sums(
        z: &[f32], dy: &[f32], c: usize,
        scale: &[f32], shift: &[f32], mean: &[f32], inverse: &[f32], partial: &mut [f64],
    ) {
        for (z, dy) in z.chunks(BLOCK * c).zip(dy.chunks(BLOCK * c)) {
            for first in (0..c).step_by(LANES) {
                let [scale, shift, mean] = [scale, shift, mean].map(|v| lanes::<LANES>(v, first));
                let (mut sum, mut product) = ([0.0f32; LANES], [0.0f32; LANES]);
                for (z, dy) in z.chunks_exact(c).zip(dy.chunks_exact(c)) {
                    let (z, dy) = (lanes::<LANES>(z, first), lanes::<LANES>(dy, first));
                    for l in 0..LANES {
                        let g = if z[l] * scale[l] + shift[l] > 0.0 { dy[l] } else { 0.0 };
                        sum[l] += g;
                        product[l] += g * (z[l] - mean[l]);
                    }
                }
                add_sums(partial, c, first, inverse, &sum, &product);
            }
        }
    }
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
        for (block, dy) in dy.chunks(BLOCK * c).enumerate() {
            for first in (0..c).step_by(LANES) {
                let [scale, shift, mean] = [scale, shift, mean].map(|v| lanes::<LANES>(v, first));
                let (mut sum, mut product) = ([0.0f32; LANES], [0.0f32; LANES]);
                for (pixel, dy) in dy.chunks_exact(c).enumerate() {
                    let pixel = block * BLOCK + pixel;
                    let window = window(z, shape, pixel / columns, pixel % columns);
                    let [p, q, r, s] = window.map(|z| lanes::<LANES>(z, first));
                    let dy = lanes::<LANES>(dy, first);
                    for l in 0..LANES {
                        let (value, z) = winner([p[l], q[l], r[l], s[l]], scale[l], shift[l]);
                        let g = if value > 0.0 { dy[l] } else { 0.0 };
                        sum[l] += g;
                        product[l] += g * (z - mean[l]);
                    }
                }
                add_sums(partial, c, first, inverse, &sum, &product);
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

/// What each of a window's values gets of the gradient `g`: the first one that is `best` all of it.
#[inline(always)]
fn shares(values: [f32; 4], best: f32, g: f32) -> [f32; 4] {
    let take = |value: f32, left: f32| if value == best { (left, 0.0) } else { (0.0, left) };
    let (one, left) = take(values[0], g);
    let (two, left) = take(values[1], left);
    let (three, left) = take(values[2], left);
    [one, two, three, left]
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
                for first in (0..c).step_by(REGISTER) {
                    let [scale, shift, b, d, dy] = [scale, shift, b, d, dy].map(|v| lanes::<REGISTER>(v, first));
                    let [mut p2, mut q2, mut r2, mut s2] = [&*p, q, r, s].map(|z| lanes::<REGISTER>(z, first));
                    for l in 0..REGISTER {
                        let z = [p2[l], q2[l], r2[l], s2[l]];
                        let f = z.map(|z| z * scale[l] + shift[l]);
                        let best = greatest(f[0], f[1], f[2], f[3]);
                        let g = dy[l] * scale[l];
                        let rest = z.map(|z| b[l] * z + d[l]);
                        let taken = shares(f, best, if best > 0.0 { g } else { 0.0 });
                        (p2[l], q2[l]) = (rest[0] + taken[0], rest[1] + taken[1]);
                        (r2[l], s2[l]) = (rest[2] + taken[2], rest[3] + taken[3]);
                    }
                    set_lanes(p, first, &p2);
                    set_lanes(q, first, &q2);
                    set_lanes(r, first, &r2);
                    set_lanes(s, first, &s2);
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
                for first in (0..c).step_by(REGISTER) {
                    let dy = lanes::<REGISTER>(dy, first);
                    let [mut p2, mut q2, mut r2, mut s2] = [&*p, q, r, s].map(|z| lanes::<REGISTER>(z, first));
                    for l in 0..REGISTER {
                        let z = [p2[l], q2[l], r2[l], s2[l]];
                        let best = greatest(z[0], z[1], z[2], z[3]);
                        [p2[l], q2[l], r2[l], s2[l]] = shares(z, best, if best > 0.0 { dy[l] } else { 0.0 });
                    }
                    set_lanes(p, first, &p2);
                    set_lanes(q, first, &q2);
                    set_lanes(r, first, &r2);
                    set_lanes(s, first, &s2);
                }
            }
            if shape.width % 2 == 1 {
                upper[line - c..].fill(0.0);
                lower[line - c..].fill(0.0);
            }
        }
    }
}
