//! Duplicates, near duplicates, greyscale, blank, dark and blurred images: planted, and found by name.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vggkit::dataset::verify::{Finding, Severity, Verification};
use vggkit::dataset::{decode, demo};

use super::vggkit;

/// A raw set in `raw`.
fn raw() -> (TempDir, PathBuf) {
    let work = tempfile::tempdir().unwrap();
    let drawn = demo::draw(work.path(), &demo::DemoSettings { classes: 3, per_class: 12, seed: 3 }, true).unwrap();
    fs::rename(drawn, work.path().join("raw")).unwrap();
    let raw = work.path().join("raw");
    (work, raw)
}

fn verify(work: &Path, arguments: &[&str]) -> Verification {
    let output = vggkit(work).args(["verify", "--json"]).args(arguments).output().unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[track_caller]
fn finding<'a>(result: &'a Verification, code: &str) -> &'a Finding {
    let codes: Vec<&str> = result.findings.iter().map(|f| &f.code[..]).collect();
    result.findings.iter().find(|f| f.code == code).unwrap_or_else(|| panic!("no {code} in {codes:?}"))
}

fn groups(finding: &Finding) -> Vec<Vec<&str>> {
    finding.groups.iter().map(|group| group.files.iter().map(String::as_str).collect()).collect()
}

fn train(raw: &Path, file: &str) -> PathBuf {
    raw.join("train").join(&file[..9]).join("images").join(file)
}

/// Pixels of each place as a JPEG of high quality.
fn jpeg(pixel: impl Fn(usize, usize) -> [u8; 3]) -> Vec<u8> {
    let pixels: Vec<u8> = (0..64 * 64).flat_map(|i| pixel(i / 64, i % 64)).collect();
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100);
    image::ImageEncoder::write_image(encoder, &pixels, 64, 64, image::ExtendedColorType::Rgb8).unwrap();
    bytes
}

#[test]
fn exact_duplicates_are_told_by_where_they_stand() {
    let (work, raw) = raw();
    let copy = |from: &str, to: &str, padding: usize| {
        let mut bytes = fs::read(train(&raw, from)).unwrap();
        bytes.extend(vec![0; padding]);
        let to = if to.starts_with('n') { train(&raw, to) } else { raw.join(to) };
        fs::write(to, bytes).unwrap();
    };
    copy("n90000001_0.JPEG", "n90000001_7.JPEG", 0); // within a class
    copy("n90000001_2.JPEG", "n90000002_3.JPEG", 2); // across classes, in other bytes
    copy("n90000003_4.JPEG", "val/images/val_0.JPEG", 0); // across splits
    copy("n90000003_5.JPEG", "test/images/test_1.JPEG", 0);
    copy("n90000003_5.JPEG", "n90000001_9.JPEG", 0); // and in two classes of train too
    vggkit(work.path()).args(["prepare", "--source", "raw"]).assert().success();
    vggkit(work.path()).args(["prepare", "--source", "raw", "--no-folders", "--data", "packs-only"]).assert().success();
    for arguments in [&["--source", "raw"][..], &[], &["--data", "packs-only"]] {
        let result = verify(work.path(), arguments);
        assert!(result.fit, "{:?}", result.findings);
        let strip = |code: &str| {
            let found = groups(finding(&result, code));
            found.into_iter().map(|g| g.iter().map(|f| f.replace("/images", "")).collect()).collect::<Vec<Vec<_>>>()
        };
        assert_eq!(
            strip("duplicate-within"),
            [["train/n90000001/n90000001_0.JPEG", "train/n90000001/n90000001_7.JPEG"]]
        );
        assert_eq!(
            strip("duplicate-classes"),
            [["train/n90000001/n90000001_2.JPEG", "train/n90000002/n90000002_3.JPEG"]]
        );
        let splits = strip("duplicate-splits");
        assert_eq!(splits.len(), 2);
        assert!(splits.iter().any(|g| g.len() == 2 && g[1].starts_with("val/")), "{splits:?}");
        assert!(splits.iter().any(|g| g.len() == 3 && g[0].starts_with("test/")), "{splits:?}");
        let severities =
            ["duplicate-splits", "duplicate-classes", "duplicate-within"].map(|c| finding(&result, c).severity);
        assert_eq!(severities, [Severity::Warning, Severity::Warning, Severity::Note]);
        let same_bytes = |code: &str| finding(&result, code).groups.iter().filter(|g| g.same_bytes).count();
        let wanted = if result.kind == "prepared" && arguments.len() == 2 { [0, 0] } else { [2, 0] };
        assert_eq!([same_bytes("duplicate-splits"), same_bytes("duplicate-classes")], wanted);
        assert!(!result.findings.iter().any(|f| f.code.starts_with("near")), "not unasked");
    }
    vggkit(work.path()).args(["verify", "--strict"]).assert().code(1);
}

