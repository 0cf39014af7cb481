//! Images that the tests make themselves, in every format: cut, damaged, turned, transparent, animated.

use image::codecs::gif::GifEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, Frame, ImageEncoder, RgbaImage};

use super::*;

/// The formats that keep every pixel.
const EXACT: [ImageFormat; 4] = [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp];

/// 7 rows and 5 columns of colours that are all different.
fn picture() -> RgbImage {
    RgbImage::from_raw(5, 7, (0..5 * 7 * 3).map(|i| (i * 11 % 256) as u8).collect()).unwrap()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn jpeg(grey: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, 90);
    if grey {
        let pixels: Vec<u8> = (0..40 * 24).map(|i| (i % 40 * 6) as u8).collect();
        encoder.write_image(&pixels, 40, 24, ExtendedColorType::L8).unwrap();
    } else {
        let pixels: Vec<u8> = (0..40 * 24 * 3).map(|i| (i / 3 % 40 * 6) as u8 / (i % 3 + 1) as u8).collect();
        encoder.write_image(&pixels, 40, 24, ExtendedColorType::Rgb8).unwrap();
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
fn every_format_gives_the_same_pixels() {
    let image = DynamicImage::from(picture());
    for format in EXACT {
        let file = encoded(&image, format);
        let decoded = decode(&file).unwrap();
        let expected =
            Decoded { size: (7, 5), pixels: picture().into_raw(), greyscale: false, adapted: Adapted::default() };
        assert_eq!(decoded, expected, "{format:?}");
        assert_eq!(size(&file).unwrap(), (7, 5), "{format:?}");
    }
}

#[test]
fn a_png_is_read_whatever_its_depth_and_channels() {
    let image = DynamicImage::from(picture());
    for same in [image.to_rgba8().into(), image.to_rgb16().into(), image.to_rgba16().into()] {
        let decoded = decode(&encoded(&same, ImageFormat::Png)).unwrap();
        assert_eq!(
            (decoded.greyscale, decoded.adapted, decoded.pixels),
            (false, Adapted::default(), picture().into_raw())
        );
    }
    for grey in [image.to_luma8().into(), image.to_luma16().into(), image.to_luma_alpha8().into()] {
        assert!(decode(&encoded(&grey, ImageFormat::Png)).unwrap().greyscale);
    }
    let mut flipped = encoded(&image, ImageFormat::Png);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let error = decode(&flipped).unwrap_err();
    assert!(error.starts_with("damaged PNG: "), "checksums of PNG are checked: {error}");
}

#[test]
fn a_cut_file_is_an_error_wherever_it_is_cut() {
    let image = DynamicImage::from(picture());
    let files = EXACT.map(|format| (format!("{format:?}"), encoded(&image, format)));
    for (format, whole) in files.into_iter().chain([("Jpeg".to_owned(), jpeg(false))]) {
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{format} of {} bytes cut to {length}", whole.len());
        }
        // What comes after the end is not the image's: padding, or the film of a telephone's moving picture.
        for after in [&[0; 7][..], b"\0\0\0\x20ftypmp42", b"\r\n", &[0xff; 3]] {
            let longer = [&whole[..], after].concat();
            assert_eq!(decode(&longer), decode(&whole), "{format} with {after:?} after it");
        }
    }
    let cut = decode(&jpeg(false)[..300]).unwrap_err();
    assert_eq!(cut, "the file ends early (no end-of-image marker)");
    assert_eq!(decode(&[]).unwrap_err(), "the file is empty");
}

#[test]
fn a_jpeg_within_the_jpeg_is_not_its_end() {
    // A thumbnail, as cameras leave one: a whole JPEG in a segment ahead of the picture.
    let (mut thumbnail, picture) = (b"thumbnail\0".to_vec(), jpeg(false));
    thumbnail.extend(jpeg(true));
    let length = (thumbnail.len() as u16 + 2).to_be_bytes();
    let whole = [&picture[..2], &[0xff, 0xe5], &length, &thumbnail, &picture[2..]].concat();
    assert_eq!(decode(&[&whole[..], b"more"].concat()), decode(&picture));
    assert!(decode(&whole[..whole.len() - 2]).is_err());
}

/// EXIF data with an orientation and nothing else, in either order of bytes.
fn exif(orientation: u16, big: bool) -> Vec<u8> {
    let two = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let four = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let order = if big { b"MM" } else { b"II" };
    let list = [two(1), two(0x112), two(3)].concat(); // one entry, the orientation, of 16 bits
    [&order[..], &two(42), &four(8), &list, &four(1), &two(orientation), &two(0), &four(0)].concat()
}

/// A picture as a file with EXIF data.
fn with_exif(picture: &RgbImage, format: ImageFormat, exif: Vec<u8>) -> Vec<u8> {
    fn write(mut encoder: impl ImageEncoder, picture: &RgbImage, exif: Vec<u8>) {
        encoder.set_exif_metadata(exif).unwrap();
        encoder.write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8).unwrap();
    }
    let mut bytes = Vec::new();
    match format {
        ImageFormat::Png => write(PngEncoder::new(&mut bytes), picture, exif),
        ImageFormat::WebP => write(WebPEncoder::new_lossless(&mut bytes), picture, exif),
        _ => write(JpegEncoder::new_with_quality(&mut bytes, 90), picture, exif),
    }
    bytes
}

