//! `vggkit prepare`: what it makes of the sources that people have, what it refuses, and downloads.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use tempfile::TempDir;
use vggkit::dataset::demo;
use zip::write::SimpleFileOptions;

mod download;
mod https;
mod packs;
mod refuses;
mod sources;

fn vggkit(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("vggkit").unwrap();
    command.current_dir(folder);
    command
}

/// A working folder with a raw set in the official layout, in `raw`.
fn raw(classes: usize, per_class: usize) -> (TempDir, PathBuf) {
    let work = tempfile::tempdir().unwrap();
    let drawn = demo::draw(work.path(), &demo::DemoSettings { classes, per_class, seed: 5 }, true).unwrap();
    let raw = work.path().join("raw");
    fs::rename(drawn, &raw).unwrap();
    (work, raw)
}

const PREPARE: [&str; 3] = ["prepare", "--source", "raw"];

/// Packs a folder into a zip, deflated, with `prefix` ahead of every name.
fn zip_to<W: Write + Seek>(root: &Path, prefix: &str, to: W) -> W {
    let mut zip = zip::ZipWriter::new(to);
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let below = entry.path().strip_prefix(root).unwrap().to_str().unwrap();
            zip.start_file(format!("{prefix}{below}"), SimpleFileOptions::default()).unwrap();
            zip.write_all(&fs::read(entry.path()).unwrap()).unwrap();
        }
    }
    zip.finish().unwrap()
}

/// [`zip_to`] a file.
fn zip_up(root: &Path, prefix: &str, to: &Path) {
    zip_to(root, prefix, File::create(to).unwrap());
}

/// A small data set as an archive, 18 train images of two classes.
fn archive() -> Vec<u8> {
    let (_work, raw) = raw(2, 9);
    zip_to(&raw, "tiny-imagenet-200/", std::io::Cursor::new(Vec::new())).into_inner()
}
