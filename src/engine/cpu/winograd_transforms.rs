//! The transforms of Winograd's minimal filtering F(2x2, 3x3) (Lavin & Gray 2016, section 4.1), over channels:
//! a 4x4 tile of input becomes 16 values, whose products with 16 values of a filter give a 2x2 tile of output.
//!
//! All sums and differences: accuracy stays that of the direct sum.

#![allow(clippy::needless_range_loop, reason = "see `both`")]

use super::lanes::{Lanes, kernel};
use super::product::GROUP;

/// Values of a tile.
pub const POINTS: usize = 16;

/// Where a tile's values go: point p of channel c at `data + p * point + c / 16 * group + c % 16`.
#[derive(Clone, Copy)]
pub struct Points {
    pub data: *mut f32,
    pub point: usize,
    pub group: usize,
}

/// B^T d of four values.
#[inline(always)]
fn input_line<L: Lanes>(d: [L; 4]) -> [L; 4] {
    [d[0].sub(d[2]), d[1].add(d[2]), d[2].sub(d[1]), d[1].sub(d[3])]
}

/// A y of two values: the adjoint of [`output_line`].
#[inline(always)]
fn gradient_line<L: Lanes>(y: [L; 2]) -> [L; 4] {
    let zero = L::splat(0.0);
    [y[0], y[0].add(y[1]), y[0].sub(y[1]), zero.sub(y[1])]
}

/// A^T m of four values.
#[inline(always)]
fn output_line<L: Lanes>(m: [L; 4]) -> [L; 2] {
    [m[0].add(m[1]).add(m[2]), m[1].sub(m[2]).sub(m[3])]
}

/// G g of three values.
#[inline(always)]
fn filter_line<L: Lanes>(g: [L; 3]) -> [L; 4] {
    let half = L::splat(0.5);
    let (sum, middle) = (g[0].add(g[2]).mul(half), g[1].mul(half));
    [g[0], sum.add(middle), sum.sub(middle), g[2]]
}

/// G^T u of four values: the adjoint of [`filter_line`].
#[inline(always)]
fn filter_gradient_line<L: Lanes>(u: [L; 4]) -> [L; 3] {
    let half = L::splat(0.5);
    let (sum, difference) = (u[1].add(u[2]).mul(half), u[1].sub(u[2]).mul(half));
    [u[0].add(sum), difference, sum.add(u[3])]
}

/// Applies `line` to the rows of an RxR grid and then to its columns.
///
/// Here and below plain loops take the place of `array::from_fn` and `map`: a closure is a function of its own, compiled
/// for the least instruction set, and the intrinsics of a larger one would not be inlined into it.
#[inline(always)]
fn both<L: Lanes, const R: usize, const S: usize>(grid: [[L; R]; R], line: impl Fn([L; R]) -> [L; S]) -> [[L; S]; S] {
    let mut half = [[L::splat(0.0); S]; R];
    for r in 0..R {
        half[r] = line(grid[r]);
    }
    let mut result = [[L::splat(0.0); S]; S];
    for s in 0..S {
        let mut column = [L::splat(0.0); R];
        for r in 0..R {
            column[r] = half[r][s];
        }
        let column = line(column);
        for r in 0..S {
            result[r][s] = column[r];
        }
    }
    result
}

/// Runs `$each` for register-wide steps over the channels, and lane by lane for the rest.
macro_rules! over_channels {
    ($lanes:ident, $channels:expr, $each:ident ( $($argument:expr),* )) => {{
        let mut c = 0;
        while c + $lanes::COUNT <= $channels {
            $each::<$lanes>(c, $($argument),*);
            c += $lanes::COUNT;
        }
        while c < $channels {
            $each::<f32>(c, $($argument),*);
            c += 1;
        }
    }};
}

impl Points {
    #[inline(always)]
    fn channel(&self, c: usize) -> usize {
        c / GROUP * self.group + c % GROUP
    }
}

