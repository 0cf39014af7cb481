//! `vggkit predict` of image files: which there are, reading them, and asking of several at a time.
//!
//! A file that cannot be used is told of in its turn and keeps no other from its answer.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use walkdir::WalkDir;

use crate::dataset::decode::{self, Decoded};
use crate::dataset::workers;
use crate::engine::{Images, Pixels};
use crate::error::{Error, Result};
use crate::files::fs;

/// Standard input, as it is typed.
const STDIN: &str = "-";
/// Bytes of pixels that are waited for at most before an engine is asked: photographs are large.
const ENOUGH: usize = 256 << 20;

/// A file, and why it cannot be listed.
pub type Listed = (PathBuf, Result<()>);

/// A file, or all files in a folder and the folders below it but those with names like `.hidden`, in the order of their
/// names; with each whether it could be listed.
pub fn listed(given: &Path) -> Vec<Listed> {
    if !given.is_dir() {
        return vec![(given.to_owned(), Ok(()))];
    }
    let hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
    let walk = WalkDir::new(given).follow_links(true).sort_by_file_name();
    let mut files = Vec::new();
    for entry in walk.into_iter().filter_entry(|entry| entry.depth() == 0 || !hidden(entry.file_name())) {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {}
            Ok(entry) => files.push((entry.into_path(), Ok(()))),
            Err(e) => {
                let path = e.path().unwrap_or(given).to_owned();
                files.push((path.clone(), Err(Error::io("cannot read", path, e.into()))));
            }
        }
    }
    if files.is_empty() {
        files.push((given.to_owned(), Err(Error::data(given, "there is no file in this folder"))));
    }
    files
}

/// The paths that a list has, a line each or each ended by NUL, as `find -print0` writes them. Errors: it cannot be read, is
/// empty or an image.
pub fn paths_in(list: &Path) -> Result<Vec<PathBuf>> {
    let mut bytes = Vec::new();
    let stdin = list == Path::new(STDIN);
    let read = if stdin { io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes) } else { fs::read(list) };
    let list = if stdin { Path::new("standard input") } else { list };
    let bytes = read.map_err(|e| Error::io("cannot read", list, e))?;
    if decode::size(&bytes).is_ok() {
        return Err(Error::data(list, "is an image, not a list of paths").with_help("give it to --image"));
    }
    let end = if bytes.contains(&0) { 0 } else { b'\n' };
    let lines = bytes.split(|byte| *byte == end).map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let paths = lines.filter(|line| !line.is_empty()).map(|line| path(line).ok_or_else(|| unreadable(list, line)));
    let paths = paths.collect::<Result<Vec<_>>>()?;
    if paths.is_empty() { Err(Error::data(list, "names no file")) } else { Ok(paths) }
}

#[cfg(unix)]
fn path(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Some(OsStr::from_bytes(bytes).into())
}

#[cfg(not(unix))]
fn path(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

fn unreadable(list: &Path, line: &[u8]) -> Error {
    Error::data(list, format!("{:?} is not UTF-8", String::from_utf8_lossy(line)))
}

/// How many files are read, and asked of, at a time.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Files that are decoded at once.
    pub threads: usize,
    /// Images of a batch at most.
    pub batch: usize,
}

/// An image that was read: the centred square, and what was done to see it.
struct Seen {
    side: usize,
    pixels: Vec<u8>,
    notes: Vec<&'static str>,
}

/// Reads `files`, asks of all that can be read and tells of each in turn: the answer with notes on how the image was seen, or
/// why there is none. Images of one size are asked about together; their names come with them. Whether all could be read.
/// Errors: those of `ask` and `tell`.
pub fn each<T>(
    mut files: Vec<Listed>,
    pace: Pace,
    mut ask: impl FnMut(&Images, &[String]) -> Result<Vec<T>>,
    mut tell: impl FnMut(&Path, Result<(T, Vec<&'static str>)>) -> Result<()>,
) -> Result<bool> {
    let pool = workers(pace.threads)?;
    let mut whole = true;
    while !files.is_empty() {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while !files.is_empty() && batch.len() < pace.batch.max(1) && bytes < ENOUGH {
            let next = files.drain(..pace.threads.clamp(1, files.len())).collect::<Vec<_>>();
            let see = |(file, listed): Listed| {
                let seen = listed.and_then(|()| read(&file)).map(square);
                (file, seen)
            };
            let read: Vec<_> = pool.install(|| next.into_par_iter().map(see).collect());
            bytes +=
                read.iter().filter_map(|(_, seen)| seen.as_ref().ok()).map(|seen| seen.pixels.len()).sum::<usize>();
            batch.extend(read);
        }
        let mut answers = answers(&mut batch, &mut ask)?;
        for (at, (file, seen)) in batch.into_iter().enumerate() {
            whole &= seen.is_ok();
            let answer = match (seen, answers.remove(&at)) {
                (Ok(seen), Some(answer)) => Ok((answer, seen.notes)),
                (Ok(_), None) => continue, // there is one for each
                (Err(error), _) => Err(error),
            };
            tell(&file, answer)?;
        }
    }
    Ok(whole)
}

/// The answers to the images of a batch, by their places in it. The pixels are given away.
fn answers<T>(
    batch: &mut [(PathBuf, Result<Seen>)],
    ask: &mut impl FnMut(&Images, &[String]) -> Result<Vec<T>>,
) -> Result<BTreeMap<usize, T>> {
    let mut sizes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, (_, seen)) in batch.iter().enumerate() {
        if let Ok(seen) = seen {
            sizes.entry(seen.side).or_default().push(at);
        }
    }
    let mut answers = BTreeMap::new();
    for (side, places) in sizes {
        let (mut pixels, mut names) = (Vec::new(), Vec::new());
        for at in &places {
            let (file, seen) = &mut batch[*at];
            names.push(file.display().to_string());
            if let Ok(seen) = seen {
                pixels.append(&mut seen.pixels);
            }
        }
        let pixels: Pixels = Arc::new(pixels);
        let images = Images { pixels, count: places.len(), height: side, width: side, labels: Arc::from([]) };
        answers.extend(places.into_iter().zip(ask(&images, &names)?));
    }
    Ok(answers)
}

fn read(file: &Path) -> Result<Decoded> {
    if file == Path::new(STDIN) {
        let read = decode::read(Path::new("standard input"), || Ok(Box::new(io::stdin().lock())));
        return read.map_err(|e| e.or_help("of it one image is read; paths of images are taken by --files-from -"));
    }
    let read = decode::read(file, || Ok(Box::new(fs::open(file)?)));
    let pattern = file.to_string_lossy().contains(['*', '?']) && !file.exists();
    read.map_err(|e| if pattern { e.or_help("no file has a name of this pattern") } else { e })
}

/// The centred square of an image; the engine resizes it.
fn square(image: Decoded) -> Seen {
    let (rows, columns) = image.size;
    let side = rows.min(columns);
    let (top, left) = ((rows - side) / 2, (columns - side) / 2);
    let pixels = if rows == columns {
        image.pixels
    } else {
        let rows = image.pixels.chunks_exact(3 * columns).skip(top).take(side);
        rows.flat_map(|row| &row[3 * left..][..3 * side]).copied().collect()
    };
    Seen { side, pixels, notes: image.adapted.words() }
}
