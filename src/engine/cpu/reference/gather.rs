//! From picks to activations: take an image, enhance it, move the crop window (black outside) or warp it, mirror, resize with
//! the triangle filter of [`resample`](crate::engine::resample), colour, normalise as (value / 255 - mean) / std, erase, mix.
//!
//! Images u8 [count, height, width, 3], output [n, size, size, 3]. The resized value is not rounded to u8.

use std::sync::Arc;

use super::Real;
use crate::engine::resample::{Window, windows};
use crate::engine::sample::{Blend, Colour, Geometry, Warp};
use crate::engine::{Images, Normalisation, Pick, View};

/// Activations [n, size, size, 3] of `picks`, which lie within the images.
pub fn gather<T: Real>(images: &Images, picks: &[Pick], size: usize, normalisation: &Normalisation) -> Vec<T> {
    let windows = [windows(images.height, size), windows(images.width, size)];
    let mut output = Vec::with_capacity(picks.len() * size * size * 3);
    for pick in picks {
        let views: Vec<_> = pick.views().map(|view| enhanced(images, *view)).collect();
        for row in 0..size {
            for column in 0..size {
                let see = |(images, view): &(Images, View)| {
                    let erased = view.erased.is_some_and(|area| area.holds(size, row, column));
                    let value = shown(images, view, &windows, row, column);
                    std::array::from_fn::<f64, 3, _>(|c| {
                        let (mean, std) = (f64::from(normalisation.mean[c]), f64::from(normalisation.std[c]));
                        if erased { 0.0 } else { (value[c] / 255.0 - mean) / std }
                    })
                };
                let first = see(&views[0]);
                let value = match &pick.mix {
                    None => first,
                    Some(mix) => {
                        let second = see(&views[1]);
                        let share = match mix.blend {
                            Blend::Share(share) => f64::from(share),
                            Blend::Area(area) => f64::from(u8::from(!area.holds(size, row, column))),
                        };
                        std::array::from_fn(|c| share * first[c] + (1.0 - share) * second[c])
                    }
                };
                output.extend(value.map(T::of));
            }
        }
    }
    output
}

/// The view of an image that is enhanced as the same view of the one that comes of it.
fn enhanced(images: &Images, view: View) -> (Images, View) {
    let Some(enhancement) = view.enhancement else { return (images.clone(), view) };
    let bytes = images.height * images.width * 3;
    let mut pixels = vec![0; bytes];
    let from = &(*images.pixels).as_ref()[view.index as usize * bytes..][..bytes];
    enhancement.apply(from, images.width, &mut pixels);
    let alone = Images { pixels: Arc::new(pixels), count: 1, labels: Arc::new([]), ..*images };
    (alone, View { index: 0, enhancement: None, ..view })
}

/// One coloured pixel of an output, in 0..255.
fn shown(images: &Images, view: &View, [rows, columns]: &[Vec<Window>; 2], row: usize, column: usize) -> [f64; 3] {
    let value = match view.geometry {
        Geometry::Moved { x, y } => {
            let (row, column) = (&rows[row], &columns[column]);
            std::array::from_fn(|c| resize(images, view, [x, y], row, column, c))
        }
        Geometry::Warped(warp) => {
            let [across, down] = warp.lines(rows.len(), view.flip);
            let place = |line: [f64; 4]| line[0] * column as f64 + line[1] * row as f64 + line[2];
            warped(images, view.index, &warp, [(place(across), across[3]), (place(down), down[3])])
        }
    };
    view.colour.map_or(value, |colour| coloured(&colour, value))
}

/// One resized value in 0..255.
fn resize(images: &Images, view: &View, moved: [i8; 2], row: &Window, column: &Window, channel: usize) -> f64 {
    let mut sum = 0.0;
    for (r, row_weight) in row.weights.iter().enumerate() {
        for (c, column_weight) in column.weights.iter().enumerate() {
            let value = pixel(images, view, moved, row.start + r, column.start + c, channel);
            sum += row_weight * column_weight * f64::from(value);
        }
    }
    sum
}

/// A pixel of the cropped and mirrored image. The mirror comes after the crop, so it turns the window's columns.
fn pixel(images: &Images, view: &View, [x, y]: [i8; 2], row: usize, column: usize, channel: usize) -> u8 {
    let column = if view.flip { images.width - 1 - column } else { column };
    let row = row.checked_add_signed(y.into()).filter(|r| *r < images.height);
    let column = column.checked_add_signed(x.into()).filter(|c| *c < images.width);
    match (row, column) {
        (Some(r), Some(c)) => value(images, view.index, r, c, channel),
        _ => 0,
    }
}

