//! The product of a few rows with packed panels: the innermost loops of the convolutions.
//!
//! c [rows, 16 * groups] = a [rows, depth] * b, or += with `accumulate`. Element (r, k) of a lies at
//! `r * row + k * step`, so that rows may be rows or columns of what is in memory. b lies in groups of 16 columns:
//! element (k, 16 * g + l) at `g * group + k * step + l`. Sums run from k = 0 on and start at zero.

#![allow(clippy::needless_range_loop, reason = "closures would not be inlined: see `winograd_lines`")]

use crate::engine::cpu::plumbing::lanes::{Lanes, kernel};

/// Columns of a group of b.
pub const GROUP: usize = 16;

/// The left side: element (r, k) at `data + r * row + k * step`.
#[derive(Clone, Copy)]
pub struct Left {
    pub data: *const f32,
    pub row: usize,
    pub step: usize,
}

/// The right side: element (k, 16 g + l) at `data + g * group + k * step + l`. What lies `ahead` floats further on is
/// asked for early; without, that is the next groups.
#[derive(Clone, Copy)]
pub struct Right {
    pub data: *const f32,
    pub group: usize,
    pub step: usize,
    pub ahead: Option<usize>,
}

/// The result: row r starts at `data + r * row`.
#[derive(Clone, Copy)]
pub struct Result {
    pub data: *mut f32,
    pub row: usize,
    pub accumulate: bool,
}

kernel! {
    /// See the module.
    ///
    /// # Safety
    /// All elements named by `a`, `b` and `c` for these sizes can be read, those of `c` written, and no other task
    /// uses those of `c`.
    pub unsafe fn multiply<L>(rows: usize, depth: usize, groups: usize, a: Left, b: Right, c: Result) {
        // Two groups at once where a register is a whole group; one where it takes several registers.
        let (wide, high) = if L::COUNT == GROUP { (2, 12) } else { (1, if L::COUNT == 8 { 6 } else { 3 }) };
        // Blocks of equal height, as high as registers allow.
        let mut g = 0;
        while g < groups {
            let count = wide.min(groups - g);
            let mut r = 0;
            while r < rows {
                let height = (rows - r).div_ceil((rows - r).div_ceil(high));
                // SAFETY: rows r .. r + height and groups g .. g + count lie within the caller's sizes.
                unsafe {
                    let a = Left { data: a.data.add(r * a.row), ..a };
                    let b = Right { data: b.data.add(g * b.group), ..b };
                    let c = Result { data: c.data.add(r * c.row + g * GROUP), ..c };
                    match (L::COUNT, count) {
                        (16, 2) => by_height::<L, 2>(height, depth, a, b, c),
                        (16, _) => by_height::<L, 1>(height, depth, a, b, c),
                        (8, _) => by_height::<L, 2>(height, depth, a, b, c),
                        _ => by_height::<L, 4>(height, depth, a, b, c),
                    }
                }
                r += height;
            }
            g += count;
        }
    }
}

/// Picks the block of exactly `height` rows.
#[inline(always)]
unsafe fn by_height<L: Lanes, const W: usize>(height: usize, depth: usize, a: Left, b: Right, c: Result) {
    // SAFETY: the caller's promise. Heights above 6 are asked for with 16 lanes only, above 3 with 8 or more.
    unsafe {
        match height {
            1 => block::<L, W, 1>(depth, a, b, c),
            2 => block::<L, W, 2>(depth, a, b, c),
            3 => block::<L, W, 3>(depth, a, b, c),
            4 if L::COUNT >= 8 => block::<L, W, 4>(depth, a, b, c),
            5 if L::COUNT >= 8 => block::<L, W, 5>(depth, a, b, c),
            6 if L::COUNT >= 8 => block::<L, W, 6>(depth, a, b, c),
            7 if L::COUNT >= 16 => block::<L, W, 7>(depth, a, b, c),
            8 if L::COUNT >= 16 => block::<L, W, 8>(depth, a, b, c),
            9 if L::COUNT >= 16 => block::<L, W, 9>(depth, a, b, c),
            10 if L::COUNT >= 16 => block::<L, W, 10>(depth, a, b, c),
            11 if L::COUNT >= 16 => block::<L, W, 11>(depth, a, b, c),
            12 if L::COUNT >= 16 => block::<L, W, 12>(depth, a, b, c),
            _ => {}
        }
    }
}

