//! Files that are not plain JPEGs: turned, transparent, animated, damaged, of formats that are not read. What `prepare` and
//! `verify` make of them is what `decode` says, and nothing else.

use std::fs;
use std::path::Path;

use image::codecs::gif::GifEncoder;
use image::codecs::png::PngEncoder;
use image::{DynamicImage, ExtendedColorType, Frame, ImageEncoder, RgbImage, RgbaImage};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use vggkit::dataset::{Manifest, Pack, decode};

use super::{PREPARE, raw, vggkit};

/// EXIF data that says: the first row is what is seen on the right (orientation 6).
const ON_ITS_SIDE: &[u8] = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";

fn png(image: &DynamicImage, exif: Option<&[u8]>) -> Vec<u8> {
    let (mut bytes, rgba) = (Vec::new(), image.to_rgba8());
    let mut encoder = PngEncoder::new(&mut bytes);
    exif.map(|exif| encoder.set_exif_metadata(exif.to_vec())).transpose().unwrap();
    encoder.write_image(&rgba, rgba.width(), rgba.height(), ExtendedColorType::Rgba8).unwrap();
    bytes
}

/// The findings of `vggkit verify` as code and files.
fn findings(folder: &Path, more: &[&str]) -> Vec<(String, Vec<String>)> {
    let output = vggkit(folder).args(["verify", "--json"]).args(more).output().unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let finding = |f: &Value| (text(&f["code"]), f["files"].as_array().unwrap().iter().map(text).collect());
    result["findings"].as_array().unwrap().iter().map(finding).collect()
}

#[test]
fn images_are_packed_as_they_are_seen() {
    let (work, raw) = raw(2, 6);
    let picture = RgbImage::from_fn(64, 64, |x, y| image::Rgb([4 * x as u8, 4 * y as u8, (x * y % 251) as u8]));
    let upright = DynamicImage::from(picture.clone());
    let seen_through = RgbaImage::from_fn(64, 64, |x, _| image::Rgba([255, 0, 0, if x < 32 { 0 } else { 255 }]));
    let mut animation = Vec::new();
    let frames = [[9, 9, 9, 255], [0, 99, 0, 255]].map(|c| Frame::new(RgbaImage::from_pixel(64, 64, image::Rgba(c))));
    GifEncoder::new(&mut animation).encode_frames(frames).unwrap();
    let class = raw.join("train/n90000001/images");
    let files =
        [png(&upright, None), png(&upright.rotate270(), Some(ON_ITS_SIDE)), png(&seen_through.into(), None), animation];
    for (i, file) in files.iter().enumerate() {
        fs::write(class.join(format!("n90000001_{i}.JPEG")), file).unwrap();
    }
    let said = contains("1 image turned in the packs as the EXIF orientation says")
        .and(contains("1 image transparent in places, where the packs have white"))
        .and(contains("1 image animated, of which the packs have the first picture"));
    vggkit(work.path()).args(PREPARE).assert().success().stdout(said);

    let data = work.path().join("data");
    let train = Pack::open(&data, "train").unwrap();
    assert!(train.pixels(0) == &picture.into_raw()[..] && train.pixels(1) == train.pixels(0));
    for row in train.pixels(2).chunks(3 * 64) {
        assert_eq!((row[..96].to_vec(), row[96..].to_vec()), ([255; 96].to_vec(), [255, 0, 0].repeat(32)));
    }
    assert!(train.pixels(3).iter().all(|part| *part == 9));
    for (i, file) in files.iter().enumerate() {
        let kept = fs::read(data.join(format!("train/n90000001/n90000001_{i}.JPEG"))).unwrap();
        assert!(kept == *file, "the file itself stays as it is");
    }
    let split = &Manifest::load(&data).unwrap().splits["train"];
    assert_eq!((split.turned, split.transparent, split.animated), (1, 1, 1));
    vggkit(work.path()).arg("verify").assert().success();
    for (more, folder) in [(&[][..], "train/n90000001"), (&["--source", "raw"][..], "train/n90000001/images")] {
        let found = findings(work.path(), more);
        for (code, i) in [("turned", 1), ("transparent", 2), ("animated", 3)] {
            let finding = (code.to_owned(), vec![format!("{folder}/n90000001_{i}.JPEG")]);
            assert!(found.contains(&finding), "{more:?} {code}: {found:?}");
        }
    }
}

#[test]
fn prepare_and_verify_say_of_a_bad_file_what_decode_says() {
    let (work, raw) = raw(2, 9);
    let image = |i: usize| format!("train/n90000002/images/n90000002_{i}.JPEG");
    let whole = fs::read(raw.join(image(0))).unwrap();
    let bad: [&[u8]; 8] = [
        b"",
        &whole[..whole.len() / 2],
        &whole[..whole.len() - 2],
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"\0\0\0\x18ftypavif\0\0\0\0mif1avif",
        b"II*\0\x08\0\0\0\0\0\0\0\0\0",
        b"<html>not found</html>",
        b"GIF89a",
    ];
    let mut wanted = Vec::new();
    for (i, bytes) in bad.iter().enumerate() {
        fs::write(raw.join(image(i + 1)), bytes).unwrap();
        wanted.push(format!("{}: {}", image(i + 1), decode::decode(bytes).unwrap_err()));
    }
    let found = findings(work.path(), &["--source", "raw"]);
    let (_, files) = found.iter().find(|(code, _)| code == "file-undecodable").unwrap();
    assert_eq!(files, &wanted);
    let output = vggkit(work.path()).args(PREPARE).assert().code(1).get_output().clone();
    let said = String::from_utf8(output.stderr).unwrap();
    let listed: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("  train/")).collect();
    let wanted: Vec<&str> = wanted.iter().map(|line| line.strip_prefix("train/").unwrap()).collect();
    assert_eq!(listed, wanted, "{said}");
}
