//! JPEG, strictly. (The `image` crate's decoder, made for viewing, fills what is missing with grey.)

use image::{DynamicImage, ImageFormat, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::decoded::{Adapted, Decoded, LARGEST_SIDE, Size, damaged, orientation, possible, turned, upright};
use super::whole;

type Decoder<'a> = JpegDecoder<ZCursor<&'a [u8]>>;

pub fn decode(jpeg: &[u8]) -> Result<Decoded, String> {
    if !whole::jpeg(jpeg) {
        return Err("the file ends early (no end-of-image marker)".into());
    }
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options());
    let size = headers(&mut decoder)?;
    let greyscale = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let orientation = orientation(decoder.exif().map(Vec::as_slice));
    let pixels = decoder.decode().map_err(|e| damaged(ImageFormat::Jpeg, &e))?;
    let bytes = pixels.len();
    let image = RgbImage::from_raw(size.1 as u32, size.0 as u32, pixels).filter(|_| bytes == size.0 * size.1 * 3);
    let image = image.ok_or_else(|| format!("{bytes} bytes of pixels for {} x {}", size.1, size.0))?;
    Ok(upright(DynamicImage::from(image), orientation, greyscale, Adapted::default()))
}

pub fn size(jpeg: &[u8]) -> Result<Size, String> {
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options());
    let size = headers(&mut decoder)?;
    Ok(turned(size, orientation(decoder.exif().map(Vec::as_slice))))
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
    decoder.decode_headers().map_err(|e| damaged(ImageFormat::Jpeg, &e))?;
    let (columns, rows) = decoder.dimensions().ok_or("no size in its headers")?;
    possible((rows, columns))?;
    Ok((rows, columns))
}
