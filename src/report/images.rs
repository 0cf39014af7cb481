//! Pixels of a pack as images inside the page.
//!
//! It draws nothing of its own but the picture of a confusion matrix; missing images are `None`, not an error.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::imageops::FilterType;
use image::{ImageEncoder, RgbImage};
use serde::Serialize;

use crate::dataset::Pack;
use crate::error::{Error, Result};

/// A `data:` URI of an image; made of base64 only, so the page takes it as it is.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct DataUri(String);

/// Larger images are scaled down to this many pixels.
const LARGEST: u32 = 96;
/// Hardly visible on images that were JPEGs before, at a third of PNG's size.
const QUALITY: u8 = 85;

/// Image `index` of a pack.
pub fn thumbnail(pack: &Pack, index: usize) -> Result<DataUri> {
    let wrong = |e: &dyn std::fmt::Display| Error::data(&pack.path, format!("image {index}: {e}"));
    if index >= pack.images.count {
        return Err(wrong(&"is not in the pack"));
    }
    let side = |v: usize| u32::try_from(v).map_err(|e| wrong(&e));
    let (width, height) = (side(pack.images.width)?, side(pack.images.height)?);
    let mut picture = RgbImage::from_raw(width, height, pack.pixels(index).to_vec())
        .ok_or_else(|| wrong(&"its size does not fit its pixels"))?;
    if picture.width().max(picture.height()) > LARGEST {
        picture = image::DynamicImage::from(picture).resize(LARGEST, LARGEST, FilterType::Triangle).into_rgb8();
    }
    let mut jpeg = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&picture).map_err(|e| wrong(&e))?;
    Ok(uri("image/jpeg", jpeg.get_ref()))
}

/// A square matrix of fractions in 0..1, row by row, as a picture: white for 0 to dark blue for 1.
/// `cell` is the side of one value in pixels.
pub fn matrix(values: &[f64], side: usize, cell: usize) -> Result<DataUri> {
    let wrong = |e: &dyn std::fmt::Display| Error::new(crate::error::Kind::Data, format!("the confusion matrix: {e}"));
    let pixels = u32::try_from(side * cell).map_err(|e| wrong(&e))?;
    let picture = RgbImage::from_fn(pixels, pixels, |x, y| {
        let at = (y as usize / cell) * side + x as usize / cell;
        let value = values.get(at).copied().unwrap_or_default().clamp(0.0, 1.0);
        image::Rgb(ramp(value.sqrt())) // the root lifts the small values, which are the mistakes
    });
    let mut png = Cursor::new(Vec::new());
    PngEncoder::new(&mut png)
        .write_image(&picture, pixels, pixels, image::ExtendedColorType::Rgb8)
        .map_err(|e| wrong(&e))?;
    Ok(uri("image/png", png.get_ref()))
}

/// From near white to dark blue; even in lightness.
fn ramp(value: f64) -> [u8; 3] {
    let (light, dark) = ([247.0, 249.0, 252.0], [8.0, 48.0, 107.0]);
    std::array::from_fn(|i| (light[i] + (dark[i] - light[i]) * value) as u8)
}

fn uri(kind: &str, bytes: &[u8]) -> DataUri {
    DataUri(format!("data:{kind};base64,{}", STANDARD.encode(bytes)))
}
