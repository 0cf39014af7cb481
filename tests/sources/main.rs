//! `vggkit prepare` on the sources that people have: layouts that differ, parts, broken files, leaks, hostile archives.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use tempfile::TempDir;
use vggkit::dataset::demo;
use zip::write::SimpleFileOptions;

mod choices;
mod foreign;
mod formats;
mod hostile;
mod interrupted;
mod layouts;
mod left_out;
#[cfg(unix)]
mod meanwhile;
mod own;

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
fn zip_up(root: &Path, prefix: &str, to: &Path) {
    let mut zip = zip::ZipWriter::new(File::create(to).unwrap());
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let below = entry.path().strip_prefix(root).unwrap().to_str().unwrap();
            zip.start_file(format!("{prefix}{below}"), SimpleFileOptions::default()).unwrap();
            zip.write_all(&fs::read(entry.path()).unwrap()).unwrap();
        }
    }
    zip.finish().unwrap();
}

/// The bytes of the packs, by name.
fn packs(data: &Path) -> Vec<(String, Vec<u8>)> {
    let mut packs: Vec<_> = fs::read_dir(data.join("packs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap()))
        .collect();
    packs.sort();
    packs
}
