//! What happens to a whole image of bytes ahead of everything else, where a pixel's new value depends on more than itself. Every
//! engine takes it from here, so that all see the same bytes.
//!
//! It draws nothing (`training::augment` does), and knows nothing of batches and devices. Names are PIL's (`ImageEnhance`,
//! `ImageOps`); the results are to the bit what torchvision's `transforms.functional` makes of a tensor of u8.

/// An operation on an image of u8 [height, width, 3].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Enhancement {
    /// factor * value + (1 - factor) * mean grey of the image.
    Contrast(f64),
    /// factor * value + (1 - factor) * that of the smoothed image, whose outermost pixels are the image's.
    Sharpness(f64),
    /// Each channel's values spread out evenly from 0 to 255.
    AutoContrast,
    /// Each channel's values spread out so that about as many pixels have the one as the other.
    Equalize,
}

/// What each value of a channel becomes.
type Table = [u8; 256];

impl Enhancement {
    /// What is wrong with it; `None` where nothing is.
    pub fn fault(self) -> Option<String> {
        match self {
            Self::Contrast(factor) | Self::Sharpness(factor) if !(0.0..=1e3).contains(&factor) => {
                Some(format!("a factor of {factor} for contrast or sharpness is not from 0 to 1000"))
            }
            _ => None,
        }
    }

    /// Fills `to` with what becomes of the image `from`, whose rows are `width` pixels long.
    pub fn apply(self, from: &[u8], width: usize, to: &mut [u8]) {
        let (pixels, _) = from.as_chunks::<3>();
        let tables: [Table; 3] = match self {
            Self::Contrast(factor) => {
                let grey = mean_grey(pixels);
                [table(|value| blend(factor, value, grey)); 3]
            }
            Self::Sharpness(factor) => return sharpen(factor, pixels, width, to),
            Self::AutoContrast => std::array::from_fn(|c| stretched(pixels.iter().map(|pixel| pixel[c]))),
            Self::Equalize => std::array::from_fn(|c| equalized(pixels.iter().map(|pixel| pixel[c]))),
        };
        for (to, from) in to.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
            *to = std::array::from_fn(|c| tables[c][usize::from(from[c])]);
        }
    }
}

fn table(of: impl Fn(f32) -> u8) -> Table {
    let mut table = [0; 256];
    table.iter_mut().zip(0u8..=255).for_each(|(to, value)| *to = of(value.into()));
    table
}

/// Cut to 0..255 and to whole numbers.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut")]
fn byte(value: f32) -> u8 {
    value.clamp(0.0, 255.0) as u8
}

fn blend(factor: f64, value: f32, other: f32) -> u8 {
    byte(factor as f32 * value + (1.0 - factor) as f32 * other)
}

/// The mean of an image's greys, each cut to a whole number.
fn mean_grey(pixels: &[[u8; 3]]) -> f32 {
    let grey = |pixel: &[u8; 3]| {
        let [r, g, b] = pixel.map(f32::from);
        u64::from(byte(0.2989 * r + 0.587 * g + 0.114 * b))
    };
    let sum: u64 = pixels.iter().map(grey).sum();
    (sum as f64 / pixels.len().max(1) as f64) as f32
}

/// A channel of one value stays.
fn stretched(values: impl Iterator<Item = u8>) -> Table {
    let [least, greatest] = values.fold([u8::MAX, u8::MIN], |[least, greatest], v| [least.min(v), greatest.max(v)]);
    if least >= greatest {
        return table(byte);
    }
    let scale = 255.0 / f32::from(greatest - least);
    table(|value| byte((value - f32::from(least)) * scale))
}

/// A channel stays that has too few pixels to be told apart, or but one value.
fn equalized(values: impl Iterator<Item = u8>) -> Table {
    let mut counts = [0usize; 256];
    values.for_each(|value| counts[usize::from(value)] += 1);
    let last = counts.iter().rfind(|count| **count > 0).copied().unwrap_or_default();
    let step = (counts.iter().sum::<usize>() - last) / 255;
    if step == 0 {
        return table(byte);
    }
    let mut below = 0;
    counts.map(|count| {
        let level = (below + step / 2) / step;
        below += count;
        u8::try_from(level).unwrap_or(u8::MAX)
    })
}

