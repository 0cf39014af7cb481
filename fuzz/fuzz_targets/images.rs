//! Any bytes as an image: they decode to as many pixels as the headers say, or it is said why not.

#![no_main]

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageEncoder, ImageFormat};
use libfuzzer_sys::fuzz_target;
use vggkit::dataset::decode;
use vggkit_fuzz::{encoded, picture, seed};

fn seeds() {
    let colour = picture(9, 20);
    let (grey, alpha): (DynamicImage, DynamicImage) = (colour.to_luma8().into(), colour.to_rgba16().into());
    for (name, format) in [("webp", ImageFormat::WebP), ("gif", ImageFormat::Gif), ("bmp", ImageFormat::Bmp)] {
        seed("images", &format!("colour.{name}"), &encoded(&colour, format));
    }
    // On its side: what is seen on the right comes first.
    let exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let mut turned = Vec::new();
    let mut encoder = JpegEncoder::new(&mut turned);
    encoder.set_exif_metadata(exif.to_vec()).expect("EXIF data");
    encoder.encode_image(&colour).expect("an encoded image");
    seed("images", "turned.jpeg", &turned);
    for (name, image) in [("colour", &colour), ("grey", &grey)] {
        seed("images", &format!("{name}.jpeg"), &encoded(image, ImageFormat::Jpeg));
    }
    for (name, image) in [("colour", &colour), ("grey", &grey), ("alpha", &alpha)] {
        seed("images", &format!("{name}.png"), &encoded(image, ImageFormat::Png));
    }
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let size = decode::size(bytes);
    // Time and memory go with the pixels that a header claims: the large ones would only slow the search down.
    if size.as_ref().is_ok_and(|(rows, columns)| rows * columns > 1 << 18) {
        return;
    }
    if let Ok(decoded) = decode::decode(bytes) {
        assert_eq!(size, Ok(decoded.size));
        assert!(decoded.size.0.max(decoded.size.1) <= decode::LARGEST_SIDE);
        assert_eq!(decoded.pixels.len(), decoded.size.0 * decoded.size.1 * 3);
        assert!(!decoded.greyscale || decoded.pixels.chunks(3).all(|p| p[0] == p[1] && p[1] == p[2]));
        assert_eq!(decoded.resized((3, 5)).pixels.len(), 45);
    }
});