#[test]
fn near_duplicates_are_found_with_their_distance() {
    let (work, raw) = raw();
    // The same image saved again, lighter and in low quality, as another class's and as val's.
    let original = decode::decode(&fs::read(train(&raw, "n90000001_3.JPEG")).unwrap()).unwrap();
    let lighter: Vec<u8> = original.pixels.iter().map(|v| v / 10 * 9 + 20).collect();
    for (to, quality) in [(train(&raw, "n90000002_8.JPEG"), 60), (raw.join("val/images/val_2.JPEG"), 85)] {
        let mut bytes = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality);
        image::ImageEncoder::write_image(encoder, &lighter, 64, 64, image::ExtendedColorType::Rgb8).unwrap();
        fs::write(to, bytes).unwrap();
    }
    let result = verify(work.path(), &["--source", "raw", "--near"]);
    let across = finding(&result, "near-classes");
    let wanted = ["train/n90000001/images/n90000001_3.JPEG", "train/n90000002/images/n90000002_8.JPEG"];
    assert!(groups(across).contains(&wanted.to_vec()), "{:?}", across.groups);
    assert!(across.groups.iter().all(|group| group.distance.is_some_and(|d| d <= 6)));
    let leaks = groups(finding(&result, "near-splits"));
    for train in wanted {
        assert!(leaks.contains(&vec![train, "val/images/val_2.JPEG"]), "{leaks:?}");
    }
    assert!(!result.findings.iter().any(|f| f.code.starts_with("duplicate")), "not the same pixels");
    vggkit(work.path()).args(["verify", "--source", "raw", "--near", "11"]).assert().code(2);
    let none = verify(work.path(), &["--source", "raw", "--near", "0"]);
    let all =
        |r: &Verification| -> usize { r.findings.iter().filter(|f| f.code.starts_with("near")).map(|f| f.count).sum() };
    assert!(all(&none) <= all(&result));
}

#[test]
fn images_that_teach_little_are_named() {
    let (work, raw) = raw();
    fs::write(train(&raw, "n90000001_0.JPEG"), jpeg(|_, _| [90, 120, 30])).unwrap();
    fs::write(train(&raw, "n90000001_1.JPEG"), jpeg(|y, x| [200 + ((x + y) % 3) as u8; 3])).unwrap();
    fs::write(train(&raw, "n90000001_2.JPEG"), jpeg(|y, x| [((x * y) % 16) as u8, 0, 3])).unwrap();
    fs::write(train(&raw, "n90000001_3.JPEG"), jpeg(|y, x| [(x * 2 + 30) as u8, (y * 2) as u8, 99])).unwrap();
    let result = verify(work.path(), &["--source", "raw"]);
    let named =
        |code: &str| finding(&result, code).files.iter().map(|f| f[f.len() - 6..].to_owned()).collect::<Vec<_>>();
    assert_eq!(named("blank"), ["0.JPEG"]);
    assert_eq!(named("nearly-blank"), ["1.JPEG", "2.JPEG"]);
    assert_eq!(named("dark"), ["2.JPEG"]);
    assert_eq!(named("blurred"), ["3.JPEG"]);
    let grey = finding(&result, "greyscale-images");
    assert_eq!(grey.severity, Severity::Note);
    let counted: usize = result.splits.values().filter_map(|counts| counts.greyscale).sum();
    assert!(grey.count == counted && counted > 0, "the demo set has some");
    assert_eq!(named("grey-pixels"), ["1.JPEG"]);
}
