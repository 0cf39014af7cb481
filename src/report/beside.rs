//! The page and what lies beside it, changed so that whatever page stands there has all its images and figures.
//!
//! The new files come first, each written beside its place and renamed; then the page; then what it does not name goes. It
//! syncs the page alone: the rest is rendered again. What vggkit did not write it neither replaces nor removes, unless it is
//! told to replace the page; it knows a page by its generator and a file beside it by its name.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::{assets, raw};
use crate::error::{Error, Result};
use crate::files;
use crate::files::fs::{self, File, Writing};

/// Beside the page: images where they are split off, and the raw figures. Browsers give the folder of a saved page this
/// name too. What vggkit wrote there for an earlier page goes; what others put there stays.
pub const FILES: &str = "index_files";

/// What every page of every version has near its beginning.
const GENERATOR: &[u8] = b"<meta name=\"generator\" content=\"vggkit ";

/// The beginning of a page in which that is: ahead of it are a policy and the other lines of the head.
const HEAD: u64 = 8 << 10;

/// Puts the page at `<out>/index.html` and the files, named by their paths below it, into `<out>/<folder>`, where afterwards
/// nothing else is that vggkit wrote. What others put there stays and is returned. `force`: a page of others is replaced.
/// Errors: the page there is of others; something cannot be written. The old page then still has its files.
pub fn put(
    out: &Path,
    html: &str,
    folder: &str,
    beside: &BTreeMap<String, Vec<u8>>,
    force: bool,
) -> Result<(PathBuf, Vec<PathBuf>)> {
    let page = out.join("index.html");
    check(&page, force)?;
    let folder = out.join(folder);
    fs::create_dir_all(&folder).map_err(|e| Error::io("cannot create the folder", &folder, e))?;
    let _alone = alone(out);
    check(&page, force)?; // it may have come meanwhile
    for (path, bytes) in beside {
        write(&folder.join(path), bytes)?;
    }
    files::write_atomic(&page, |w| w.write_all(html.as_bytes()))?;
    let mut foreign = Vec::new();
    let named = beside.keys().map(|path| folder.join(path)).collect();
    keep(&folder, Path::new(""), &named, &mut foreign)?;
    Ok((page, foreign))
}

/// Errors: `page` is there, and not of vggkit, and not to be replaced.
pub fn check(page: &Path, force: bool) -> Result<()> {
    if force || !page.is_file() || is_ours(page)? {
        return Ok(());
    }
    Err(Error::data(page, "is not a page of vggkit, and is not replaced")
        .with_help("choose another folder (--out DIR), move it away, or replace it (--force)"))
}

/// Whether vggkit wrote `page`. Errors: it cannot be read.
pub fn is_ours(page: &Path) -> Result<bool> {
    let mut head = Vec::new();
    let read = fs::open(page).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.map_err(|e| Error::io("cannot read", page, e))?;
    Ok(head.windows(GENERATOR.len()).any(|part| part == GENERATOR))
}

/// Whether vggkit gives files beside a page such a path: images by their content, figures by what they are.
fn is_name_of_ours(path: &Path) -> bool {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    match parts[..] {
        ["images", name] => assets::is_name(name),
        ["raw", name] => raw::is_table(name),
        ["raw", run, name] => raw::is_folder(run) && raw::is_file(name),
        _ => false,
    }
}

/// Waits until no other process writes a page there. The lock is on the folder itself, since a file would be published with
/// the page; where folders cannot be locked, nobody waits.
fn alone(out: &Path) -> Option<File> {
    let folder = fs::open(out).ok()?;
    folder.lock().ok()?;
    Some(folder)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = files::parent(path);
    fs::create_dir_all(&folder).map_err(|e| Error::io("cannot create the folder", &folder, e))?;
    let mut file = files::temporary_beside(path)?;
    let written = Writing { file: file.as_file_mut(), path }.write_all(bytes);
    written.and_then(|()| fs::persist(file, path)).map_err(|e| Error::io("cannot write", path, e))
}

/// Removes what vggkit wrote at `below` in `folder` but these files, and its own folders that are left empty; adds what
/// it did not write to `foreign`.
fn keep(folder: &Path, below: &Path, named: &BTreeSet<PathBuf>, foreign: &mut Vec<PathBuf>) -> Result<()> {
    let at = folder.join(below);
    let list = |at: &Path| fs::read_dir(at).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut entries = list(&at).map_err(|e| Error::io("cannot list", &at, e))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, below) = (entry.path(), below.join(entry.file_name()));
        let failed = |e| Error::io("cannot clear", &path, e);
        if named.contains(&path) {
            continue;
        }
        if !entry.file_type().map_err(failed)?.is_dir() {
            if is_name_of_ours(&below) {
                fs::remove_file(&path).map_err(failed)?;
            } else {
                foreign.push(path);
            }
        } else if is_folder_of_ours(&below) {
            keep(folder, &below, named, foreign)?;
            if list(&path).map_err(failed)?.is_empty() {
                fs::remove_dir(&path).map_err(failed)?;
            }
        } else {
            foreign.push(path);
        }
    }
    Ok(())
}

fn is_folder_of_ours(path: &Path) -> bool {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    match parts[..] {
        ["images" | "raw"] => true,
        ["raw", run] => raw::is_folder(run),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_ours_are_known_by_name() {
        for ours in
            ["images/0123456789abcdef.png", "raw/runs.csv", "raw/run-a/run.toml", "raw/run-a/evaluation-train.json"]
        {
            assert!(is_name_of_ours(Path::new(ours)), "{ours}");
        }
        for foreign in
            ["k.txt", "images/photo.png", "images/0123456789abcdef/a.png", "raw/notes.csv", "raw/run-a/my.txt"]
        {
            assert!(!is_name_of_ours(Path::new(foreign)), "{foreign}");
        }
    }

    #[test]
    fn a_page_is_known_by_its_generator() -> Result<()> {
        let folder = tempfile::tempdir().map_err(|e| Error::io("cannot make", "a folder", e))?;
        let page = folder.path().join("index.html");
        for (text, ours) in [
            ("", false),
            ("mine", false),
            ("<!doctype html><meta name=\"generator\" content=\"Hugo 0.1\">", false),
            ("<!doctype html>\n<meta name=\"generator\" content=\"vggkit 0.0.1\">", true),
        ] {
            fs::write(&page, text).map_err(|e| Error::io("cannot write", &page, e))?;
            assert_eq!((is_ours(&page)?, check(&page, false).is_ok(), check(&page, true).is_ok()), (ours, ours, true));
        }
        Ok(())
    }
}
