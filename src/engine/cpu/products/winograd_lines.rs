//! Winograd's matrices in one dimension, of F(2, 3) and F(4, 3), as sums over registers.
//!
//! Those of F(2, 3) are sums and differences, and accuracy stays that of the direct sum. Those of F(4, 3) multiply: their
//! rounding errors are some three times as large.

use crate::engine::cpu::plumbing::lanes::Lanes;

/// One direction of a transform, from R values to S. A type and not a function, because a function that is handed on is
/// called through code compiled for the least instruction set, into which the intrinsics of a larger one are not
/// inlined. For the same reason plain loops take the place of `array::from_fn` and `map` here and below.
pub trait Line<const R: usize, const S: usize> {
    fn line<L: Lanes>(values: [L; R]) -> [L; S];
}

/// F(4, 3) interpolates at 0, A, -A, B, -B and infinity, F(2, 3) at 0, 1, -1 and infinity. Of all pairs tried these have
/// the least rounding error, 0.45 times that of the usual 1 and 2; they and their powers up to the fourth are exact.
const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;
/// Products of the distances from point A, or B, to the others: what the filters are divided by.
const NORM_A: f32 = 2.0 * A2 * (A2 - B2);
const NORM_B: f32 = 2.0 * B2 * (B2 - A2);

/// B^T d, for tiles of M outputs.
pub struct Input<const M: usize>;

impl Line<4, 4> for Input<2> {
    #[inline(always)]
    fn line<L: Lanes>(d: [L; 4]) -> [L; 4] {
        [d[0].sub(d[2]), d[1].add(d[2]), d[2].sub(d[1]), d[1].sub(d[3])]
    }
}

impl Line<6, 6> for Input<4> {
    #[inline(always)]
    fn line<L: Lanes>(d: [L; 6]) -> [L; 6] {
        let (ends, middle) = (L::splat(A2 * B2), L::splat(-A2 - B2));
        let (minus_a2, minus_b2) = (L::splat(-A2), L::splat(-B2));
        let (even_a, odd_a) = (minus_b2.mul_add(d[2], d[4]), minus_b2.mul_add(d[1], d[3]));
        let (even_b, odd_b) = (minus_a2.mul_add(d[2], d[4]), minus_a2.mul_add(d[1], d[3]));
        [
            ends.mul_add(d[0], middle.mul_add(d[2], d[4])),
            L::splat(A).mul_add(odd_a, even_a),
            L::splat(-A).mul_add(odd_a, even_a),
            L::splat(B).mul_add(odd_b, even_b),
            L::splat(-B).mul_add(odd_b, even_b),
            ends.mul_add(d[1], middle.mul_add(d[3], d[5])),
        ]
    }
}

/// A^T m.
pub struct Output<const M: usize>;

impl Line<4, 2> for Output<2> {
    #[inline(always)]
    fn line<L: Lanes>(m: [L; 4]) -> [L; 2] {
        [m[0].add(m[1]).add(m[2]), m[1].sub(m[2]).sub(m[3])]
    }
}

impl Line<6, 4> for Output<4> {
    #[inline(always)]
    fn line<L: Lanes>(m: [L; 6]) -> [L; 4] {
        let (even_a, odd_a) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (even_b, odd_b) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(even_a).add(even_b),
            L::splat(A).mul_add(odd_a, L::splat(B).mul(odd_b)),
            L::splat(A2).mul_add(even_a, L::splat(B2).mul(even_b)),
            L::splat(A2 * A).mul_add(odd_a, L::splat(B2 * B).mul_add(odd_b, m[5])),
        ]
    }
}

/// A y: the adjoint of [`Output`].
pub struct Gradient<const M: usize>;

impl Line<2, 4> for Gradient<2> {
    #[inline(always)]
    fn line<L: Lanes>(y: [L; 2]) -> [L; 4] {
        [y[0], y[0].add(y[1]), y[0].sub(y[1]), L::splat(0.0).sub(y[1])]
    }
}

impl Line<4, 6> for Gradient<4> {
    #[inline(always)]
    fn line<L: Lanes>(y: [L; 4]) -> [L; 6] {
        let (even_a, odd_a) = (L::splat(A2).mul_add(y[2], y[0]), L::splat(A2).mul_add(y[3], y[1]));
        let (even_b, odd_b) = (L::splat(B2).mul_add(y[2], y[0]), L::splat(B2).mul_add(y[3], y[1]));
        [
            y[0],
            L::splat(A).mul_add(odd_a, even_a),
            L::splat(-A).mul_add(odd_a, even_a),
            L::splat(B).mul_add(odd_b, even_b),
            L::splat(-B).mul_add(odd_b, even_b),
            y[3],
        ]
    }
}

/// G g.
pub struct Filter<const M: usize>;

impl Line<3, 4> for Filter<2> {
    #[inline(always)]
    fn line<L: Lanes>(g: [L; 3]) -> [L; 4] {
        let half = L::splat(0.5);
        let (sum, middle) = (g[0].add(g[2]).mul(half), g[1].mul(half));
        [g[0], sum.add(middle), sum.sub(middle), g[2]]
    }
}

impl Line<3, 6> for Filter<4> {
    #[inline(always)]
    fn line<L: Lanes>(g: [L; 3]) -> [L; 6] {
        let even_a = L::splat(A2).mul_add(g[2], g[0]).mul(L::splat(1.0 / NORM_A));
        let even_b = L::splat(B2).mul_add(g[2], g[0]).mul(L::splat(1.0 / NORM_B));
        let (odd_a, odd_b) = (g[1].mul(L::splat(A / NORM_A)), g[1].mul(L::splat(B / NORM_B)));
        [
            g[0].mul(L::splat(1.0 / (A2 * B2))),
            even_a.add(odd_a),
            even_a.sub(odd_a),
            even_b.add(odd_b),
            even_b.sub(odd_b),
            g[2],
        ]
    }
}

/// G^T u: the adjoint of [`Filter`].
pub struct FilterGradient<const M: usize>;

impl Line<4, 3> for FilterGradient<2> {
    #[inline(always)]
    fn line<L: Lanes>(u: [L; 4]) -> [L; 3] {
        let half = L::splat(0.5);
        let (sum, difference) = (u[1].add(u[2]).mul(half), u[1].sub(u[2]).mul(half));
        [u[0].add(sum), difference, sum.add(u[3])]
    }
}

impl Line<6, 3> for FilterGradient<4> {
    #[inline(always)]
    fn line<L: Lanes>(u: [L; 6]) -> [L; 3] {
        let (even_a, odd_a) = (u[1].add(u[2]).mul(L::splat(1.0 / NORM_A)), u[1].sub(u[2]));
        let (even_b, odd_b) = (u[3].add(u[4]).mul(L::splat(1.0 / NORM_B)), u[3].sub(u[4]));
        [
            L::splat(1.0 / (A2 * B2)).mul_add(u[0], even_a.add(even_b)),
            L::splat(A / NORM_A).mul_add(odd_a, L::splat(B / NORM_B).mul(odd_b)),
            L::splat(A2).mul_add(even_a, L::splat(B2).mul_add(even_b, u[5])),
        ]
    }
}
