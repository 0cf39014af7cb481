//! The sources that people have: layouts that differ, parts, broken files, leaks, hostile archives.

use std::fs;
use std::path::Path;

use super::{PREPARE, raw, vggkit, zip_up};

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
