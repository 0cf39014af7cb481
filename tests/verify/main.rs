//! `vggkit verify` finds what was done to prepared data; what it finds in any data is in the modules.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::str::contains;
use tempfile::TempDir;
use vggkit::dataset::verify::{Severity, Verification};
use vggkit::dataset::{Pack, demo};

mod images;
mod sources;

fn vggkit(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("vggkit").unwrap();
    command.current_dir(folder);
    command
}

/// A working folder with prepared data in `data/demo`.
fn prepared() -> (TempDir, PathBuf) {
    let work = tempfile::tempdir().unwrap();
    vggkit(work.path()).args(["prepare", "--demo", "--classes", "2", "--per-class", "4"]).assert().success();
    let data = work.path().join("data/demo");
    (work, data)
}

/// Verifies and returns exit code and result; what is printed and what is written must be the same.
fn verify(work: &TempDir) -> (i32, Verification) {
    let output = vggkit(work.path()).args(["verify", "--data", "data/demo", "--json"]).output().unwrap();
    let result: Verification = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result, Verification::load(&work.path().join("data/demo")).unwrap());
    assert_eq!(result.schema, "vggkit/verify/1");
    assert_eq!(result.fit, result.count(Severity::Error) == 0);
    (output.status.code().unwrap(), result)
}

/// The only error found, with exit code 1.
#[track_caller]
fn only_error(work: &TempDir) -> (String, Vec<String>) {
    let (code, result) = verify(work);
    let errors: Vec<_> = result.findings.into_iter().filter(|f| f.severity == Severity::Error).collect();
    assert_eq!((code, errors.len()), (1, 1), "{errors:?}");
    (errors[0].code.clone(), errors[0].files.clone())
}

#[test]
fn whole_data_is_fit() {
    let (work, _data) = prepared();
    let (code, result) = verify(&work);
    assert_eq!((code, result.fit, result.synthetic), (0, true, true));
    assert_eq!(result.findings.iter().map(|f| f.code.as_str()).collect::<Vec<_>>(), ["synthetic"]);
    let train = &result.splits["train"];
    assert_eq!((train.claimed, train.packed, train.files, train.decoded), (8, Some(8), Some(8), Some(8)));
    assert_eq!((train.smallest_class, train.largest_class, train.boxes), (Some(4), Some(4), 8));
    assert_eq!((result.splits["val"].packed, result.splits["test"].packed), (Some(2), Some(2)));
    let mut human = vggkit(work.path());
    human.args(["verify", "--data", "data/demo"]).assert().success().stdout(contains("Fit for training"));
    vggkit(work.path()).args(["verify", "--data", "data/demo", "--quiet"]).assert().success().stdout("").stderr("");
}

#[test]
fn a_flipped_byte_in_a_pack_is_found() {
    let (work, data) = prepared();
    let path = Pack::path_of(&data, "val");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (code, result) = verify(&work);
    assert_eq!(code, 1);
    let errors: Vec<_> = result.findings.iter().filter(|f| f.severity == Severity::Error).collect();
    assert_eq!(errors.iter().map(|f| f.code.as_str()).collect::<Vec<_>>(), ["pack-checksum", "file-pixels"]);
    assert_eq!(errors[1].count, 1);
    assert!(errors[1].files[0].starts_with("val/n90000002/"));
    let mut human = vggkit(work.path());
    let human = human.args(["verify", "--data", "data/demo"]).assert().code(1);
    human
        .stdout(contains("NOT fit"))
        .stdout(contains("pack-checksum"))
        .stdout(contains("the command that made it, with --force"));
}

