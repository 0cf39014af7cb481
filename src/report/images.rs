//! Pixels of a pack as images inside the page.
//!
//! It draws nothing of its own but confusion matrices, filters and maps of attention; missing images are `None`, not an
//! error.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType as PngFilter, PngEncoder};
use image::imageops::FilterType;
use image::{ImageEncoder, RgbImage, Rgba, RgbaImage};
use serde::Serialize;

use crate::dataset::Pack;
use crate::engine::resample::windows;
use crate::error::{Error, Result};

/// A `data:` URI of an image; made of base64 only, so the page takes it as it is.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct DataUri(String);

/// Larger images are scaled down to this many pixels.
const LARGEST: u32 = 96;
/// Hardly visible on images that were JPEGs before, at a third of PNG's size.
const QUALITY: u8 = 85;

/// Mistakes in a picture of a confusion matrix, and what a network looked at: the orange of Okabe and Ito's palette, which
/// all kinds of sight tell from grey.
const ORANGE: [u8; 3] = [0xd5, 0x5e, 0x00];
/// Hits in a picture of a confusion matrix: visible on light and on dark pages.
const GREY: [u8; 3] = [0x80, 0x86, 0x8c];

/// Image `index` of a pack.
pub fn thumbnail(pack: &Pack, index: usize) -> Result<DataUri> {
    jpeg(pack, index, &small(pack, index)?)
}

/// Image `index` of a pack in greys, the more orange the higher `map`, [height][width] from 0 to 255, is there; between
/// the map's values it is linear.
pub fn attention(pack: &Pack, index: usize, map: &[u8], (height, width): (usize, usize)) -> Result<DataUri> {
    let mut picture = small(pack, index)?;
    let (down, across) = (windows(height, picture.height() as usize), windows(width, picture.width() as usize));
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let (row, column) = (&down[y as usize], &across[x as usize]);
        let mut heat = 0.0;
        for (r, v) in row.weights.iter().enumerate() {
            let line = (row.start + r) * width + column.start;
            let values = map.get(line..).unwrap_or_default();
            heat += column.weights.iter().zip(values).map(|(h, m)| v * h * f64::from(*m) / 255.0).sum::<f64>();
        }
        let [r, g, b] = pixel.0.map(f64::from);
        let luminance = 0.299 * r + 0.587 * g + 0.114 * b;
        pixel.0 = ORANGE.map(|orange| byte(luminance + STRONGEST * heat * (f64::from(orange) - luminance)));
    }
    jpeg(pack, index, &picture)
}

/// What is left of the image where attention is highest: enough to see what is there.
const STRONGEST: f64 = 0.75;

/// A square matrix, row by row, from 0 (not drawn) to 1, as a picture of a pixel a value: the diagonal in grey, the rest in
/// orange.
pub fn matrix(values: &[Vec<f64>]) -> Result<DataUri> {
    let side = pixels(values.len())?;
    png(&RgbaImage::from_fn(side, side, |x, y| {
        let value = values.get(y as usize).and_then(|row| row.get(x as usize)).copied().unwrap_or_default();
        let [r, g, b] = if x == y { GREY } else { ORANGE };
        // The root lifts the small values; those above 0 stay visible.
        let opacity = if value > 0.0 { 0.12 + 0.88 * value.clamp(0.0, 1.0).sqrt() } else { 0.0 };
        Rgba([r, g, b, byte(255.0 * opacity)])
    }))
}

/// Filters of [red, green, blue][kernel][kernel] weights beside each other, `columns` a row, a pixel a weight and one
/// between filters. Middle grey is 0; all are scaled by the largest weight of all.
pub fn filters(filters: &[&[f32]], kernel: usize, columns: usize) -> Result<DataUri> {
    let largest = filters.iter().flat_map(|f| f.iter()).fold(0.0_f32, |m, w| m.max(w.abs())).max(f32::MIN_POSITIVE);
    let pitch = kernel + 1;
    let rows = filters.len().div_ceil(columns.max(1));
    let (width, height) = (pixels(columns * pitch)?, pixels(rows * pitch)?);
    png(&RgbaImage::from_fn(width.saturating_sub(1).max(1), height.saturating_sub(1).max(1), |x, y| {
        let (x, y) = (x as usize, y as usize);
        let (column, row) = (x % pitch, y % pitch);
        let filter = filters.get(y / pitch * columns + x / pitch).filter(|_| column < kernel && row < kernel);
        let Some(filter) = filter else { return Rgba([0; 4]) };
        let channel = |c: usize| {
            let weight = filter.get((c * kernel + row) * kernel + column).copied().unwrap_or_default();
            byte(127.5 + 127.5 * f64::from(weight / largest))
        };
        Rgba([channel(0), channel(1), channel(2), 255])
    }))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=255")]
fn byte(value: f64) -> u8 {
    value.clamp(0.0, 255.0).round() as u8
}

fn pixels(side: usize) -> Result<u32> {
    u32::try_from(side).map_err(|e| Error::new(crate::error::Kind::Data, format!("a picture of {side} pixels: {e}")))
}

/// Image `index` of a pack, scaled down where it is large.
fn small(pack: &Pack, index: usize) -> Result<RgbImage> {
    let wrong = |what: &str| Error::data(&pack.path, format!("image {index}: {what}"));
    if index >= pack.images.count {
        return Err(wrong("is not in the pack"));
    }
    let (width, height) = (pixels(pack.images.width)?, pixels(pack.images.height)?);
    let picture = RgbImage::from_raw(width, height, pack.pixels(index).to_vec())
        .ok_or_else(|| wrong("its size does not fit its pixels"))?;
    if picture.width().max(picture.height()) <= LARGEST {
        return Ok(picture);
    }
    Ok(image::DynamicImage::from(picture).resize(LARGEST, LARGEST, FilterType::Triangle).into_rgb8())
}

fn jpeg(pack: &Pack, index: usize, picture: &RgbImage) -> Result<DataUri> {
    let mut bytes = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut bytes, QUALITY)
        .encode_image(picture)
        .map_err(|e| Error::data(&pack.path, format!("image {index}: {e}")))?;
    Ok(uri("image/jpeg", bytes.get_ref()))
}

fn png(picture: &RgbaImage) -> Result<DataUri> {
    let mut bytes = Cursor::new(Vec::new());
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, PngFilter::NoFilter)
        .write_image(picture, picture.width(), picture.height(), image::ExtendedColorType::Rgba8)
        .map_err(|e| Error::new(crate::error::Kind::Data, format!("cannot draw a picture: {e}")))?;
    Ok(uri("image/png", bytes.get_ref()))
}

fn uri(kind: &str, bytes: &[u8]) -> DataUri {
    DataUri(format!("data:{kind};base64,{}", STANDARD.encode(bytes)))
}
