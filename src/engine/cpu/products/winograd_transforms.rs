//! The transforms of Winograd's minimal filtering F(2x2, 3x3) and F(4x4, 3x3) (Lavin & Gray 2016, section 4), over
//! channels: a 4x4 or 6x6 tile of input becomes 16 or 36 values, whose products with as many values of a filter give a
//! 2x2 or 4x4 tile of output. `winograd_lines` has their matrices.

#![allow(clippy::needless_range_loop, reason = "see `Line`")]

use super::product::GROUP;
use super::winograd_lines::{Filter, FilterGradient, Gradient, Input, Line, Output};
use crate::engine::cpu::plumbing::lanes::{Lanes, kernel};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// F(2x2, 3x3).
    Two,
    /// F(4x4, 3x3).
    Four,
}

/// Most values of a tile.
pub const MOST_POINTS: usize = 36;

impl Size {
    /// Rows and columns of a tile of output.
    pub fn output(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Rows and columns of a tile of input, and of its transformed values.
    pub fn input(self) -> usize {
        self.output() + 2
    }

    /// Transformed values of a tile.
    pub fn points(self) -> usize {
        self.input() * self.input()
    }
}

/// Where a tile's values go: point p of channel c at `data + p * point + c / 16 * group + c % 16`.
#[derive(Clone, Copy)]
pub struct Points {
    pub data: *mut f32,
    pub point: usize,
    pub group: usize,
}

impl Points {
    #[inline(always)]
    fn channel(&self, c: usize) -> usize {
        c / GROUP * self.group + c % GROUP
    }
}

/// Applies F to the rows of an RxR grid and then to its columns.
#[inline(always)]
fn both<L: Lanes, F: Line<R, S>, const R: usize, const S: usize>(grid: [[L; R]; R]) -> [[L; S]; S] {
    let mut half = [[L::splat(0.0); S]; R];
    for r in 0..R {
        half[r] = F::line(grid[r]);
    }
    let mut result = [[L::splat(0.0); S]; S];
    for s in 0..S {
        let mut column = [L::splat(0.0); R];
        for r in 0..R {
            column[r] = half[r][s];
        }
        let column = F::line(column);
        for r in 0..S {
            result[r][s] = column[r];
        }
    }
    result
}

/// Stores a grid of values of channel `c` and the following ones.
#[inline(always)]
unsafe fn store<L: Lanes, const S: usize>(values: [[L; S]; S], c: usize, to: Points) {
    // SAFETY: the caller's promise.
    unsafe {
        let start = to.data.add(to.channel(c));
        for r in 0..S {
            for s in 0..S {
                values[r][s].store(start.add((S * r + s) * to.point));
            }
        }
    }
}

/// Loads a grid of values of channel `c` and the following ones.
#[inline(always)]
unsafe fn load<L: Lanes, const S: usize>(c: usize, from: Points) -> [[L; S]; S] {
    // SAFETY: the caller's promise.
    unsafe {
        let start = from.data.add(from.channel(c)).cast_const();
        let mut values = [[L::splat(0.0); S]; S];
        for r in 0..S {
            for s in 0..S {
                values[r][s] = L::load(start.add((S * r + s) * from.point));
            }
        }
        values
    }
}

/// Loads an SxS tile of pixels.
#[inline(always)]
unsafe fn load_pixels<L: Lanes, const S: usize>(c: usize, pixels: &[*const f32; MOST_POINTS]) -> [[L; S]; S] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut values = [[L::splat(0.0); S]; S];
        for r in 0..S {
            for s in 0..S {
                values[r][s] = L::load(pixels[S * r + s].add(c));
            }
        }
        values
    }
}

/// Runs `$each` of a size for register-wide steps over the channels, and lane by lane for the rest.
macro_rules! over_channels {
    ($size:expr, $lanes:ident, $channels:expr, $each:ident ( $($argument:expr),* )) => {
        match $size {
            Size::Two => over_channels!(4, 2, $lanes, $channels, $each ( $($argument),* )),
            Size::Four => over_channels!(6, 4, $lanes, $channels, $each ( $($argument),* )),
        }
    };
    ($input:literal, $output:literal, $lanes:ident, $channels:expr, $each:ident ( $($argument:expr),* )) => {{
        let mut c = 0;
        while c + $lanes::COUNT <= $channels {
            $each::<$lanes, $input, $output>(c, $($argument),*);
            c += $lanes::COUNT;
        }
        while c < $channels {
            $each::<f32, $input, $output>(c, $($argument),*);
            c += 1;
        }
    }};
}

kernel! {
    /// V = B^T d B for `channels` channels of the pixels of a tile of input that `pixels` point to.
    ///
    /// # Safety
    /// Each pixel of the tile has `channels` floats; all of `to` can be written and is used by no other task.
    pub unsafe fn input<L>(size: Size, pixels: &[*const f32; MOST_POINTS], channels: usize, to: Points) {
        #[inline(always)]
        unsafe fn each<L: Lanes, const T: usize, const M: usize>(
            c: usize, pixels: &[*const f32; MOST_POINTS], to: Points,
        ) where Input<M>: Line<T, T> {
            // SAFETY: the caller's promise.
            unsafe { store(both::<L, Input<M>, T, T>(load_pixels(c, pixels)), c, to) }
        }
        // SAFETY: the caller's promise.
        unsafe { over_channels!(size, L, channels, each(pixels, to)) }
    }
}