/// The smoothed image is the mean of 3 x 3 pixels, of which the one in the middle counts five times, rounded; its outermost pixels
/// are the image's. An image of fewer than three rows or columns has no others, and stays.
#[expect(clippy::cast_possible_truncation, reason = "the mean of bytes")]
fn sharpen(factor: f64, pixels: &[[u8; 3]], width: usize, to: &mut [u8]) {
    let height = pixels.len() / width;
    if width < 3 || height < 3 {
        return to.copy_from_slice(pixels.as_flattened());
    }
    for (at, to) in to.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let (row, column) = (at / width, at % width);
        let inside = (1..height - 1).contains(&row) && (1..width - 1).contains(&column);
        *to = std::array::from_fn(|c| {
            let value = pixels[at][c];
            let mut smooth = value;
            if inside {
                let around =
                    [at - width, at, at + width].into_iter().flat_map(|middle| &pixels[middle - 1..=middle + 1]);
                let sum: u32 = around.map(|pixel| u32::from(pixel[c])).sum();
                smooth = ((2 * (sum + 4 * u32::from(value)) + 13) / 26) as u8;
            }
            blend(factor, value.into(), smooth.into())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of three channels, each a rule of row and column.
    fn image(height: usize, width: usize, rule: impl Fn(usize, usize) -> [usize; 3]) -> Vec<u8> {
        let places = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
        places.flat_map(|(row, column)| rule(row, column)).map(|v| u8::try_from(v).expect("a byte")).collect()
    }

    fn small(height: usize) -> Vec<u8> {
        image(height, 5, |r, c| [40 + (r * 53 + c * 29) % 97, 77, (r * 91 + c * 67 + 13 * r * c) % 256])
    }

    fn enhanced(enhancement: Enhancement, image: &[u8], width: usize) -> Vec<u8> {
        let mut to = vec![1; image.len()];
        enhancement.apply(image, width, &mut to);
        to
    }

    /// What torchvision 0.15.2 makes of these images by adjust_contrast, adjust_sharpness and autocontrast.
    #[test]
    #[rustfmt::skip]
    fn each_is_torchvisions_to_the_bit() {
        for (enhancement, expected) in [
            (Enhancement::Contrast(0.3), [
                71, 82, 59, 80, 82, 79, 88, 82, 99, 97, 82, 119, 77, 82, 63,
                87, 82, 86, 96, 82, 110, 75, 82, 134, 84, 82, 82, 93, 82, 106,
                74, 82, 114, 82, 82, 65, 91, 82, 93, 100, 82, 121, 79, 82, 72,
                90, 82, 64, 98, 82, 96, 78, 82, 128, 87, 82, 83, 95, 82, 115,
            ]),
            (Enhancement::Contrast(1.99), [
                0, 68, 0, 53, 68, 49, 110, 68, 182, 168, 68, 255, 33, 68, 0,
                100, 68, 96, 158, 68, 255, 23, 68, 255, 80, 68, 65, 138, 68, 224,
                13, 68, 255, 70, 68, 0, 128, 68, 138, 186, 68, 255, 51, 68, 0,
                118, 68, 0, 176, 68, 160, 41, 68, 255, 98, 68, 72, 156, 68, 255,
            ]),
            (Enhancement::Sharpness(0.01), [
                40, 77, 0, 69, 77, 67, 98, 77, 134, 127, 77, 201, 59, 77, 12,
                93, 77, 91, 92, 77, 132, 83, 77, 172, 89, 77, 113, 112, 77, 155,
                49, 77, 182, 84, 77, 97, 100, 77, 131, 106, 77, 166, 68, 77, 42,
                102, 77, 17, 131, 77, 123, 63, 77, 229, 92, 77, 79, 121, 77, 185,
            ]),
            (Enhancement::Sharpness(1.99), [
                40, 76, 0, 69, 76, 67, 98, 76, 134, 126, 76, 200, 59, 76, 12,
                93, 76, 90, 151, 76, 209, 24, 76, 255, 76, 76, 36, 112, 76, 155,
                49, 76, 181, 71, 76, 0, 113, 76, 92, 165, 76, 243, 68, 76, 42,
                101, 76, 17, 131, 76, 123, 63, 76, 228, 92, 76, 79, 121, 76, 184,
            ]),
            (Enhancement::AutoContrast, [
                0, 77, 0, 77, 77, 68, 154, 77, 136, 231, 77, 204, 50, 77, 12,
                140, 77, 92, 217, 77, 173, 37, 77, 255, 114, 77, 76, 191, 77, 157,
                23, 77, 184, 100, 77, 19, 177, 77, 113, 255, 77, 208, 74, 77, 42,
                164, 77, 17, 241, 77, 124, 61, 77, 232, 138, 77, 80, 215, 77, 187,
            ]),
        ] {
            assert_eq!(enhanced(enhancement, &small(4), 5), expected, "{enhancement:?}");
        }
    }

    /// torchvision's equalize, of two channels of few values, between them one of a single value.
    #[test]
    fn equalize_is_torchvisions_to_the_bit() {
        let image = image(24, 17, |r, c| [(r * r + 3 * c) % 5 * 40 + 20, 9, (r * c) % 7 * 11 + 100]);
        let levels = [
            &[(20, 0), (60, 77), (100, 158), (140, 240), (180, 255)][..],
            &[(9, 9)],
            &[(100, 0), (111, 128), (122, 175), (133, 223), (144, 255), (155, 255), (166, 255)],
        ];
        let result = enhanced(Enhancement::Equalize, &image, 17);
        for (at, (value, result)) in image.iter().zip(&result).enumerate() {
            assert!(levels[at % 3].contains(&(*value, *result)), "{at}: {value} became {result}");
        }
    }

    #[test]
    fn what_cannot_be_enhanced_stays() {
        let few = small(4);
        assert_eq!(enhanced(Enhancement::Equalize, &few, 5), few, "20 pixels for 256 values");
        for (height, width) in [(2, 5), (5, 2), (1, 10), (10, 1)] {
            assert_eq!(enhanced(Enhancement::Sharpness(0.0), &small(2), width), small(2), "{height} x {width}");
        }
        let grey = vec![128; 7 * 7 * 3];
        for enhancement in [Enhancement::AutoContrast, Enhancement::Equalize, Enhancement::Sharpness(0.0)] {
            assert_eq!(enhanced(enhancement, &grey, 7), grey, "{enhancement:?}");
        }
    }
}
