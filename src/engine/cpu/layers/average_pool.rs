//! Adaptive averages ahead of the classifier.

use rayon::prelude::*;

use crate::vgg::Shape;

/// torch.nn.AdaptiveAvgPool2d's window of output `i`: floor(i * input / output) .. ceil((i + 1) * input / output).
fn window(i: usize, input: usize, output: usize) -> std::ops::Range<usize> {
    i * input / output..((i + 1) * input).div_ceil(output)
}

/// y [n, c * size * size], channel first (C, H, W), = averages of x [n,h,w,c].
pub fn forward(x: &[f32], shape: Shape, size: usize, y: &mut [f32]) {
    let c = shape.channels;
    x.par_chunks(shape.elements()).zip(y.par_chunks_mut(c * size * size)).for_each(|(x, y)| {
        for cell in 0..size * size {
            let (rows, columns) = cell_window(cell, shape, size);
            let factor = 1.0 / (rows.len() * columns.len()) as f32;
            (0..c).for_each(|l| y[l * size * size + cell] = 0.0);
            for row in rows {
                for column in columns.clone() {
                    let pixel = &x[(row * shape.width + column) * c..][..c];
                    pixel.iter().enumerate().for_each(|(l, v)| y[l * size * size + cell] += v);
                }
            }
            (0..c).for_each(|l| y[l * size * size + cell] *= factor);
        }
    });
}

/// dx [n,h,w,c] from dy [n, c * size * size].
pub fn backward(dy: &[f32], shape: Shape, size: usize, dx: &mut [f32]) {
    let c = shape.channels;
    dx.par_chunks_mut(shape.elements()).zip(dy.par_chunks(c * size * size)).for_each(|(dx, dy)| {
        dx.fill(0.0);
        for cell in 0..size * size {
            let (rows, columns) = cell_window(cell, shape, size);
            let factor = 1.0 / (rows.len() * columns.len()) as f32;
            for row in rows {
                for column in columns.clone() {
                    let pixel = &mut dx[(row * shape.width + column) * c..][..c];
                    pixel.iter_mut().enumerate().for_each(|(l, v)| *v += factor * dy[l * size * size + cell]);
                }
            }
        }
    });
}

fn cell_window(cell: usize, shape: Shape, size: usize) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    (window(cell / size, shape.height, size), window(cell % size, shape.width, size))
}
