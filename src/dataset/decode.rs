//! The bytes of an image file to RGB pixels, as a viewer shows them: JPEG, PNG, WebP, GIF and BMP. Every command reads
//! images here. What the bytes are decides, not the file's name.
//!
//! Strict: a file that ends early or holds an impossible code is an error, and one of another format is called by its
//! name. Greyscale becomes three equal components, 16 bits become 8, what is transparent is seen over white, EXIF
//! orientation is applied, and of an animation the first picture is taken. Colour profiles are not applied.

mod decoded;
mod jpeg;
#[cfg(test)]
mod tests;
mod unread;
mod whole;

use std::io::{self, Cursor, Read};
use std::path::Path;

use image::codecs::{bmp::BmpDecoder, gif::GifDecoder, png::PngDecoder, webp::WebPDecoder};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageResult, Limits, RgbImage};

use super::names::LARGEST_FILE;
use crate::error::{self, Error};
pub use decoded::{Adapted, Decoded, LARGEST_PIXELS, LARGEST_SIDE, Size};
use decoded::{damaged, orientation, possible, turned, upright};
use whole::Whole;

/// What is read, for people.
pub const READ: &str = "JPEG, PNG, WebP, GIF and BMP are read, whatever a file's name";

/// Reads and decodes one image. Errors: what `from` gives, more than [`LARGEST_FILE`] bytes, and [`decode`]'s.
pub fn read(path: &Path, from: impl FnOnce() -> io::Result<Box<dyn Read>>) -> error::Result<Decoded> {
    let mut bytes = Vec::new();
    let limited = |from: Box<dyn Read>| from.take(LARGEST_FILE + 1).read_to_end(&mut bytes);
    from().and_then(limited).map_err(|e| Error::io("cannot read", path, e))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Error::data(path, format!("has more than the {LARGEST_FILE} bytes that are read of an image")));
    }
    decode(&bytes).map_err(|reason| Error::data(path, reason))
}

/// Decodes a whole file. The error says why not, for people.
pub fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    let format = format(bytes)?;
    if format == ImageFormat::Jpeg {
        return jpeg::decode(bytes);
    }
    let (decoder, whole) = open(bytes, format)?;
    let greyscale = !decoder.color_type().has_color();
    let image = DynamicImage::from_decoder(decoder).map_err(|e| damaged(format, &e))?;
    let (image, over_white) = over_white(image);
    let adapted = Adapted { over_white, first_picture: whole.pictures > 1, ..Adapted::default() };
    Ok(upright(image, orientation(whole.exif), greyscale, adapted))
}

/// Rows and columns as [`decode`] gives them, from the headers alone.
pub fn size(bytes: &[u8]) -> Result<Size, String> {
    let format = format(bytes)?;
    if format == ImageFormat::Jpeg {
        return jpeg::size(bytes);
    }
    let (decoder, whole) = open(bytes, format)?;
    let (columns, rows) = decoder.dimensions();
    Ok(turned((rows as usize, columns as usize), orientation(whole.exif)))
}

/// Which of the formats that are read it is.
fn format(bytes: &[u8]) -> Result<ImageFormat, String> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
    match image::guess_format(bytes) {
        Ok(format @ (Bmp | Gif | Jpeg | Png | WebP)) => Ok(format),
        _ => Err(unread::reason(bytes)),
    }
}

/// A decoder whose image is not too large, for any format but JPEG.
fn open(bytes: &[u8], format: ImageFormat) -> Result<(Box<dyn ImageDecoder + '_>, Whole<'_>), String> {
    let whole = whole::check(bytes, format)?;
    let decoder = || -> ImageResult<Box<dyn ImageDecoder + '_>> {
        let bytes = Cursor::new(bytes);
        let mut decoder: Box<dyn ImageDecoder + '_> = match format {
            ImageFormat::Png => Box::new(PngDecoder::with_limits(bytes, Limits::default())?),
            ImageFormat::WebP => Box::new(WebPDecoder::new(bytes)?),
            ImageFormat::Gif => Box::new(GifDecoder::new(bytes)?),
            _ => Box::new(BmpDecoder::new(bytes)?),
        };
        decoder.set_limits(Limits::default())?; // of memory; sizes are checked below
        Ok(decoder)
    };
    let decoder = decoder().map_err(|e| damaged(format, &e))?;
    let (columns, rows) = decoder.dimensions();
    possible((rows as usize, columns as usize))?;
    Ok((decoder, whole))
}

/// White where an image is transparent, and whether it is so anywhere. What colour stands behind transparency in the file
/// is what its writer happened to leave there.
fn over_white(image: DynamicImage) -> (DynamicImage, bool) {
    if !image.color().has_alpha() {
        return (image, false);
    }
    let image = image.into_rgba8();
    let (columns, rows) = image.dimensions();
    let mut transparent = false;
    let over =
        |part: u8, alpha: u8| ((u16::from(part) * u16::from(alpha) + 255 * (255 - u16::from(alpha)) + 127) / 255) as u8;
    let mut pixels = Vec::with_capacity(image.len() / 4 * 3);
    for image::Rgba([r, g, b, alpha]) in image.pixels() {
        transparent |= *alpha < 255;
        pixels.extend([r, g, b].map(|part| over(*part, *alpha)));
    }
    (RgbImage::from_raw(columns, rows, pixels).unwrap_or_default().into(), transparent)
}
