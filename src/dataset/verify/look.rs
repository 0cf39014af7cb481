//! What is measured of one image's pixels: hashes to compare it by, and how light, even and sharp it is.
//!
//! Judges nothing: limits are in `quality`, comparisons in `duplicates` and `near`.

use std::sync::LazyLock;

use crate::dataset::decode::{Adapted, Size};
use crate::dataset::fingerprint;

/// Side of the small luminance image behind a perceptual hash.
const SMALL: usize = 32;
/// Frequencies a direction in a perceptual hash.
const FREQUENCIES: usize = 8;

/// One image as it was seen.
#[derive(Clone, Debug)]
pub struct Look {
    /// Where, below the data folder or the source's root.
    pub file: String,
    /// Index of its split in `manifest::SPLITS`.
    pub split: usize,
    /// Its place among the split's images.
    pub index: usize,
    /// Class index, where it has one.
    pub label: Option<usize>,
    /// Hash of the file's bytes, where there is a file.
    pub bytes: Option<u64>,
    /// The file has one component; or, where only pixels are known, all are grey.
    pub greyscale: bool,
    /// What else was done to its file's pixels, where there is a file.
    pub adapted: Adapted,
    /// Of the pixels.
    pub measures: Measures,
}

/// What the pixels of an image tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measures {
    /// Hash of all pixels.
    pub hash: u64,
    /// Bits of low frequencies above their median; images that look alike differ in few.
    pub perceptual: u64,
    /// Mean luminance in 0..255.
    pub mean: f32,
    /// Standard deviation of luminance.
    pub deviation: f32,
    /// Variance of the Laplacian of luminance: low where nothing is sharp.
    pub sharpness: f32,
    /// All pixels are the same.
    pub blank: bool,
    /// Red, green and blue are the same everywhere.
    pub grey: bool,
}

/// Measures RGB pixels, [height, width, 3]. `perceptual` says whether that hash is wanted; it is 0 otherwise.
pub fn measure(pixels: &[u8], size: Size, perceptual: bool) -> Measures {
    let luminance = luminance(pixels);
    let (rgb, _) = pixels.as_chunks::<3>();
    let n = luminance.len().max(1) as f64;
    let (mut sum, mut squares) = (0_u64, 0_u64);
    // 4096 squares of at most 255 fit 32 bits.
    for piece in luminance.chunks(4096) {
        sum += u64::from(piece.iter().map(|l| u32::from(*l)).sum::<u32>());
        squares += u64::from(piece.iter().map(|l| u32::from(u16::from(*l) * u16::from(*l))).sum::<u32>());
    }
    let mean = sum as f64 / n;
    Measures {
        hash: fingerprint::hash(pixels),
        perceptual: if perceptual { perceptual_hash(&small(&luminance, size)) } else { 0 },
        mean: mean as f32,
        deviation: (squares as f64 / n - mean * mean).max(0.0).sqrt() as f32,
        sharpness: sharpness(&luminance, size),
        blank: rgb.first().is_none_or(|first| rgb.iter().all(|pixel| pixel == first)),
        grey: rgb.iter().all(|[r, g, b]| r == g && g == b),
    }
}

/// ITU-R BT.601 luminance of each RGB pixel.
pub fn luminance(pixels: &[u8]) -> Vec<u8> {
    let (rgb, _) = pixels.as_chunks::<3>();
    // The factors add up to 256: 16 bits are enough.
    rgb.iter().map(|[r, g, b]| ((77 * u16::from(*r) + 150 * u16::from(*g) + 29 * u16::from(*b)) >> 8) as u8).collect()
}

fn sharpness(luminance: &[u8], (height, width): Size) -> f32 {
    if height < 3 || width < 3 {
        return 0.0;
    }
    let (mut sum, mut squares) = (0_i64, 0_u64);
    for y in 1..height - 1 {
        let row = |y: usize| &luminance[y * width..(y + 1) * width];
        let (above, here, below) = (row(y - 1), row(y), row(y + 1));
        // At most 1020 in 4094 columns: both sums of a row fit 32 bits.
        let (mut of_row, mut squares_of_row) = (0_i32, 0_u32);
        let sides = here[..width - 2].iter().zip(&here[2..]);
        let neighbours = above[1..width - 1].iter().zip(&below[1..width - 1]).zip(sides);
        for (&middle, ((&north, &south), (&west, &east))) in here[1..width - 1].iter().zip(neighbours) {
            let at = |value: u8| i16::from(value);
            let laplacian = 4 * at(middle) - (at(north) + at(south) + at(west) + at(east));
            of_row += i32::from(laplacian);
            squares_of_row = squares_of_row.wrapping_add((i32::from(laplacian) * i32::from(laplacian)) as u32);
        }
        sum += i64::from(of_row);
        squares += u64::from(squares_of_row);
    }
    let n = ((height - 2) * (width - 2)) as f64;
    let mean = sum as f64 / n;
    (squares as f64 / n - mean * mean) as f32
}