#[test]
fn exif_orientation_is_applied_in_every_format_that_has_it() {
    let picture = picture();
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        let stored = decode(&with_exif(&picture, format, Vec::new())).unwrap();
        let (rows, columns) = stored.size;
        for orientation in 1..=8 {
            // The EXIF standard: which side of what is seen the first row and the first column of the file are.
            let seen = |r: usize, c: usize| match orientation {
                1 => (r, c),                          // top, left
                2 => (r, columns - 1 - c),            // top, right
                3 => (rows - 1 - r, columns - 1 - c), // bottom, right
                4 => (rows - 1 - r, c),               // bottom, left
                5 => (c, r),                          // left, top
                6 => (c, rows - 1 - r),               // right, top
                7 => (columns - 1 - c, rows - 1 - r), // right, bottom
                _ => (columns - 1 - c, r),            // left, bottom
            };
            let size_seen = if orientation < 5 { (rows, columns) } else { (columns, rows) };
            let mut expected = vec![0; stored.pixels.len()];
            for (i, pixel) in stored.pixels.chunks(3).enumerate() {
                let (row, column) = seen(i / columns, i % columns);
                expected[(row * size_seen.1 + column) * 3..][..3].copy_from_slice(pixel);
            }
            for big in [false, true] {
                let file = with_exif(&picture, format, exif(orientation, big));
                let decoded = decode(&file).unwrap();
                assert_eq!((decoded.size, size(&file)), (size_seen, Ok(size_seen)), "{format:?} {orientation}");
                assert!(decoded.pixels == expected, "{format:?} {orientation}: {:?}", decoded.pixels);
                assert_eq!(decoded.adapted.turned, orientation != 1, "{format:?} {orientation}");
            }
        }
        // What is no orientation turns nothing, nor do damaged data; some writers repeat JPEG's heading.
        for exif in [exif(0, true), exif(9, false), exif(65535, true), exif(6, true)[..17].to_vec(), b"what?".to_vec()]
        {
            assert_eq!(decode(&with_exif(&picture, format, exif)), Ok(stored.clone()), "{format:?}");
        }
        if format != ImageFormat::Jpeg {
            let headed = [b"Exif\0\0", &exif(6, true)[..]].concat();
            assert_eq!(decode(&with_exif(&picture, format, headed)).unwrap().size, (columns, rows), "{format:?}");
        }
    }
}

#[test]
fn exif_data_at_the_end_of_a_png_count_too() {
    let file = with_exif(&picture(), ImageFormat::Png, exif(6, true));
    let at = file.windows(4).position(|name| name == b"eXIf").unwrap() - 4;
    let (chunk, end) = (at..at + 12 + exif(6, true).len(), file.len() - 12);
    let moved = [&file[..at], &file[chunk.end..end], &file[chunk], &file[end..]].concat();
    assert_eq!(decode(&moved), decode(&file));
    assert_eq!(size(&moved), Ok((5, 7)));
}

#[test]
fn what_is_transparent_is_seen_over_white() {
    // Hidden colours that would decide: strong ones, under full, half and no transparency.
    let pixels = [[200, 0, 0, 0], [0, 200, 0, 255], [0, 0, 200, 51]];
    let image = RgbaImage::from_raw(3, 1, pixels.concat()).unwrap();
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let decoded = decode(&encoded(&image.clone().into(), format)).unwrap();
        // 51 of 255 is a fifth: 0.2 * colour + 0.8 * 255.
        assert_eq!(decoded.pixels, [255, 255, 255, 0, 200, 0, 204, 204, 244], "{format:?}");
        assert!(decoded.adapted.over_white);
    }
    let two = RgbaImage::from_raw(2, 1, pixels[..2].concat()).unwrap();
    let gif = decode(&encoded(&two.into(), ImageFormat::Gif)).unwrap();
    assert_eq!((gif.pixels, gif.adapted.over_white), (vec![255, 255, 255, 0, 200, 0], true));
    let sixteen = DynamicImage::from(image).to_luma_alpha16();
    assert_eq!(decode(&encoded(&sixteen.into(), ImageFormat::Png)).unwrap().pixels[..3], [255; 3]);
}

