//! JPEG or PNG bytes to RGB pixels; one component (greyscale) becomes three equal ones. What the bytes are decides, not
//! the file's name.
//!
//! Strict: a file that ends early or holds an impossible code is an error. (The `image` crate's JPEG decoder, made for
//! viewing, fills what is missing with grey.)

use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageDecoder, Limits, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Larger images are refused before memory is allocated for them.
pub const LARGEST_SIDE: usize = 4096;

/// What a PNG file begins with.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Rows and columns.
pub type Size = (usize, usize);

type Decoder<'a> = JpegDecoder<ZCursor<&'a [u8]>>;

/// A decoded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Rows and columns.
    pub size: Size,
    /// RGB, [rows, columns, 3].
    pub pixels: Vec<u8>,
    /// The file had one component.
    pub greyscale: bool,
}

/// Decodes a whole file. The error says why not, for people.
pub fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    if bytes.starts_with(PNG) { decode_png(bytes) } else { decode_jpeg(bytes) }
}

/// Rows and columns, from the headers alone.
pub fn size(bytes: &[u8]) -> Result<Size, String> {
    if bytes.starts_with(PNG) {
        let (columns, rows) = png(bytes)?.dimensions();
        return Ok((rows as usize, columns as usize));
    }
    begins(bytes)?;
    headers(&mut JpegDecoder::new_with_options(ZCursor::new(bytes), options()))
}

impl Decoded {
    /// The image in another size, by linear interpolation over the area that a pixel covers; as it is where it has
    /// that size. Proportions are not kept.
    pub fn resized(self, size: Size) -> Self {
        if self.size == size {
            return self;
        }
        let image = RgbImage::from_raw(self.size.1 as u32, self.size.0 as u32, self.pixels).unwrap_or_default();
        let image = imageops::resize(&image, size.1 as u32, size.0 as u32, FilterType::Triangle);
        Self { size, pixels: image.into_raw(), greyscale: self.greyscale }
    }
}

fn png(bytes: &[u8]) -> Result<PngDecoder<Cursor<&[u8]>>, String> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE as u32);
    limits.max_image_height = Some(LARGEST_SIDE as u32);
    PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(|e| e.to_string())
}

fn decode_png(bytes: &[u8]) -> Result<Decoded, String> {
    let decoder = png(bytes)?;
    let (columns, rows) = decoder.dimensions();
    if columns.max(rows) as usize > LARGEST_SIDE {
        return Err(format!("{columns} x {rows} pixels are more than {LARGEST_SIDE} a side"));
    }
    let greyscale = !decoder.color_type().has_color();
    let image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    Ok(Decoded { size: (rows as usize, columns as usize), pixels: image.into_rgb8().into_raw(), greyscale })
}

fn decode_jpeg(jpeg: &[u8]) -> Result<Decoded, String> {
    begins(jpeg)?;
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options());
    let size = headers(&mut decoder)?;
    if !ends(jpeg) {
        return Err("the file ends early (no end-of-image marker)".into());
    }
    let greyscale = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let pixels = decoder.decode().map_err(|e| e.to_string())?;
    if pixels.len() != size.0 * size.1 * 3 {
        return Err(format!("{} bytes of pixels for {} x {}", pixels.len(), size.1, size.0));
    }
    Ok(Decoded { size, pixels, greyscale })
}

fn begins(jpeg: &[u8]) -> Result<(), String> {
    if jpeg.is_empty() {
        return Err("the file is empty".into());
    }
    if !jpeg.starts_with(&[0xff, 0xd8]) {
        return Err("neither a JPEG nor a PNG file".into());
    }
    Ok(())
}

fn options() -> DecoderOptions {
    DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(LARGEST_SIDE)
        .set_max_height(LARGEST_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB)
}

/// Rows and columns. By reference: a decoder has 30 kB of tables, which cost more to move than an image to convert.
fn headers(decoder: &mut Decoder) -> Result<Size, String> {
    decoder.decode_headers().map_err(|e| e.to_string())?;
    let (columns, rows) = decoder.dimensions().ok_or("no size in its headers")?;
    Ok((rows, columns))
}

