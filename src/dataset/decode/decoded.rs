//! A decoded image, whatever its format: its size, turned the way it is looked at, and what was done to get there.

use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{DynamicImage, ImageFormat, RgbImage};

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

/// Refuses images without pixels and those with too many.
pub fn possible((rows, columns): Size) -> Result<(), String> {
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

pub fn damaged(format: ImageFormat, reason: &dyn std::fmt::Display) -> String {
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
pub fn orientation(exif: Option<&[u8]>) -> Orientation {
    let exif = exif.map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
    exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
}

/// A size after turning.
pub fn turned((rows, columns): Size, orientation: Orientation) -> Size {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    match orientation {
        Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH => (columns, rows),
        _ => (rows, columns),
    }
}

/// An image turned the way it is looked at.
pub fn upright(mut image: DynamicImage, orientation: Orientation, greyscale: bool, adapted: Adapted) -> Decoded {
    image.apply_orientation(orientation);
    let size = (image.height() as usize, image.width() as usize);
    let adapted = Adapted { turned: orientation != Orientation::NoTransforms, ..adapted };
    Decoded { size, pixels: image.into_rgb8().into_raw(), greyscale, adapted }
}
