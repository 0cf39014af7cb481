//! Folders whose names are no UTF-8, and files that may not grow.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use crate::{data, fails, history, ok, vggkit};

const TINY: [&str; 9] = ["--width", "0.05", "-i", "32", "-b", "8", "--engine", "cpu", "--quiet"];

/// vggkit in `folder` with words that may be no UTF-8.
fn at(folder: &std::path::Path, words: &[&[u8]]) -> Command {
    let mut command = vggkit(&[]);
    command.args(words.iter().map(|word| OsStr::from_bytes(word))).current_dir(folder);
    command
}

#[cfg(target_os = "linux")] // macOS has no such names
#[test]
fn names_that_are_no_text_work_or_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |words: &[&[u8]]| at(folder.path(), words);
    let (data, run): (&[u8], &[u8]) = (b"da\xffta/demo", b"ru\xffns/demo-a");
    ok(at(&[b"prepare", b"--demo", b"--classes", b"2", b"--per-class", b"6", b"--quiet", b"--data", b"da\xffta"]));
    let mut train = at(&[b"train", b"--run", b"demo-a", b"-e", b"1", b"--runs", b"ru\xffns", b"--data", data]);
    train.args(TINY);
    ok(train);
    let place = folder.path().join(OsStr::from_bytes(run));
    let record = vggkit::files::read_to_string(&place.join("run.toml")).expect("run.toml");
    assert!(
        record.contains(r"--data $'da\xffta/demo'") && record.contains("folder = \"da\u{fffd}ta/demo\""),
        "{record}"
    );
    // What is no text cannot be written down there, so that it has to be typed again.
    let error = fails(at(&[b"train", b"--resume", run, b"-e", b"2", b"--quiet"]), 1);
    assert!(error.contains("da\u{fffd}ta/demo") && error.contains("--data DIR"), "{error}");
    ok(at(&[b"train", b"--resume", run, b"-e", b"2", b"--quiet", b"--engine", b"cpu", b"--data", data]));
    assert_eq!(history(&place).len(), 2);
    ok(at(&[b"evaluate", run, b"--data", data, b"--quiet"]));
    ok(at(&[b"predict", run, b"--data", data, b"--out", b"p\xff.csv", b"--quiet"]));
    fs::copy(
        folder.path().join(OsStr::from_bytes(b"da\xffta/demo/test/images/test_0.JPEG")),
        folder.path().join(OsStr::from_bytes(b"i\xff.jpg")),
    )
    .expect("copied");
    assert!(ok(at(&[b"predict", run, b"--image", b"i\xff.jpg"])).contains("i\u{fffd}.jpg"));
    ok(at(&[b"report", b"--runs", b"ru\xffns", b"--data", data, b"--out", b"s\xffite", b"--quiet"]));
    let source: &[u8] = b"da\xffta/demo/tiny-imagenet-demo";
    ok(at(&[b"prepare", b"--source", source, b"--data", b"\xff", b"--quiet"]));
    let error = fails(at(&[b"train", b"--resume", b"no\xff"]), 2);
    assert!(error.contains("there is no run no\u{fffd}"), "{error}");
}

#[test]
fn a_file_that_may_not_grow_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let command = format!(
        "ulimit -f 8; exec '{}' train --run demo-a --data '{}' {}",
        assert_cmd::cargo::cargo_bin!("vggkit").display(),
        data().display(),
        TINY.join(" ")
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).current_dir(folder.path());
    let error = fails(shell, 1);
    assert!(error.contains("runs/demo-a/last.safetensors") && error.contains("ulimit -f"), "{error}");
}