fn value(images: &Images, index: u32, row: usize, column: usize, channel: usize) -> u8 {
    let pixels: &[u8] = (*images.pixels).as_ref();
    pixels[((index as usize * images.height + row) * images.width + column) * 3 + channel]
}

/// The mean of the pixels around a place of the image, each of its two coordinates with the reach of its filter.
fn warped(images: &Images, index: u32, warp: &Warp, [(x, reach_x), (y, reach_y)]: [(f64, f64); 2]) -> [f64; 3] {
    let [left, top, right, bottom] = warp.cut.map(usize::from);
    if x < left as f64 || x > right as f64 || y < top as f64 || y > bottom as f64 {
        return [0.0; 3];
    }
    let weight = |pixel: usize, place: f64, reach: f64| (1.0 - ((pixel as f64 + 0.5 - place) / reach).abs()).max(0.0);
    let (mut sum, mut total) = ([0.0; 3], 0.0);
    for row in top..bottom {
        for column in left..right {
            let weight = weight(row, y, reach_y) * weight(column, x, reach_x);
            for (channel, sum) in sum.iter_mut().enumerate() {
                *sum += weight * f64::from(value(images, index, row, column, channel));
            }
            total += weight;
        }
    }
    sum.map(|v| v / total)
}

fn coloured(colour: &Colour, rgb: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|c| {
        let row = colour.matrix[c].map(f64::from);
        let v = (row[0] * rgb[0] + row[1] * rgb[1] + row[2] * rgb[2] + row[3]).clamp(0.0, 255.0);
        let v = if v >= f64::from(colour.solarize) { 255.0 - v } else { v };
        let step = f64::from(1 << (8 - colour.posterize));
        let v = if colour.posterize < 8 { (v / step).floor() * step } else { v };
        v + f64::from(colour.shift[c])
    })
}

#[cfg(test)]
mod tests {
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
        crate::test_support::images(pixels, 3, 4)
    }

    /// Values as they were in u8.
    const PLAIN: Normalisation = Normalisation { mean: [0.0; 3], std: [1.0 / 255.0; 3] };

    fn red(values: &[f64]) -> Vec<f64> {
        values.chunks_exact(3).map(|p| (p[0] * 1e4).round() / 1e4).collect()
    }

    #[test]
    fn crop_moves_the_window_and_leaves_black_outside() {
        let view = View { index: 1, ..View::default() };
        let moved = [1, -1];
        let pixels = images();
        let raw: Vec<u8> = (0..3)
            .flat_map(|r| (0..4).map(move |c| (r, c)))
            .map(|(r, c)| pixel(&pixels, &view, moved, r, c, 0))
            .collect();
        assert_eq!(raw, [0, 0, 0, 0, 101, 102, 103, 0, 111, 112, 113, 0]);
        let flipped: Vec<u8> = (0..4).map(|c| pixel(&pixels, &View { flip: true, ..view }, moved, 1, c, 0)).collect();
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
    fn a_warp_of_a_whole_image_is_the_resized_image() {
        let images = images();
        for (size, flip) in [(2, false), (5, true), (4, false), (1, true)] {
            let plain = View { index: 1, flip, ..View::default() };
            let warped = View { geometry: Geometry::Warped(Warp::crop(0, 0, 4, 3)), ..plain };
            let gather = |view: View| gather::<f64>(&images, &[view.into()], size, &PLAIN);
            for (a, b) in gather(plain).iter().zip(gather(warped)) {
                assert!((a - b).abs() < 1e-9, "{size} {flip}: {a} {b}");
            }
        }
    }

    #[test]
    fn colours_are_mapped_cut_inverted_and_posterised_in_this_order() {
        let matrix = [[2.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, -20.0], [0.0, 0.5, 0.5, 0.0]];
        let colour = Colour { matrix, solarize: 128.0, posterize: 2, shift: [1.0, -1.0, 0.0] };
        // 400 is cut to 255 and inverted; -10 is cut; 100 has 64 in two bits.
        assert_eq!(coloured(&colour, [200.0, 10.0, 190.0]), [1.0, -1.0, 64.0]);
        assert_eq!(coloured(&Colour::default(), [200.0, 10.0, 0.25]), [200.0, 10.0, 0.25]);
    }

    #[test]
    fn normalisation_is_per_channel() {
        let normalisation = Normalisation { mean: [0.5, 0.25, 0.0], std: [0.5, 0.25, 2.0] };
        let square = crate::test_support::images(vec![255, 0, 51], 1, 1);
        let output: Vec<f64> = gather(&square, &[Pick::default()], 1, &normalisation);
        assert_eq!(output, [1.0, -1.0, 0.1]);
    }
}
