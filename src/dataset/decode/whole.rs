//! Whether a file goes on to its end, how many pictures it has, and its EXIF data: from the blocks that a format is made
//! of. Decoders stop at the last pixel they need, and some make up those that are missing.
//!
//! Reads no pixel. What follows the end is not looked at: telephones put films there, and some writers padding.

use image::ImageFormat;

/// What the blocks of a file tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whole<'a> {
    /// Pictures of an animation; 0 or 1 where there is none.
    pub pictures: usize,
    /// EXIF data.
    pub exif: Option<&'a [u8]>,
}

/// Errors: the file ends within a block, or ahead of its last one.
pub fn check(bytes: &[u8], format: ImageFormat) -> Result<Whole<'_>, String> {
    let whole = match format {
        ImageFormat::Png => png(bytes),
        ImageFormat::WebP => webp(bytes),
        ImageFormat::Gif => gif(bytes),
        _ => Some(Whole::default()), // BMP's decoder asks for every byte
    };
    whole.ok_or_else(|| "the file ends early".into())
}

/// Whether the end-of-image marker is there.
pub fn jpeg(bytes: &[u8]) -> bool {
    let padding = bytes.iter().rev().take_while(|b| **b == 0).count();
    bytes[..bytes.len() - padding].ends_with(&[0xff, 0xd9]) || jpeg_ends_ahead(bytes).is_some()
}

/// Where a JPEG ends ahead of other bytes: segments tell their length, scans go on until a marker that is neither an
/// escaped 0xff nor a restart.
fn jpeg_ends_ahead(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        at += bytes.get(at..)?.iter().position(|b| *b == 0xff)? + 1;
        match *bytes.get(at)? {
            0xd9 => return Some(at + 1),
            0xff => {} // a marker may be preceded by any number of these
            0x00 | 0x01 | 0xd0..=0xd8 => at += 1,
            _ => at += 1 + usize::from(u16::from_be_bytes(*bytes.get(at + 1..)?.first_chunk()?)),
        }
    }
}

/// A signature, then chunks of length, name, data and checksum; the last is IEND.
fn png(bytes: &[u8]) -> Option<Whole<'_>> {
    let (mut whole, mut rest) = (Whole::default(), bytes.get(8..)?);
    loop {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let (name, data) = (rest.get(4..8)?, rest.get(8..)?.get(..length)?);
        rest = rest.get(8 + length + 4..)?;
        match name {
            b"IEND" => return Some(whole),
            b"eXIf" => whole.exif = Some(data),
            b"acTL" => whole.pictures = u32::from_be_bytes(*data.first_chunk()?) as usize,
            _ => {}
        }
    }
}

/// "RIFF", a length and "WEBP", then chunks of name, length and data, padded to an even number of bytes.
fn webp(bytes: &[u8]) -> Option<Whole<'_>> {
    let length = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?) as usize;
    let (mut whole, mut rest) = (Whole::default(), bytes.get(8..)?.get(..length)?.get(4..)?);
    while !rest.is_empty() {
        let length = u32::from_le_bytes(*rest.get(4..)?.first_chunk()?) as usize;
        let (name, data) = (rest.get(..4)?, rest.get(8..)?.get(..length)?);
        match name {
            b"EXIF" => whole.exif = Some(data),
            b"ANMF" => whole.pictures += 1,
            _ => {}
        }
        rest = rest.get(8 + length.next_multiple_of(2)..).unwrap_or_default(); // some leave the last padding out
    }
    Some(whole)
}

/// Header and colours, then extensions and pictures, whose data come in pieces of at most 255 bytes; then a semicolon.
fn gif(bytes: &[u8]) -> Option<Whole<'_>> {
    let colours = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let mut whole = Whole::default();
    let mut at = 13 + colours(*bytes.get(10)?);
    loop {
        match *bytes.get(at)? {
            b';' => return Some(whole),
            b'!' => at += 2,
            b',' => {
                whole.pictures += 1;
                at += 10 + colours(*bytes.get(at + 9)?) + 1;
            }
            _ => {
                at += 1; // some writers leave zeros between blocks
                continue;
            }
        }
        loop {
            let piece = usize::from(*bytes.get(at)?);
            at += 1 + piece;
            if piece == 0 {
                break;
            }
        }
    }
}
