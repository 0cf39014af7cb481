//! `prepare` beside a command that reads the data: what is read is of one preparation, or an error says that it is not.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use vggkit::dataset::Manifest;
use vggkit::dataset::verify::Verification;

use super::{raw, vggkit};

/// What a command ends with that reads the manifest of one preparation first, and from then on that of another: the first
/// is a pipe, so that the moment between the two is known.
fn between(work: &Path, arguments: &[&str]) -> Output {
    let manifest = Manifest::path(&work.join("data"));
    let old = fs::read_to_string(&manifest).unwrap();
    let new = work.join("new.json");
    fs::write(&new, old.replace("\"created\": \"2", "\"created\": \"3")).unwrap();
    fs::remove_file(&manifest).unwrap();
    assert!(Command::new("mkfifo").arg(&manifest).status().unwrap().success());
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("vggkit"));
    let command = command.current_dir(work).args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let mut pipe = File::options().write(true).open(&manifest).unwrap(); // waits for the reader
    fs::rename(&new, &manifest).unwrap();
    pipe.write_all(old.as_bytes()).unwrap();
    drop(pipe);
    child.wait_with_output().unwrap()
}

fn assert_said(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the data was prepared anew while"), "{said}");
}

#[test]
fn nothing_is_said_of_data_that_was_replaced_while_it_was_verified() {
    let (work, _raw) = raw(2, 4);
    vggkit(work.path()).args(super::PREPARE).assert().success();
    assert_said(&between(work.path(), &["verify"]));
    assert!(!Verification::path(&work.path().join("data")).exists());
    vggkit(work.path()).arg("verify").assert().success();
}

#[test]
fn a_training_does_not_begin_with_packs_of_two_preparations() {
    let (work, _raw) = raw(2, 4);
    vggkit(work.path()).args(super::PREPARE).assert().success();
    let train = ["train", "-d", "11", "--width", "0.0625", "-e", "1", "--engine", "cpu", "--quiet", "--run", "r"];
    assert_said(&between(work.path(), &train));
    assert!(!work.path().join("runs/r").exists());
}
