//! The page and what lies beside it, changed so that whatever page stands there has all its images and figures.
//!
//! The new files come first, each written beside its place and renamed; then the page; then what it does not name goes. It
//! syncs the page alone: the rest is rendered again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files;
use crate::files::fs::{self, File, Writing};

/// Puts the page at `<out>/index.html` and the files, named by their paths below it, into `<out>/<folder>`, which has no
/// others afterwards. Errors: something cannot be written; the old page then still has its files.
pub fn put(out: &Path, html: &str, folder: &str, beside: &BTreeMap<String, Vec<u8>>) -> Result<PathBuf> {
    let folder = out.join(folder);
    fs::create_dir_all(&folder).map_err(|e| Error::io("cannot create the folder", &folder, e))?;
    let _alone = alone(out);
    for (path, bytes) in beside {
        write(&folder.join(path), bytes)?;
    }
    let page = out.join("index.html");
    files::write_atomic(&page, |w| w.write_all(html.as_bytes()))?;
    keep(&folder, &beside.keys().map(|path| folder.join(path)).collect())?;
    Ok(page)
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

/// Removes all files below `folder` but these, and the folders that are left empty.
fn keep(folder: &Path, named: &BTreeSet<PathBuf>) -> Result<()> {
    let failed = |e| Error::io("cannot clear", folder, e);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            keep(&path, named)?;
            if named.range(path.clone()..).next().is_none_or(|next| !next.starts_with(&path)) {
                fs::remove_dir(&path).map_err(failed)?;
            }
        } else if !named.contains(&path) {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}