kernel! {
    /// A dy A^T for `channels` channels of the pixels of a tile of output that `pixels` point to.
    ///
    /// # Safety
    /// As for [`input`].
    pub unsafe fn gradient<L>(size: Size, pixels: &[*const f32; MOST_POINTS], channels: usize, to: Points) {
        #[inline(always)]
        unsafe fn each<L: Lanes, const T: usize, const M: usize>(
            c: usize, pixels: &[*const f32; MOST_POINTS], to: Points,
        ) where Gradient<M>: Line<M, T> {
            // SAFETY: the caller's promise.
            unsafe { store(both::<L, Gradient<M>, M, T>(load_pixels(c, pixels)), c, to) }
        }
        // SAFETY: the caller's promise.
        unsafe { over_channels!(size, L, channels, each(pixels, to)) }
    }
}

kernel! {
    /// A^T m A + bias, then max(., 0) with `relu`, to those `pixels` of a tile of output that are not null.
    ///
    /// # Safety
    /// `from` has `channels` floats at each point, `bias` has `channels` floats or is null, each pixel that is not null
    /// can be written and is used by no other task.
    pub unsafe fn output<L>(
        size: Size, from: Points, channels: usize, bias: *const f32, relu: bool, pixels: &[*mut f32; MOST_POINTS],
    ) {
        #[inline(always)]
        unsafe fn each<L: Lanes, const T: usize, const M: usize>(
            c: usize, from: Points, bias: *const f32, relu: bool, pixels: &[*mut f32; MOST_POINTS],
        ) where Output<M>: Line<T, M> {
            // SAFETY: the caller's promise.
            unsafe {
                let values = both::<L, Output<M>, T, M>(load(c, from));
                let bias = if bias.is_null() { L::splat(0.0) } else { L::load(bias.add(c)) };
                for r in 0..M {
                    for s in 0..M {
                        let pixel = pixels[M * r + s];
                        if !pixel.is_null() {
                            let value = values[r][s].add(bias);
                            (if relu { value.relu() } else { value }).store(pixel.add(c));
                        }
                    }
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { over_channels!(size, L, channels, each(from, bias, relu, pixels)) }
    }
}

kernel! {
    /// U = G g G^T for `channels` channels of `rows` filters that lie `row` apart, tap t at `filter + t * tap`; the
    /// values of the next filter go `next` floats further on.
    ///
    /// # Safety
    /// As for [`input`].
    pub unsafe fn filter<L>(
        size: Size, filter: *const f32, tap: usize, rows: usize, row: usize, channels: usize, to: Points, next: usize,
    ) {
        #[inline(always)]
        unsafe fn each<L: Lanes, const T: usize, const M: usize>(
            c: usize, filter: *const f32, tap: usize, to: Points,
        ) where Filter<M>: Line<3, T> {
            // SAFETY: the caller's promise.
            unsafe {
                let mut taps = [[L::splat(0.0); 3]; 3];
                for r in 0..3 {
                    for s in 0..3 {
                        taps[r][s] = L::load(filter.add((3 * r + s) * tap + c));
                    }
                }
                store(both::<L, Filter<M>, 3, T>(taps), c, to);
            }
        }
        for i in 0..rows {
            // SAFETY: the caller's promise.
            unsafe {
                let (from, to) = (filter.add(i * row), Points { data: to.data.add(i * next), ..to });
                over_channels!(size, L, channels, each(from, tap, to));
            }
        }
    }
}

kernel! {
    /// dg = G^T dU G for `channels` channels; tap t goes to `filter + t * tap`, or is added to it with `accumulate`.
    ///
    /// # Safety
    /// `from` has `channels` floats at each point; the taps can be written and are used by no other task.
    pub unsafe fn filter_gradient<L>(
        size: Size, from: Points, channels: usize, filter: *mut f32, tap: usize, accumulate: bool,
    ) {
        #[inline(always)]
        unsafe fn each<L: Lanes, const T: usize, const M: usize>(
            c: usize, from: Points, filter: *mut f32, tap: usize, accumulate: bool,
        ) where FilterGradient<M>: Line<T, 3> {
            // SAFETY: the caller's promise.
            unsafe {
                let values = both::<L, FilterGradient<M>, T, 3>(load(c, from));
                for r in 0..3 {
                    for s in 0..3 {
                        let to = filter.add((3 * r + s) * tap + c);
                        (if accumulate { L::load(to).add(values[r][s]) } else { values[r][s] }).store(to);
                    }
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { over_channels!(size, L, channels, each(from, filter, tap, accumulate)) }
    }
}