/// Luminance of any size to 32 x 32, by means over areas.
pub fn small(luminance: &[u8], (height, width): Size) -> [f32; SMALL * SMALL] {
    let range = |i: usize, side: usize| {
        let start = i * side / SMALL;
        start..((i + 1) * side / SMALL).max(start + 1)
    };
    std::array::from_fn(|i| {
        let (rows, columns) = (range(i / SMALL, height), range(i % SMALL, width));
        let n = (rows.len() * columns.len()) as f32;
        let sum: u32 =
            rows.map(|y| luminance[y * width..][columns.clone()].iter().map(|l| u32::from(*l)).sum::<u32>()).sum();
        sum as f32 / n
    })
}

/// The lowest 8 x 8 frequencies of a discrete cosine transform, a bit each: above the median of all but the mean.
fn perceptual_hash(small: &[f32; SMALL * SMALL]) -> u64 {
    static COSINES: LazyLock<[[f32; SMALL]; FREQUENCIES]> = LazyLock::new(|| {
        let angle = |k: usize, x: usize| std::f64::consts::PI / SMALL as f64 * (x as f64 + 0.5) * k as f64;
        std::array::from_fn(|k| std::array::from_fn(|x| angle(k, x).cos() as f32))
    });
    let cosines = &*COSINES;
    let mut vertical = [[0.0_f32; SMALL]; FREQUENCIES];
    for (k, out) in vertical.iter_mut().enumerate() {
        for (row, factor) in small.chunks_exact(SMALL).zip(&cosines[k]) {
            for (sum, value) in out.iter_mut().zip(row) {
                *sum += factor * value;
            }
        }
    }
    let mut coefficients = [0.0_f32; FREQUENCIES * FREQUENCIES];
    for (i, coefficient) in coefficients.iter_mut().enumerate() {
        let (line, wave) = (&vertical[i / FREQUENCIES], &cosines[i % FREQUENCIES]);
        *coefficient = line.iter().zip(wave).map(|(a, b)| a * b).sum();
    }
    let mut sorted = coefficients;
    sorted[1..].sort_unstable_by(f32::total_cmp);
    let median = sorted[1 + (FREQUENCIES * FREQUENCIES - 1) / 2];
    coefficients.iter().enumerate().skip(1).fold(0, |bits, (i, c)| bits | (u64::from(*c > median) << i))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waves of given frequencies, over black by `contrast`.
    fn waves(size: Size, contrast: f32) -> Vec<u8> {
        let (height, width) = size;
        let value = |i: usize| {
            let (y, x) = ((i / width) as f32 / height as f32, (i % width) as f32 / width as f32);
            // No product of a row's and a column's waves: that leaves most frequencies at zero, and their bits to chance.
            let wave = (x * 7.0 + y * 3.0).sin() + (y * 9.0 - x * 4.0).cos() + ((x * x + y) * 11.0).sin();
            (128.0 + contrast * wave) as u8
        };
        (0..height * width).flat_map(|i| [value(i), value(i) / 2, 255 - value(i)]).collect()
    }

    #[test]
    fn light_evenness_and_sharpness_are_as_defined() {
        let plain = measure(&[100, 100, 100].repeat(64), (8, 8), true);
        assert_eq!((plain.mean, plain.deviation, plain.sharpness), (100.0, 0.0, 0.0));
        assert!(plain.blank && plain.grey);
        // One white pixel in black: Laplacian 1020 there and -255 beside it four times.
        let mut pixels = vec![0; 5 * 7 * 3];
        pixels[(2 * 7 + 3) * 3..][..3].fill(255);
        let spot = measure(&pixels, (5, 7), true);
        let squares = 1020.0_f32.powi(2) + 4.0 * 255.0_f32.powi(2);
        assert!((spot.sharpness - squares / 15.0).abs() < 1.0);
        assert!((spot.mean - 255.0 / 35.0).abs() < 1e-4 && !spot.blank && spot.grey);
        let red = measure(&[255, 0, 0].repeat(64), (8, 8), true);
        assert!(red.blank && !red.grey && red.mean == 76.0);
    }

    #[test]
    fn images_that_look_alike_have_near_hashes() {
        let of = |pixels: &[u8], size| measure(pixels, size, true).perceptual;
        let original = of(&waves((64, 64), 35.0), (64, 64));
        let near = |other: u64| (original ^ other).count_ones();
        assert!(near(of(&waves((64, 64), 25.0), (64, 64))) <= 2, "less contrast");
        assert!(near(of(&waves((50, 80), 35.0), (50, 80))) <= 6, "another size");
        let mut noisy = waves((64, 64), 35.0);
        noisy.iter_mut().enumerate().for_each(|(i, v)| *v = v.saturating_add((i * 7919 % 9) as u8));
        assert!(near(of(&noisy, (64, 64))) <= 3, "noise");
        let mut mirrored = waves((64, 64), 35.0);
        mirrored.reverse();
        assert!(near(of(&mirrored, (64, 64))) > 16, "upside down");
    }
}
