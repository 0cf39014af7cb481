//! What is broken, hostile or in the way: clear errors, exit codes, and nothing lost.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use predicates::prelude::*;
use predicates::str::contains;
use vggkit::dataset::{Manifest, Pack};

use super::{PREPARE, raw, vggkit};

fn jpeg(side: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new(&mut bytes);
    let pixels = vec![90; (side * side * 3) as usize];
    image::ImageEncoder::write_image(encoder, &pixels, side, side, image::ExtendedColorType::Rgb8).unwrap();
    bytes
}

#[test]
fn all_broken_images_are_listed_and_the_old_data_stays() {
    let (work, raw) = raw(2, 6);
    vggkit(work.path()).args(PREPARE).assert().success();
    let manifest = Manifest::load(&work.path().join("data")).unwrap();
    let image = |name: &str| raw.join(name);
    fs::write(image("train/n90000001/images/n90000001_1.JPEG"), b"").unwrap();
    let whole = fs::read(image("train/n90000002/images/n90000002_3.JPEG")).unwrap();
    fs::write(image("train/n90000002/images/n90000002_3.JPEG"), &whole[..whole.len() / 2]).unwrap();
    fs::write(image("val/images/val_0.JPEG"), b"<html>not found</html>").unwrap();
    fs::remove_file(image("val/images/val_1.JPEG")).unwrap();
    vggkit(work.path()).args(PREPARE).assert().code(1).stderr(
        contains("4 files")
            .and(contains("n90000001_1.JPEG: the file is empty"))
            .and(contains("n90000002_3.JPEG: "))
            .and(contains("val_0.JPEG: no image, but a web page"))
            .and(contains("val_1.JPEG: is missing"))
            .and(contains("nothing was prepared")),
    );
    assert_eq!(Manifest::load(&work.path().join("data")).unwrap(), manifest);
    vggkit(work.path()).arg("verify").assert().success();
    let left = fs::read_dir(work.path().join("data"))
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains("partial"));
    assert_eq!(left.count(), 0);
}

#[test]
fn another_size_is_fine_when_all_share_it() {
    let (work, raw) = raw(2, 3);
    for entry in walkdir::WalkDir::new(&raw) {
        let entry = entry.unwrap();
        if entry.path().extension().is_some_and(|e| e == "JPEG") {
            fs::write(entry.path(), jpeg(40)).unwrap();
        }
    }
    vggkit(work.path()).args(PREPARE).assert().success().stdout(contains("40 x 40"));
    let pack = Pack::open(&work.path().join("data"), "train").unwrap();
    assert_eq!((pack.images.height, pack.images.width), (40, 40));
}

#[test]
fn lists_that_do_not_fit_are_refused() {
    let (work, raw) = raw(2, 3);
    let wnids = fs::read_to_string(raw.join("wnids.txt")).unwrap();
    fs::write(raw.join("wnids.txt"), format!("{wnids}n99\n")).unwrap();
    vggkit(work.path()).args(PREPARE).assert().code(1).stderr(contains("wnids.txt").and(contains("(n99)")));
    fs::write(raw.join("wnids.txt"), "n90000001\n").unwrap();
    vggkit(work.path()).args(PREPARE).assert().code(1).stderr(contains("not in it (n90000002)"));
    fs::write(raw.join("wnids.txt"), wnids).unwrap();
    let annotations = raw.join("val/val_annotations.txt");
    let text = fs::read_to_string(&annotations).unwrap();
    fs::write(&annotations, format!("{text}oops\n")).unwrap();
    vggkit(work.path()).args(PREPARE).assert().code(1).stderr(contains("val_annotations.txt: line 3"));
    fs::remove_file(annotations).unwrap();
    vggkit(work.path()).args(PREPARE).assert().code(1).stderr(contains("val has no labels"));
    assert!(!work.path().join("data/manifest.json").exists());
}

#[test]
fn what_is_not_an_archive_or_not_the_layout_says_so() {
    let (work, _raw) = raw(2, 3);
    let run = |source: &str| {
        let mut command = vggkit(work.path());
        command.args(["prepare", "--source", source]);
        command.assert()
    };
    fs::write(work.path().join("cut.zip"), b"PK\x03\x04 and then the line went dead").unwrap();
    run("cut.zip").code(1).stderr(contains("not a whole zip archive"));
    fs::create_dir(work.path().join("empty")).unwrap();
    run("empty").code(1).stderr(contains("not in the layout"));
    run("nowhere.zip").code(2).stderr(contains("does not exist"));
    vggkit(work.path()).args(["prepare", "--demo", "--source", "x"]).assert().code(2);
    vggkit(work.path()).args(["prepare", "--seed", "1"]).assert().code(2);
    vggkit(work.path()).args(["prepare", "--demo", "--classes", "0"]).assert().code(2);
    vggkit(work.path()).args(["prepare", "--demo", "--classes", "17"]).assert().code(2).stderr(contains("1 to 16"));
    fs::create_dir(work.path().join("data")).unwrap();
    for name in ["a.zip", "b.zip"] {
        fs::write(work.path().join("data").join(name), b"").unwrap();
    }
    vggkit(work.path()).arg("prepare").assert().code(2).stderr(contains("several sources"));
}

#[test]
fn folders_of_others_are_not_replaced_unasked() {
    let (work, raw) = raw(2, 3);
    let mine = work.path().join("data/train/mine");
    fs::create_dir_all(&mine).unwrap();
    vggkit(work.path()).args(PREPARE).assert().code(1).stderr(contains("in the way").and(contains("--force")));
    assert!(mine.exists());
    vggkit(work.path()).args(PREPARE).arg("--force").assert().success();
    assert!(!mine.exists());
    let itself = ["prepare", "--force", "--source", ".", "--data", "."];
    vggkit(&raw).args(itself).assert().success().stdout(contains("stay as they are"));
    assert!(raw.join("train/n90000001/images/n90000001_0.JPEG").exists());
    let data = work.path().join("data");
    vggkit(&data).args(itself).assert().code(2).stderr(contains("the data folder itself"));
    assert!(data.join("train/n90000001/n90000001_0.JPEG").exists());
}

#[test]
fn killed_at_any_moment_leaves_the_old_or_the_new() {
    let work = tempfile::tempdir().unwrap();
    let arguments = |seed: usize| {
        let seed = seed.to_string();
        ["prepare", "--demo", "--classes", "2", "--per-class", "60", "--seed", &seed].map(str::to_owned)
    };
    vggkit(work.path()).args(arguments(0)).assert().success();
    let data = work.path().join("data/demo");
    for round in 1..=12 {
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("vggkit"))
            .current_dir(work.path())
            .args(arguments(round))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(round as u64 * 12));
        child.kill().unwrap();
        child.wait().unwrap();
        if data.join("manifest.json").exists() {
            vggkit(work.path()).args(["verify", "--data", "data/demo"]).assert().success();
        } else {
            let mut verify = vggkit(work.path());
            verify.args(["verify", "--data", "data/demo"]).assert().code(1).stderr(contains("prepare --demo` again"));
        }
    }
    vggkit(work.path()).args(arguments(99)).assert().success();
    vggkit(work.path()).args(["verify", "--data", "data/demo"]).assert().success();
    assert_eq!(Manifest::load(&data).unwrap().settings.seed, Some(99));
}
