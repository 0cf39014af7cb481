//! `--skip-corrupt` and `--drop-leaks`: what they leave out, and what they say of it.

use std::fs;

use predicates::prelude::*;
use predicates::str::contains;
use vggkit::dataset::{Manifest, Pack};

use super::{PREPARE, raw, vggkit, zip_up};

#[test]
fn corrupt_files_are_left_out_when_asked() {
    let (work, raw) = raw(2, 6);
    let whole = fs::read(raw.join("train/n90000002/images/n90000002_3.JPEG")).unwrap();
    fs::write(raw.join("train/n90000001/images/n90000001_1.JPEG"), b"").unwrap();
    fs::write(raw.join("train/n90000002/images/n90000002_3.JPEG"), &whole[..whole.len() / 2]).unwrap();
    fs::write(raw.join("test/images/test_1.JPEG"), b"<html>not found</html>").unwrap();
    fs::remove_file(raw.join("val/images/val_1.JPEG")).unwrap();
    let stopped = contains("4 files of 17 images").and(contains("--skip-corrupt"));
    vggkit(work.path()).args(PREPARE).assert().code(1).stderr(stopped);
    assert!(!work.path().join("data/manifest.json").exists());
    let said = contains("4 files").and(contains("test/images/test_1.JPEG: no image, but a web page"));
    vggkit(work.path()).args(PREPARE).arg("--skip-corrupt").assert().success().stdout(said);
    let data = work.path().join("data");
    let manifest = Manifest::load(&data).unwrap();
    let left_out: Vec<&str> = manifest.left_out.iter().map(|file| &file.path[..]).collect();
    assert_eq!(
        left_out,
        [
            "test/images/test_1.JPEG",
            "train/n90000001/images/n90000001_1.JPEG",
            "train/n90000002/images/n90000002_3.JPEG",
            "val/images/val_1.JPEG"
        ]
    );
    let counts = ["train", "val", "test"].map(|split| Pack::open(&data, split).unwrap().images.count);
    assert_eq!(counts, [10, 3, 1]);
    vggkit(work.path()).args(["verify"]).assert().success().stdout(contains("left-out"));
    // The same data from a source without those files: the same packs.
    for file in &left_out {
        fs::remove_file(raw.join(file)).ok();
    }
    let annotations = fs::read_to_string(raw.join("val/val_annotations.txt")).unwrap();
    let rest: String = annotations.lines().filter(|l| !l.starts_with("val_1.")).map(|l| format!("{l}\n")).collect();
    fs::write(raw.join("val/val_annotations.txt"), rest).unwrap();
    for (class, file) in [("n90000001", "n90000001_1.JPEG"), ("n90000002", "n90000002_3.JPEG")] {
        let path = raw.join(format!("train/{class}/{class}_boxes.txt"));
        let boxes = fs::read_to_string(&path).unwrap();
        let rest: String = boxes.lines().filter(|l| !l.starts_with(file)).map(|l| format!("{l}\n")).collect();
        fs::write(path, rest).unwrap();
    }
    vggkit(work.path()).args(PREPARE).args(["--data", "clean"]).assert().success();
    assert!(super::packs(&data) == super::packs(&work.path().join("clean")));
}

#[test]
fn a_class_that_would_be_empty_stops_the_work() {
    let (work, raw) = raw(2, 2);
    for i in 0..2 {
        fs::write(raw.join(format!("train/n90000002/images/n90000002_{i}.JPEG")), b"no").unwrap();
    }
    let wrong = contains("no image of the class n90000002 is left in train");
    vggkit(work.path()).args(PREPARE).arg("--skip-corrupt").assert().code(1).stderr(wrong);
    fs::write(raw.join("wnids.txt"), "n90000001\n").unwrap();
    let wrong = contains("not in it (n90000002)").and(contains("with --skip-corrupt").not());
    vggkit(work.path()).args(PREPARE).arg("--skip-corrupt").assert().code(1).stderr(wrong);
}

#[test]
fn train_images_that_val_or_test_have_too_are_dropped_when_asked() {
    let (work, raw) = raw(2, 6);
    let train = |name: &str| raw.join(format!("train/{}/images/{name}", &name[..9]));
    // The same bytes, and the same pixels in other bytes.
    fs::copy(raw.join("val/images/val_2.JPEG"), train("n90000001_4.JPEG")).unwrap();
    let mut padded = fs::read(raw.join("test/images/test_0.JPEG")).unwrap();
    padded.extend([0, 0, 0]);
    fs::write(train("n90000002_0.JPEG"), padded).unwrap();
    zip_up(&raw, "", &work.path().join("raw.zip"));
    for (source, data) in [("raw", "of-folder"), ("raw.zip", "of-zip")] {
        let arguments = ["prepare", "--source", source, "--data", data, "--drop-leaks"];
        vggkit(work.path()).args(arguments).assert().success().stdout(contains("2 files"));
        let data = work.path().join(data);
        let manifest = Manifest::load(&data).unwrap();
        let left_out: Vec<_> = manifest.left_out.iter().map(|file| (&file.path[..], &file.reason[..])).collect();
        assert_eq!(
            left_out,
            [
                ("train/n90000001/images/n90000001_4.JPEG", "has the same pixels as val/images/val_2.JPEG"),
                ("train/n90000002/images/n90000002_0.JPEG", "has the same pixels as test/images/test_0.JPEG"),
            ]
        );
        let pack = Pack::open(&data, "train").unwrap();
        assert_eq!((pack.images.count, manifest.splits["train"].images), (10, 10));
        assert!(!data.join("train/n90000001/n90000001_4.JPEG").exists());
        assert!(!pack.files.contains(&"n90000002_0.JPEG".to_owned()));
        vggkit(work.path()).args(["verify", "--data"]).arg(&data).assert().success();
    }
    vggkit(work.path()).args(PREPARE).assert().success();
    assert_eq!(Pack::open(&work.path().join("data"), "train").unwrap().images.count, 12, "not unasked");
}