#[test]
fn of_an_animation_the_first_picture_is_taken() {
    let first = DynamicImage::from(picture());
    let second = DynamicImage::from(picture()).rotate180();
    let mut gif = Vec::new();
    let frames = [&first, &second].map(|image| Frame::new(image.to_rgba8()));
    GifEncoder::new(&mut gif).encode_frames(frames).unwrap();

    let chunk = |name: &[u8; 4], data: &[u8]| {
        let padding = &[0][..data.len() % 2];
        [&name[..], &(data.len() as u32).to_le_bytes(), data, padding].concat()
    };
    let frame = |image: &DynamicImage| {
        // Place 0, 0, size 5 x 7 less one, 100 ms, not blended; then the still file's chunk.
        let head = [0, 0, 0, 0, 0, 0, 4, 0, 0, 6, 0, 0, 100, 0, 0, 2];
        chunk(b"ANMF", &[&head[..], &encoded(image, ImageFormat::WebP)[12..]].concat())
    };
    let body = [
        b"WEBP".to_vec(),
        chunk(b"VP8X", &[2, 0, 0, 0, 4, 0, 0, 6, 0, 0]),
        chunk(b"ANIM", &[0; 6]),
        frame(&first),
        frame(&second),
    ];
    let webp = chunk(b"RIFF", &body.concat());
    for (file, format) in [(gif, "GIF"), (webp, "WebP")] {
        let decoded = decode(&file).unwrap();
        assert_eq!((decoded.size, decoded.pixels), ((7, 5), picture().into_raw()), "{format}");
        let adapted = Adapted { first_picture: true, ..Adapted::default() };
        assert_eq!(decoded.adapted, adapted, "{format}");
        assert!(decode(&file[..file.len() - 60]).is_err(), "{format}: cut in the second picture");
    }
}

#[test]
fn too_many_pixels_are_refused_ahead_of_memory_for_them() {
    // Headers that claim much, and nothing behind them.
    let mut bmp = encoded(&picture().into(), ImageFormat::Bmp);
    let mut claim = |columns: u32, rows: u32| {
        bmp[18..22].copy_from_slice(&columns.to_le_bytes());
        bmp[22..26].copy_from_slice(&rows.to_le_bytes());
        decode(&bmp).unwrap_err()
    };
    for (columns, rows) in [(16385, 1), (1, 16385), (8193, 8192)] {
        let error = claim(columns, rows);
        assert!(error.contains(&format!("{columns} x {rows} pixels are too many")), "{error}");
    }
    assert!(claim(8192, 8192).starts_with("damaged BMP: "));
    let mut gif = encoded(&picture().into(), ImageFormat::Gif);
    gif[6] = 0; // its columns
    assert_eq!(decode(&gif).unwrap_err(), "0 x 7 pixels are no image");
}

#[test]
fn another_format_is_called_by_its_name() {
    let heif = |brand: &[u8; 4]| [&[0, 0, 0, 24], b"ftyp", &brand[..], &[0; 4], b"mif1", &brand[..]].concat();
    let cases: [(Vec<u8>, &[&str]); 14] = [
        (heif(b"heic"), &["HEIC", "is not read", "magick"]),
        (heif(b"avif"), &["AVIF", "is not read", "magick"]),
        (heif(b"mp42"), &["MP4", "is not read", "ffmpeg"]),
        (heif(b"qt  "), &["QuickTime", "is not read", "ffmpeg"]),
        (b"II*\0\x08\0\0\0\0\0\0\0\0\0".to_vec(), &["TIFF", "is not read", "magick"]),
        (b"MM\0*\0\0\0\x08\0\0\0\0\0\0".to_vec(), &["TIFF", "is not read", "magick"]),
        (b"\xff\x0a\0\0".to_vec(), &["JPEG XL", "is not read", "magick"]),
        (b"8BPS\0\x01\0\0".to_vec(), &["Photoshop", "is not read", "magick"]),
        (
            b"<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec(),
            &["SVG", "is not read", "magick"],
        ),
        (b"II*\0\x10\0\0\0CR\x02\0".to_vec(), &["Canon Raw", "is not read", "magick"]),
        (b"%PDF-1.7\n".to_vec(), &["PDF", "is not read", "pdftoppm"]),
        (b"<html>not found</html>".to_vec(), &["no image", "web page"]),
        (b"PK\x03\x04\x14\0\0\0".to_vec(), &["no image", "ZIP"]),
        (b"version https://git-lfs.github.com/spec/v1\noid".to_vec(), &["git lfs pull"]),
    ];
    for (bytes, words) in cases {
        let reason = decode(&bytes).unwrap_err();
        assert!(words.iter().all(|word| reason.contains(word)), "{words:?}: {reason}");
        assert_eq!(size(&bytes), Err(reason));
    }
    assert_eq!(decode(b"no image").unwrap_err(), "no image, but text");
    assert_eq!(decode(&[0, 1, 2, 3]).unwrap_err(), "no image: it begins like no known format");
}

#[test]
fn another_size_keeps_what_is_where() {
    // Left half red, right half blue, in 6 rows and 16 columns.
    let pixels = (0..6 * 16).flat_map(|i| if i % 16 < 8 { [200, 0, 0] } else { [0, 0, 100] }).collect();
    let image = Decoded { size: (6, 16), pixels, greyscale: false, adapted: Adapted::default() };
    assert_eq!(image.clone().resized((6, 16)), image);
    let small = image.resized((3, 4));
    assert_eq!((small.size, small.pixels.len()), ((3, 4), 36));
    assert_eq!((&small.pixels[..3], &small.pixels[33..]), (&[200, 0, 0][..], &[0, 0, 100][..]));
}
