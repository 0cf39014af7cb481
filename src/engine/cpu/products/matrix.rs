//! The matrix product, as the `gemm` crate computes it on one thread: callers cut the work into slabs themselves.

use gemm::Parallelism;

use crate::engine::cpu::plumbing::buffer::Shared;

/// A read-only matrix in a slice: element (r, c) lies at `r * row_stride + c * column_stride`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row after row, `row_stride` apart.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(
            rows == 0 || columns == 0 || (rows - 1) * row_stride + columns <= data.len(),
            "matrix exceeds its slice"
        );
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// Rows and columns swapped, without moving anything.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `destination = a b`, or `destination += a b` with `accumulate`; rows of the destination are `row_stride` apart.
pub fn multiply(destination: &mut [f32], row_stride: usize, accumulate: bool, a: Matrix<'_>, b: Matrix<'_>) {
    let destination = Shared::new(destination);
    // SAFETY: the destination is borrowed mutably, so nothing else uses it.
    unsafe { multiply_into(&destination, 0, row_stride, accumulate, a, b) }
}

/// [`multiply`] into the part of a shared slice that starts at `start`.
///
/// # Safety
/// No other task may use the destination's elements meanwhile.
pub unsafe fn multiply_into(
    destination: &Shared<'_>,
    start: usize,
    row_stride: usize,
    accumulate: bool,
    a: Matrix<'_>,
    b: Matrix<'_>,
) {
    assert_eq!(a.columns, b.rows, "inner dimensions differ");
    let (m, n, k) = (a.rows, b.columns, a.columns);
    if m == 0 || n == 0 {
        return;
    }
    assert!(start + (m - 1) * row_stride + n <= destination.len(), "destination too short");
    // Strides are at most a slice's length, which is at most isize::MAX.
    #[expect(clippy::cast_possible_wrap, reason = "strides lie within slices")]
    // SAFETY: every element of the three matrices lies within its slice (asserted here and in Matrix::new), and the
    // destination is the caller's alone.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            destination.at(start),
            1,
            row_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_and_transposes() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2x3
        let b = [1.0, -1.0, 0.5, 2.0, 0.0, 3.0]; // 3x2
        let mut c = [9.0; 4];
        multiply(&mut c, 2, false, Matrix::new(&a, 2, 3, 3), Matrix::new(&b, 3, 2, 2));
        assert_eq!(c, [2.0, 12.0, 6.5, 24.0]);
        multiply(&mut c, 2, true, Matrix::new(&a, 2, 3, 3), Matrix::new(&b, 3, 2, 2));
        assert_eq!(c, [4.0, 24.0, 13.0, 48.0]);
        let mut d = [0.0; 9];
        multiply(&mut d, 3, false, Matrix::new(&b, 3, 2, 2), Matrix::new(&b, 3, 2, 2).transposed());
        assert_eq!(d, [2.0, -1.5, -3.0, -1.5, 4.25, 6.0, -3.0, 6.0, 9.0]);
    }
}