#[test]
fn what_happened_to_files_is_found() {
    let (work, data) = prepared();
    let image = data.join("train/n90000001/n90000001_2.JPEG");
    let original = fs::read(&image).unwrap();
    fs::remove_file(&image).unwrap();
    assert_eq!(only_error(&work), ("file-missing".into(), vec!["train/n90000001/n90000001_2.JPEG".into()]));

    fs::write(&image, &original[..original.len() - 40]).unwrap();
    let (code, files) = only_error(&work);
    assert_eq!(code, "file-undecodable");
    assert!(files[0].starts_with("train/n90000001/n90000001_2.JPEG: "), "{files:?}");

    fs::copy(data.join("train/n90000001/n90000001_3.JPEG"), &image).unwrap();
    assert_eq!(only_error(&work).0, "file-pixels");

    let mut padded = original.clone();
    padded.extend([0, 0]);
    fs::write(&image, padded).unwrap();
    let (code, result) = verify(&work);
    assert_eq!((code, result.findings[0].code.as_str(), result.count(Severity::Warning)), (0, "files-checksum", 1));

    fs::write(&image, &original).unwrap();
    fs::write(data.join("train/n90000001/extra.JPEG"), &original).unwrap();
    let (code, result) = verify(&work);
    assert_eq!((code, result.findings[0].code.as_str()), (0, "file-extra"));
    fs::remove_file(data.join("train/n90000001/extra.JPEG")).unwrap();

    fs::create_dir(data.join("val/n0")).unwrap();
    assert_eq!(only_error(&work), ("folder-extra".into(), vec!["val/n0".into()]));
    fs::remove_dir(data.join("val/n0")).unwrap();
    assert_eq!(verify(&work).0, 0);
}

#[test]
fn a_pack_with_too_few_labels_is_found() {
    let (work, data) = prepared();
    let path = Pack::path_of(&data, "train");
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
    // Eight labels of eight bytes each, said to be sixteen of four.
    let changed = header.replace(r#""dtype":"I64","shape":[8]"#, r#""dtype":"I32","shape":[16]"#);
    assert_ne!(changed, header);
    let mut header = changed.into_bytes();
    header.resize(length, b' ');
    fs::write(&path, [&bytes[..8], &header, &bytes[8 + length..]].concat()).unwrap();
    let (code, result) = verify(&work);
    assert_eq!(result.findings[0].code, "pack-checksum");
    assert_eq!((code, result.findings[1].code.as_str()), (1, "pack-unreadable"));
    assert!(result.findings[1].message.contains("`labels` is I32 [16] instead of I64 [8]"), "{:?}", result.findings);
    assert_eq!(result.splits["train"].decoded, Some(8), "the folders are still checked");
}

#[test]
fn a_manifest_that_claims_otherwise_is_found() {
    let (work, data) = prepared();
    let path = data.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"images\": 8", "\"images\": 9", 1)).unwrap();
    assert_eq!(only_error(&work).0, "pack-count");
    fs::write(&path, text.replace("\"disc\"", "\"disk\"")).unwrap();
    let (code, result) = verify(&work);
    assert_eq!((code, result.count(Severity::Error)), (1, 3));
    assert!(result.findings[..3].iter().all(|f| f.code == "pack-classes"));
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert_eq!(only_error(&work).0, "manifest");
    fs::remove_file(&path).unwrap();
    vggkit(work.path()).args(["verify", "--data", "data/demo"]).assert().code(1).stderr(contains("no manifest.json"));
    vggkit(work.path()).args(["verify", "--data", "nowhere"]).assert().code(1).stderr(contains("vggkit prepare"));
    vggkit(work.path()).args(["verify", "--what"]).assert().code(2);
}

#[test]
fn boxes_outside_the_image_are_warned_of() {
    let work = tempfile::tempdir().unwrap();
    let settings = demo::DemoSettings { classes: 2, per_class: 3, seed: 1 };
    let raw = demo::draw(work.path(), &settings, true).unwrap();
    let boxes = raw.join("train/n90000002/n90000002_boxes.txt");
    fs::write(&boxes, "n90000002_0.JPEG\t0\t0\t63\t63\nn90000002_1.JPEG\t0\t0\t64\t63\n").unwrap();
    vggkit(work.path()).args(["prepare", "--source", "tiny-imagenet-demo", "--data", "data/demo"]).assert().success();
    let (code, result) = verify(&work);
    assert_eq!((code, result.splits["train"].boxes), (0, 5));
    let finding = &result.findings[0];
    assert_eq!(
        (finding.code.as_str(), &finding.files[..]),
        ("box-outside", &["train: n90000002_1.JPEG: the box [0, 0, 64, 63] is not inside the image".to_owned()][..])
    );
    assert_eq!(finding.severity, Severity::Warning);
}