/// Asks for the cache line at `at`, which need not exist.
#[inline(always)]
fn prefetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, without effect on anything but time.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// One block of R rows and W registers, all in registers.
#[inline(always)]
unsafe fn block<L: Lanes, const W: usize, const R: usize>(depth: usize, a: Left, b: Right, c: Result) {
    // SAFETY: the caller's promise, for every pointer below.
    unsafe {
        let mut sum = [[L::splat(0.0); W]; R];
        // Three rows to a pointer keep the addresses in registers.
        let mut rows = [a.data; 4];
        for i in 1..R.div_ceil(3) {
            rows[i] = a.data.add(3 * i * a.row);
        }
        let mut from = b.data;
        // The rows of the next block, a line of each in turn.
        let (mut line, mut next) = (0, a.data.wrapping_add(R * a.row));
        let ahead = b.ahead.unwrap_or((W * L::COUNT).div_ceil(GROUP) * b.group);
        for _ in 0..depth {
            let mut right = [L::splat(0.0); W];
            for w in 0..W {
                let column = w * L::COUNT;
                let column = column / GROUP * b.group + column % GROUP;
                right[w] = L::load(from.add(column));
                // The next panel comes from far away, in pieces too short for the processor to see a stream.
                prefetch(from.wrapping_add(column + ahead));
            }
            if a.step == 1 {
                prefetch(next.wrapping_add(line));
                line += a.row;
                if line == GROUP * a.row {
                    (line, next) = (0, next.wrapping_add(GROUP));
                }
            }
            for r in 0..R {
                let left = L::splat(*rows[r / 3].add(r % 3 * a.row));
                for w in 0..W {
                    sum[r][w] = left.mul_add(right[w], sum[r][w]);
                }
            }
            for i in 0..4 {
                rows[i] = rows[i].wrapping_add(a.step);
            }
            from = from.wrapping_add(b.step);
        }
        for r in 0..R {
            for w in 0..W {
                let to = c.data.add(r * c.row + w * L::COUNT);
                (if c.accumulate { L::load(to).add(sum[r][w]) } else { sum[r][w] }).store(to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cpu::plumbing::simd::InstructionSet;

    #[test]
    fn every_set_height_and_width() {
        let (depth, groups) = (19, 5);
        let value = |i: usize| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0;
        for set in [InstructionSet::Portable, InstructionSet::Avx2, InstructionSet::Avx512] {
            for rows in 1..=29 {
                let a: Vec<f32> = (0..rows * depth).map(value).collect();
                let b: Vec<f32> = (0..groups * depth * GROUP).map(|i| value(i + 7)).collect();
                for transposed in [false, true] {
                    let left = if transposed {
                        Left { data: a.as_ptr(), row: 1, step: rows }
                    } else {
                        Left { data: a.as_ptr(), row: depth, step: 1 }
                    };
                    let right = Right { data: b.as_ptr(), group: depth * GROUP, step: GROUP, ahead: None };
                    let mut c = vec![1.0f32; rows * groups * GROUP];
                    for accumulate in [false, true] {
                        let to = Result { data: c.as_mut_ptr(), row: groups * GROUP, accumulate };
                        // SAFETY: the slices have the sizes that the sides name.
                        unsafe { multiply(set, rows, depth, groups, left, right, to) };
                    }
                    for r in 0..rows {
                        for j in 0..groups * GROUP {
                            let at = |k: usize| f64::from(a[if transposed { k * rows + r } else { r * depth + k }]);
                            let right = |k: usize| f64::from(b[j / GROUP * depth * GROUP + k * GROUP + j % GROUP]);
                            let expected: f64 = 2.0 * (0..depth).map(|k| at(k) * right(k)).sum::<f64>();
                            let got = f64::from(c[r * groups * GROUP + j]);
                            assert!(
                                (got - expected).abs() < 1e-5,
                                "{} {rows} ({r}, {j}): {got} {expected}",
                                set.name()
                            );
                        }
                    }
                }
            }
        }
    }
}
