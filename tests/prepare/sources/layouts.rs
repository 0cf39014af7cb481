//! Layouts that people have give the same packs as the official one.

use std::fs;
use std::path::Path;

use predicates::prelude::*;
use predicates::str::contains;
use vggkit::dataset::{Manifest, Pack, decode};

use super::{PREPARE, packs, raw, vggkit, zip_up};

/// Moves all files of `from` into `to`, and removes `from`.
fn move_up(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::rename(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    fs::remove_dir(from).unwrap();
}

/// Sorts val into class folders, with `images/` in each or without.
fn sort_val(val: &Path, inner: &str) {
    let annotations = fs::read_to_string(val.join("val_annotations.txt")).unwrap();
    for line in annotations.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let folder = val.join(fields[1]).join(inner);
        fs::create_dir_all(&folder).unwrap();
        fs::rename(val.join("images").join(fields[0]), folder.join(fields[0])).unwrap();
    }
    fs::remove_dir(val.join("images")).unwrap();
}

#[test]
fn every_layout_gives_the_packs_of_the_official_one() {
    let (work, raw) = raw(3, 4);
    vggkit(work.path()).args(PREPARE).args(["--data", "official"]).assert().success();
    let official = packs(&work.path().join("official"));
    assert_eq!(official.len(), 3);
    let mut number = 0;
    let mut same = |note: &str| {
        for (source, kind) in [("raw", "folder"), ("raw.zip", "zip"), ("top.zip", "zip in a folder")] {
            number += 1;
            zip_up(&raw, "", &work.path().join("raw.zip"));
            zip_up(&raw, "some/where/", &work.path().join("top.zip"));
            let data = format!("data{number}");
            let prepared =
                vggkit(work.path()).args(["prepare", "--source", source, "--data", &data]).assert().success();
            prepared.stdout(contains(note));
            assert!(packs(&work.path().join(&data)) == official, "{kind}: {note}");
        }
    };
    // Images directly in train's class folders.
    for class in ["n90000001", "n90000003"] {
        let folder = raw.join("train").join(class);
        move_up(&folder.join("images"), &folder);
    }
    same("");
    // Images directly in test and in val.
    move_up(&raw.join("test/images"), &raw.join("test"));
    move_up(&raw.join("val/images"), &raw.join("val"));
    same("");
    // val in class folders, with and without `images`, annotations still there.
    fs::create_dir(raw.join("val/images")).unwrap();
    for entry in fs::read_dir(raw.join("val")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "JPEG") {
            fs::rename(&path, raw.join("val/images").join(path.file_name().unwrap())).unwrap();
        }
    }
    sort_val(&raw.join("val"), "");
    same("val is sorted into class folders already");
    for class in ["n90000001", "n90000002"] {
        fs::rename(raw.join("val").join(class), raw.join("aside")).unwrap();
        fs::create_dir(raw.join("val").join(class)).unwrap();
        fs::rename(raw.join("aside"), raw.join("val").join(class).join("images")).unwrap();
    }
    same("val is sorted into class folders already");
    // And under the name that some script gave it.
    fs::rename(raw.join("val"), raw.join("val_")).unwrap();
    same("val is read from val_/");
}

#[test]
fn sorted_val_needs_no_annotations_but_must_not_contradict_them() {
    let (work, raw) = raw(2, 4);
    let annotations = raw.join("val/val_annotations.txt");
    let text = fs::read_to_string(&annotations).unwrap();
    sort_val(&raw.join("val"), "images");
    fs::remove_file(&annotations).unwrap();
    vggkit(work.path()).args(PREPARE).assert().success();
    let val = Pack::open(&work.path().join("data"), "val").unwrap();
    assert_eq!((&val.images.labels[..], val.boxes.len()), (&[0, 1][..], 0));
    let swapped = text.replace("n90000001", "x").replace("n90000002", "n90000001").replace('x', "n90000002");
    fs::write(&annotations, swapped).unwrap();
    let wrong = contains("2 files").and(contains("lies in the class `n90000001`, but val/val_annotations.txt has"));
    vggkit(work.path()).args(PREPARE).assert().code(1).stderr(wrong);
}

