//! Which folders below `--runs` are runs: those with a `run.toml`, up to three levels down, named by their path.
//!
//! It opens no file. A folder that holds no run at all is listed as well, so that whoever loads it can say so.

use std::io;
use std::path::{Path, PathBuf};

use crate::files::fs;
use crate::training::run::Run;

/// `records/<date>/<run>` is two levels; one more is for whoever sorts them further.
const LEVELS: usize = 3;

/// Name and path of every run below `folder`, sorted by name.
pub fn run_folders(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for (name, path) in folders(folder)? {
        descend(name, path, LEVELS, &mut found);
    }
    found.sort();
    Ok(found)
}

/// Adds the runs at and below `path`, or `path` itself where there are none.
fn descend(name: String, path: PathBuf, levels: usize, found: &mut Vec<(String, PathBuf)>) {
    if levels > 1 && !Run::path(&path).exists() && holds_runs(&path, levels - 1) {
        for (below, folder) in folders(&path).unwrap_or_default() {
            descend(format!("{name}/{below}"), folder, levels - 1, found);
        }
    } else {
        found.push((name, path));
    }
}

fn holds_runs(path: &Path, levels: usize) -> bool {
    let below = folders(path).unwrap_or_default();
    below.iter().any(|(_, f)| Run::path(f).exists() || (levels > 1 && holds_runs(f, levels - 1)))
}

/// Folders directly below, but for hidden ones and those that are being written.
fn folders(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let paths = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir());
    let named = paths.map(|path| (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path));
    Ok(named.filter(|(name, _)| !name.starts_with('.') && !name.ends_with(".partial")).collect())
}
