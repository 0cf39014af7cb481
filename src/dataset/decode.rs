//! JPEG bytes to RGB pixels; one component (greyscale) becomes three equal ones.
//!
//! Strict: a file that ends early or holds an impossible code is an error. (The `image` crate, made for viewing,
//! fills what is missing with grey.)

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Larger images are refused before memory is allocated for them.
pub const LARGEST_SIDE: usize = 4096;

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

/// Decodes a whole JPEG file. The error says why not, for people.
pub fn decode(jpeg: &[u8]) -> Result<Decoded, String> {
    let (mut decoder, size) = headers(jpeg)?;
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

/// Rows and columns, from the headers alone.
pub fn size(jpeg: &[u8]) -> Result<Size, String> {
    headers(jpeg).map(|(_, size)| size)
}

fn headers(jpeg: &[u8]) -> Result<(Decoder<'_>, Size), String> {
    if jpeg.is_empty() {
        return Err("the file is empty".into());
    }
    if !jpeg.starts_with(&[0xff, 0xd8]) {
        return Err("not a JPEG file".into());
    }
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(LARGEST_SIDE)
        .set_max_height(LARGEST_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    decoder.decode_headers().map_err(|e| e.to_string())?;
    let (columns, rows) = decoder.dimensions().ok_or("no size in its headers")?;
    Ok((decoder, (rows, columns)))
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
    fn broken_files_are_errors() {
        let whole = jpeg(false);
        assert!(decode(&[]).unwrap_err().contains("empty"));
        assert!(decode(b"GIF89a").unwrap_err().contains("not a JPEG"));
        for cut in [3, 100, whole.len() / 2, whole.len() - 2] {
            assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut padded = whole.clone();
        padded.extend([0; 7]);
        assert_eq!(decode(&padded), decode(&whole));
    }
}