/// Whether the end-of-image marker is there; some writers pad after it.
fn ends(jpeg: &[u8]) -> bool {
    let padding = jpeg.iter().rev().take_while(|b| **b == 0).count();
    jpeg[..jpeg.len() - padding].ends_with(&[0xff, 0xd9])
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;

    use super::*;

    fn jpeg(grey: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut bytes, 90);
        if grey {
            let pixels: Vec<u8> = (0..40 * 24).map(|i| (i % 40 * 6) as u8).collect();
            image::ImageEncoder::write_image(encoder, &pixels, 40, 24, image::ExtendedColorType::L8).unwrap();
        } else {
            let pixels: Vec<u8> = (0..40 * 24 * 3).map(|i| (i / 3 % 40 * 6) as u8 / (i % 3 + 1) as u8).collect();
            image::ImageEncoder::write_image(encoder, &pixels, 40, 24, image::ExtendedColorType::Rgb8).unwrap();
        }
        bytes
    }

    #[test]
    fn colour_and_greyscale_become_rgb() {
        let colour = decode(&jpeg(false)).unwrap();
        assert_eq!((colour.size, colour.greyscale), ((24, 40), false));
        let usual = image::load_from_memory(&jpeg(false)).unwrap().to_rgb8();
        assert_eq!(colour.pixels, usual.into_raw(), "strict decoding changes no pixel");
        let grey = decode(&jpeg(true)).unwrap();
        assert!(grey.greyscale);
        assert!(grey.pixels.chunks(3).all(|p| p[0] == p[1] && p[1] == p[2]));
        assert!((i32::from(grey.pixels[30 * 3]) - 180).abs() < 8);
        assert_eq!(size(&jpeg(true)).unwrap(), (24, 40));
    }

    #[test]
    fn a_png_is_read_whatever_its_depth_and_channels() {
        let pixels: Vec<u8> = (0..5 * 7 * 3).map(|i| (i * 11 % 256) as u8).collect();
        let image = DynamicImage::from(RgbImage::from_raw(5, 7, pixels.clone()).unwrap());
        let png = |image: &DynamicImage| {
            let mut bytes = Cursor::new(Vec::new());
            image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
            bytes.into_inner()
        };
        let whole = png(&image);
        for same in [image.clone(), image.to_rgba8().into(), image.to_rgb16().into()] {
            let decoded = decode(&png(&same)).unwrap();
            assert_eq!((decoded.size, decoded.greyscale, &decoded.pixels), ((7, 5), false, &pixels));
        }
        assert!(decode(&png(&image.to_luma8().into())).unwrap().greyscale);
        assert_eq!(size(&whole).unwrap(), (7, 5));
        for cut in [8, 20, whole.len() / 2, whole.len() - 13] {
            assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        assert!(decode(&flipped).is_err(), "checksums of PNG are checked");
    }

    #[test]
    fn another_size_keeps_what_is_where() {
        // Left half red, right half blue, in 6 rows and 16 columns.
        let pixels = (0..6 * 16).flat_map(|i| if i % 16 < 8 { [200, 0, 0] } else { [0, 0, 100] }).collect();
        let image = Decoded { size: (6, 16), pixels, greyscale: false };
        assert_eq!(image.clone().resized((6, 16)), image);
        let small = image.resized((3, 4));
        assert_eq!((small.size, small.pixels.len()), ((3, 4), 36));
        assert_eq!((&small.pixels[..3], &small.pixels[33..]), (&[200, 0, 0][..], &[0, 0, 100][..]));
    }

    #[test]
    fn broken_files_are_errors() {
        let whole = jpeg(false);
        assert!(decode(&[]).unwrap_err().contains("empty"));
        assert!(decode(b"GIF89a").unwrap_err().contains("neither a JPEG nor a PNG"));
        for cut in [3, 100, whole.len() / 2, whole.len() - 2] {
            assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut padded = whole.clone();
        padded.extend([0; 7]);
        assert_eq!(decode(&padded), decode(&whole));
    }
}