#[test]
fn a_missing_test_split_is_fine() {
    let (work, raw) = raw(2, 3);
    fs::remove_dir_all(raw.join("test")).unwrap();
    vggkit(work.path()).args(PREPARE).assert().success();
    let manifest = Manifest::load(&work.path().join("data")).unwrap();
    assert_eq!(manifest.splits.keys().collect::<Vec<_>>(), ["train", "val"]);
    let verified = vggkit(work.path()).args(["verify", "--strict"]).assert().success();
    verified.stdout(contains("there is no test split"));
}

#[test]
fn extensions_in_any_case_and_png_beside_jpeg() {
    let (work, raw) = raw(2, 4);
    let images = raw.join("train/n90000001/images");
    fs::rename(images.join("n90000001_0.JPEG"), images.join("n90000001_0.jpg")).unwrap();
    fs::rename(images.join("n90000001_1.JPEG"), images.join("n90000001_1.JpEg")).unwrap();
    let decoded = decode::decode(&fs::read(images.join("n90000001_2.JPEG")).unwrap()).unwrap();
    let image = image::RgbImage::from_raw(64, 64, decoded.pixels.clone()).unwrap();
    image.save_with_format(images.join("n90000001_2.PNG"), image::ImageFormat::Png).unwrap();
    fs::remove_file(images.join("n90000001_2.JPEG")).unwrap();
    fs::write(images.join("Thumbs.db"), b"not for us").unwrap();
    vggkit(work.path()).args(PREPARE).assert().success();
    let data = work.path().join("data");
    let train = Pack::open(&data, "train").unwrap();
    assert_eq!(
        train.files[..4],
        ["n90000001_0.jpg", "n90000001_1.JpEg", "n90000001_2.PNG", "n90000001_3.JPEG"].map(str::to_owned)
    );
    assert_eq!(train.pixels(2), decoded.pixels);
    assert!(data.join("train/n90000001/n90000001_2.PNG").is_file());
    vggkit(work.path()).arg("verify").assert().success();
}

#[test]
fn other_sizes_are_resized_in_the_packs_with_a_note() {
    let (work, raw) = raw(2, 5);
    for (path, side) in [("train/n90000001/images/n90000001_1.JPEG", 32), ("test/images/test_0.JPEG", 100)] {
        let mut bytes = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100);
        let pixels = [200, 90, 10].repeat(side * (side + 7));
        let (columns, rows) = (side as u32 + 7, side as u32);
        image::ImageEncoder::write_image(encoder, &pixels, columns, rows, image::ExtendedColorType::Rgb8).unwrap();
        fs::write(raw.join(path), bytes).unwrap();
    }
    let said = contains("note: 2 images of other sizes were resized");
    vggkit(work.path()).args(PREPARE).assert().success().stdout(said);
    let data = work.path().join("data");
    let manifest = Manifest::load(&data).unwrap();
    assert_eq!(["train", "val", "test"].map(|split| manifest.splits[split].resized), [1, 0, 1]);
    let train = Pack::open(&data, "train").unwrap();
    assert_eq!((train.images.height, train.images.width), (64, 64));
    let near = |value: u8, wanted: u8| value.abs_diff(wanted) < 3;
    assert!(train.pixels(1).chunks(3).all(|p| near(p[0], 200) && near(p[1], 90) && near(p[2], 10)));
    let path = "train/n90000001/images/n90000001_1.JPEG";
    let kept = fs::read(data.join(path.replace("/images", ""))).unwrap();
    assert_eq!(kept, fs::read(raw.join(path)).unwrap(), "files stay as they are");
    vggkit(work.path()).arg("verify").assert().success();
}

#[test]
fn one_place_is_not_filled_twice() {
    let (work, raw) = raw(2, 3);
    let class = raw.join("train/n90000001");
    fs::copy(class.join("images/n90000001_0.JPEG"), class.join("n90000001_0.JPEG")).unwrap();
    let wrong = contains("n90000001_0.JPEG: has the same place as train/n90000001/");
    vggkit(work.path()).args(PREPARE).assert().code(1).stderr(wrong);
}
