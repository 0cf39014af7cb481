//! The bytes of an image file to RGB pixels, as a viewer shows them: JPEG, PNG, WebP, GIF and BMP. Every command reads
//! images here. What the bytes are decides, not the file's name.
//!
//! Strict: a file that ends early or holds an impossible code is an error, and one of another format is called by its
//! name. Greyscale becomes three equal components, 16 bits become 8, what is transparent is seen over white, EXIF
//! orientation is applied, and of an animation the first picture is taken. Colour profiles are not applied.

mod jpeg;
#[cfg(test)]
mod tests;
mod unread;
mod whole;

use std::io::{self, Cursor, Read};
use std::path::Path;

use image::codecs::{bmp::BmpDecoder, gif::GifDecoder, png::PngDecoder, webp::WebPDecoder};
use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageResult, Limits, RgbImage};

use super::source::LARGEST_FILE;
use crate::error::{self, Error};
use whole::Whole;

/// What is read, for people.
pub const READ: &str = "JPEG, PNG, WebP, GIF and BMP are read, whatever a file's name";
/// Wider or higher images are refused before memory is allocated for them.
pub const LARGEST_SIDE: usize = 16384;
/// So are images of more pixels.
pub const LARGEST_PIXELS: usize = 1 << 26;

/// Rows and columns.
pub type Size = (usize, usize);

/// A decoded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Rows and columns.
    pub size: Size,
    /// RGB, [rows, columns, 3].
    pub pixels: Vec<u8>,
    /// The file had one component.
    pub greyscale: bool,
    /// What else was done to get there.
    pub adapted: Adapted,
}

/// Why the pixels are not simply those of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adapted {
    /// Turned or mirrored, as its EXIF orientation says.
    pub turned: bool,
    /// Some pixels are transparent, and white shows through.
    pub over_white: bool,
    /// There are more pictures in the file.
    pub first_picture: bool,
}

impl Adapted {
    /// A phrase for each, for people.
    pub fn words(self) -> Vec<&'static str> {
        let words = [
            (self.turned, "turned as its EXIF orientation says"),
            (self.over_white, "transparent in places, seen over white"),
            (self.first_picture, "animated, the first picture of it"),
        ];
        words.into_iter().filter(|(is, _)| *is).map(|(_, words)| words).collect()
    }
}

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

impl Decoded {
    /// The image in another size, by linear interpolation over the area that a pixel covers; as it is where it has
    /// that size. Proportions are not kept.
    pub fn resized(self, size: Size) -> Self {
        if self.size == size {
            return self;
        }
        let image = RgbImage::from_raw(self.size.1 as u32, self.size.0 as u32, self.pixels).unwrap_or_default();
        let image = imageops::resize(&image, size.1 as u32, size.0 as u32, FilterType::Triangle);
        Self { size, pixels: image.into_raw(), ..self }
    }
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

/// Refuses images without pixels and those with too many.
fn possible((rows, columns): Size) -> Result<(), String> {
    if rows == 0 || columns == 0 {
        return Err(format!("{columns} x {rows} pixels are no image"));
    }
    if rows.max(columns) > LARGEST_SIDE || rows * columns > LARGEST_PIXELS {
        let most = LARGEST_PIXELS / 1_000_000;
        return Err(format!(
            "{columns} x {rows} pixels are too many: {LARGEST_SIDE} a side and {most} million in all are read"
        ));
    }
    Ok(())
}

fn damaged(format: ImageFormat, reason: &dyn std::fmt::Display) -> String {
    let reason = reason.to_string();
    // The crate repeats the format's name.
    let (head, rest) = reason.split_once(": ").unwrap_or(("", &reason));
    format!("damaged {}: {}", name(format), if head.starts_with("Format error") { rest } else { &reason }.trim())
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        _ => "BMP",
    }
}

/// What the EXIF data of a file says; upright where there is none, or no such entry.
fn orientation(exif: Option<&[u8]>) -> Orientation {
    let exif = exif.map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
    exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
}

/// A size after turning.
fn turned((rows, columns): Size, orientation: Orientation) -> Size {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    match orientation {
        Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH => (columns, rows),
        _ => (rows, columns),
    }
}

/// An image turned the way it is looked at.
fn upright(mut image: DynamicImage, orientation: Orientation, greyscale: bool, adapted: Adapted) -> Decoded {
    image.apply_orientation(orientation);
    let size = (image.height() as usize, image.width() as usize);
    let adapted = Adapted { turned: orientation != Orientation::NoTransforms, ..adapted };
    Decoded { size, pixels: image.into_rgb8().into_raw(), greyscale, adapted }
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
