//! `vggkit verify --source`: a folder or zip before it is prepared.

use std::fs;
use std::path::Path;

use predicates::prelude::*;
use predicates::str::contains;
use vggkit::dataset::demo;
use vggkit::dataset::verify::{Severity, Verification};

use super::vggkit;

fn verify(work: &Path, code: i32) -> Verification {
    let output = vggkit(work).args(["verify", "--source", "raw", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_mistake_of_a_source_is_a_finding() {
    let work = tempfile::tempdir().unwrap();
    let drawn = demo::draw(work.path(), &demo::DemoSettings { classes: 2, per_class: 6, seed: 5 }, true).unwrap();
    let raw = work.path().join("raw");
    fs::rename(drawn, &raw).unwrap();
    let good = verify(work.path(), 0);
    assert_eq!((good.kind.as_str(), good.classes, good.splits["train"].decoded), ("folder", 2, Some(12)));
    assert!(good.findings.iter().all(|f| f.severity == Severity::Note), "{:?}", good.findings);

    let edit = |path: &str, change: &dyn Fn(String) -> String| {
        let path = raw.join(path);
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    };
    edit("wnids.txt", &|text| text + "n99\n");
    edit("words.txt", &|text| text.replace("n90000002\t", "m90000002\t"));
    edit("train/n90000001/n90000001_boxes.txt", &|text| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines[0] = "n90000001_0.JPEG\t9\t0\t3\t10".into();
        lines[1] = "n90000001_1.JPEG\t0\t0\t3\t64".into();
        lines[2] = "n90000001_77.JPEG\t0\t0\t3\t6".into();
        lines.join("\n") + "\noops\n"
    });
    edit("val/val_annotations.txt", &|text| text.replace("val_1.JPEG\t", "val_9.JPEG\t") + "val_7.JPEG\n");
    fs::write(raw.join("train/n90000002/images/n90000002_0.JPEG"), b"GIF89a").unwrap();
    fs::write(raw.join("test/images/test_0.JPEG"), b"").unwrap();

    let result = verify(work.path(), 1);
    let mut codes: Vec<(Severity, &str, usize)> =
        result.findings.iter().map(|f| (f.severity, &f.code[..], f.count)).filter(|f| f.0 < Severity::Note).collect();
    codes.sort();
    assert_eq!(
        codes,
        [
            (Severity::Error, "annotation-extra", 1),
            (Severity::Error, "annotation-missing", 1),
            (Severity::Error, "annotation-unreadable", 2),
            (Severity::Error, "class-list", 1),
            (Severity::Error, "file-undecodable", 2),
            (Severity::Warning, "box-extra", 1),
            (Severity::Warning, "box-missing", 1),
            (Severity::Warning, "box-outside", 2),
            (Severity::Warning, "class-names", 1),
        ]
    );
    let boxes = result.findings.iter().find(|f| f.code == "box-outside").unwrap();
    assert!(boxes.files[0].ends_with("[9, 0, 3, 10] is inverted"), "{:?}", boxes.files);
    assert!(!work.path().join("data").exists(), "nothing is written");
}

#[test]
fn a_refused_archive_is_a_finding_and_nothing_there_is_not() {
    let work = tempfile::tempdir().unwrap();
    fs::write(work.path().join("raw"), b"PK\x03\x04 and no more").unwrap();
    let result = verify(work.path(), 1);
    assert_eq!((result.findings.len(), &result.findings[0].code[..]), (1, "source"));
    let mut human = vggkit(work.path());
    let said = contains("not a whole zip archive").and(contains("NOT fit"));
    human.args(["verify", "--source", "raw"]).assert().code(1).stdout(said);
    vggkit(work.path()).args(["verify", "--source", "nowhere"]).assert().code(2);
}
