//! From picks to activations: take an image, move the crop window (black outside), mirror, resize with the triangle
//! filter of [`resample`](crate::engine::resample), normalise as (value / 255 - mean) / std.
//!
//! Images u8 [count, height, width, 3], output [n, size, size, 3]. The resized value is not rounded to u8.

use super::Real;
use crate::engine::resample::{Window, windows};
use crate::engine::{Images, Normalisation, Pick};

/// Activations [n, size, size, 3] of `picks`; every index must be below `images.count`.
pub fn gather<T: Real>(images: &Images, picks: &[Pick], size: usize, normalisation: &Normalisation) -> Vec<T> {
    let pixels = (*images.pixels).as_ref();
    let (rows, columns) = (windows(images.height, size), windows(images.width, size));
    let mut output = Vec::with_capacity(picks.len() * size * size * 3);
    for pick in picks {
        for row in &rows {
            for column in &columns {
                for channel in 0..3 {
                    let value = resize(images, pixels, *pick, row, column, channel);
                    let (mean, std) = (normalisation.mean[channel], normalisation.std[channel]);
                    output.push(T::of((value / 255.0 - f64::from(mean)) / f64::from(std)));
                }
            }
        }
    }
    output
}

/// One resized value in 0..255.
fn resize(images: &Images, pixels: &[u8], pick: Pick, row: &Window, column: &Window, channel: usize) -> f64 {
    let mut sum = 0.0;
    for (r, row_weight) in row.weights.iter().enumerate() {
        for (c, column_weight) in column.weights.iter().enumerate() {
            let value = pixel(images, pixels, pick, row.start + r, column.start + c, channel);
            sum += row_weight * column_weight * f64::from(value);
        }
    }
    sum
}

/// A pixel of the cropped and mirrored image. The mirror comes after the crop, so it turns the window's columns.
fn pixel(images: &Images, pixels: &[u8], pick: Pick, row: usize, column: usize, channel: usize) -> u8 {
    let column = if pick.flip { images.width - 1 - column } else { column };
    let row = row.checked_add_signed(isize::from(pick.offset_y)).filter(|r| *r < images.height);
    let column = column.checked_add_signed(isize::from(pick.offset_x)).filter(|c| *c < images.width);
    match (row, column) {
        (Some(r), Some(c)) => pixels[((pick.index as usize * images.height + r) * images.width + c) * 3 + channel],
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Two images of 3 rows and 4 columns; R = row * 10 + column (+ 100 in the second image), G = R + 1, B = R + 2.
    fn images() -> Images {
        let mut pixels = Vec::new();
        for image in 0..2u8 {
            for row in 0..3u8 {
                for column in 0..4u8 {
                    let red = image * 100 + row * 10 + column;
                    pixels.extend([red, red + 1, red + 2]);
                }
            }
        }
        Images { pixels: Arc::new(pixels), count: 2, height: 3, width: 4, labels: Arc::new([]) }
    }

    /// Values as they were in u8.
    const PLAIN: Normalisation = Normalisation { mean: [0.0; 3], std: [1.0 / 255.0; 3] };

    fn red(values: &[f64]) -> Vec<f64> {
        values.chunks_exact(3).map(|p| (p[0] * 1e4).round() / 1e4).collect()
    }

    #[test]
    fn crop_moves_the_window_and_leaves_black_outside() {
        let pick = Pick { index: 1, offset_x: 1, offset_y: -1, flip: false };
        let pixels = images();
        let raw: Vec<u8> = (0..3)
            .flat_map(|r| (0..4).map(move |c| (r, c)))
            .map(|(r, c)| pixel(&pixels, (*pixels.pixels).as_ref(), pick, r, c, 0))
            .collect();
        assert_eq!(raw, [0, 0, 0, 0, 101, 102, 103, 0, 111, 112, 113, 0]);
        let flipped: Vec<u8> =
            (0..4).map(|c| pixel(&pixels, (*pixels.pixels).as_ref(), Pick { flip: true, ..pick }, 1, c, 0)).collect();
        assert_eq!(flipped, [0, 103, 102, 101]);
    }

    #[test]
    fn resizing_is_separable_and_keeps_rows_and_columns_apart() {
        // The first image's red as PIL's resize(BILINEAR) of a float image has it; torch.nn.functional.interpolate
        // (mode="bilinear", antialias=True) says the same.
        let pick = Pick::default();
        let output: Vec<f64> = gather(&images(), &[pick], 2, &PLAIN);
        assert_eq!(red(&output), [4.4643, 6.0357, 16.9643, 18.5357]);
        let output: Vec<f64> = gather(&images(), &[pick], 5, &PLAIN);
        let across = [0.0, 0.7, 1.5, 2.3, 3.0];
        let expected: Vec<f64> = [0.0, 4.0, 10.0, 16.0, 20.0].iter().flat_map(|r| across.map(|c| r + c)).collect();
        assert_eq!(red(&output), expected);
    }

    #[test]
    fn normalisation_is_per_channel() {
        let normalisation = Normalisation { mean: [0.5, 0.25, 0.0], std: [0.5, 0.25, 2.0] };
        let square = Images { height: 1, width: 1, count: 1, pixels: Arc::new(vec![255u8, 0, 51]), ..images() };
        let output: Vec<f64> = gather(&square, &[Pick::default()], 1, &normalisation);
        assert_eq!(output, [1.0, -1.0, 0.1]);
    }
}