kernel! {
    /// V = B^T d B for `channels` channels of the 16 pixels that `pixels` point to.
    ///
    /// # Safety
    /// Each pixel has `channels` floats; all of `to` can be written and is used by no other task.
    pub unsafe fn input<L>(pixels: &[*const f32; POINTS], channels: usize, to: Points) {
        #[inline(always)]
        unsafe fn each<L: Lanes>(c: usize, pixels: &[*const f32; POINTS], to: Points) {
            // SAFETY: the caller's promise.
            unsafe {
                let mut tile = [[L::splat(0.0); 4]; 4];
                for r in 0..4 {
                    for s in 0..4 {
                        tile[r][s] = L::load(pixels[4 * r + s].add(c));
                    }
                }
                let values = both(tile, input_line);
                let start = to.data.add(to.channel(c));
                for r in 0..values.len() {
                    for s in 0..values.len() {
                        let p = values.len() * r + s;
                        values[r][s].store(start.add(p * to.point));
                    }
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { over_channels!(L, channels, each(pixels, to)) }
    }
}

kernel! {
    /// A dy A^T for `channels` channels of the 4 pixels that `pixels` point to.
    ///
    /// # Safety
    /// As for [`input`].
    pub unsafe fn gradient<L>(pixels: &[*const f32; 4], channels: usize, to: Points) {
        #[inline(always)]
        unsafe fn each<L: Lanes>(c: usize, pixels: &[*const f32; 4], to: Points) {
            // SAFETY: the caller's promise.
            unsafe {
                let mut tile = [[L::splat(0.0); 2]; 2];
                for r in 0..2 {
                    for s in 0..2 {
                        tile[r][s] = L::load(pixels[2 * r + s].add(c));
                    }
                }
                let values = both(tile, gradient_line);
                let start = to.data.add(to.channel(c));
                for r in 0..values.len() {
                    for s in 0..values.len() {
                        let p = values.len() * r + s;
                        values[r][s].store(start.add(p * to.point));
                    }
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { over_channels!(L, channels, each(pixels, to)) }
    }
}

kernel! {
    /// A^T m A + bias, then max(., 0) with `relu`, to those of the 4 `pixels` that are not null.
    ///
    /// # Safety
    /// `from` has `channels` floats at each point (group 16: contiguous), `bias` has `channels` floats or is null,
    /// each pixel that is not null can be written and is used by no other task.
    pub unsafe fn output<L>(from: Points, channels: usize, bias: *const f32, relu: bool, pixels: &[*mut f32; 4]) {
        #[inline(always)]
        unsafe fn each<L: Lanes>(c: usize, from: Points, bias: *const f32, relu: bool, pixels: &[*mut f32; 4]) {
            // SAFETY: the caller's promise.
            unsafe {
                let start = from.data.add(from.channel(c)).cast_const();
                let mut grid = [[L::splat(0.0); 4]; 4];
                for r in 0..4 {
                    for s in 0..4 {
                        grid[r][s] = L::load(start.add((4 * r + s) * from.point));
                    }
                }
                let values = both(grid, output_line);
                let bias = if bias.is_null() { L::splat(0.0) } else { L::load(bias.add(c)) };
                for r in 0..2 {
                    for s in 0..2 {
                        let pixel = pixels[2 * r + s];
                        if !pixel.is_null() {
                            let value = values[r][s].add(bias);
                            (if relu { value.relu() } else { value }).store(pixel.add(c));
                        }
                    }
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { over_channels!(L, channels, each(from, bias, relu, pixels)) }
    }
}

kernel! {
    /// U = G g G^T for `channels` channels; tap t at `filter + t * tap`.
    ///
    /// # Safety
    /// As for [`input`].
    pub unsafe fn filter<L>(filter: *const f32, tap: usize, channels: usize, to: Points) {
        #[inline(always)]
        unsafe fn each<L: Lanes>(c: usize, filter: *const f32, tap: usize, to: Points) {
            // SAFETY: the caller's promise.
            unsafe {
                let mut taps = [[L::splat(0.0); 3]; 3];
                for r in 0..3 {
                    for s in 0..3 {
                        taps[r][s] = L::load(filter.add((3 * r + s) * tap + c));
                    }
                }
                let values = both(taps, filter_line);
                let start = to.data.add(to.channel(c));
                for r in 0..values.len() {
                    for s in 0..values.len() {
                        let p = values.len() * r + s;
                        values[r][s].store(start.add(p * to.point));
                    }
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { over_channels!(L, channels, each(filter, tap, to)) }
    }
}

kernel! {
    /// dg = G^T dU G for `channels` channels, dU being the sum over `parts` that lie `part` apart, added in order;
    /// tap t goes to `filter + t * tap`.
    ///
    /// # Safety
    /// `from` has `channels` floats at each point of each part; the taps can be written and are used by no other task.
    pub unsafe fn filter_gradient<L>(
        from: Points, parts: usize, part: usize, channels: usize, filter: *mut f32, tap: usize,
    ) {
        #[inline(always)]
        unsafe fn each<L: Lanes>(c: usize, from: Points, parts: usize, part: usize, filter: *mut f32, tap: usize) {
            // SAFETY: the caller's promise.
            unsafe {
                let start = from.data.add(from.channel(c)).cast_const();
                let mut grid = [[L::splat(0.0); 4]; 4];
                for r in 0..4 {
                    for s in 0..4 {
                        let first = start.add((4 * r + s) * from.point);
                        let mut sum = L::load(first);
                        for p in 1..parts {
                            sum = sum.add(L::load(first.add(p * part)));
                        }
                        grid[r][s] = sum;
                    }
                }
                let values = both(grid, filter_gradient_line);
                for r in 0..values.len() {
                    for s in 0..values.len() {
                        let t = values.len() * r + s;
                        values[r][s].store(filter.add(t * tap + c));
                    }
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { over_channels!(L, channels, each(from, parts, part, filter, tap)) }
    }
}
