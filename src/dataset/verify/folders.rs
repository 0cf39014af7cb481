//! Class folders against the pack: the same files in the same classes, each decodes, to the pack's pixels.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use indicatif::ProgressBar;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{Counts, Findings, Severity};
use crate::dataset::decode;
use crate::dataset::manifest::{self, Manifest};
use crate::dataset::pack::Pack;
use crate::files;

/// What a look at one file showed.
enum Seen {
    Missing,
    Unreadable(String),
    Undecodable(String),
    WrongSize,
    WrongPixels(String),
    Right { sha256: String, greyscale: bool },
}

/// Checks the folders of a split, and each file in them against `pack` where that could be opened.
pub fn check(
    data: &Path,
    manifest: &Manifest,
    name: &str,
    pack: Option<&Pack>,
    counts: &mut Counts,
    findings: &mut Findings,
    bar: &ProgressBar,
) {
    let folders = manifest.folders(name);
    let there = match list(data, name) {
        Ok(there) => there,
        Err(message) => {
            findings.add(Severity::Error, "folder-unreadable", message);
            return;
        }
    };
    compare_folders(&there.folders, &folders, name, findings);
    counts.files = Some(there.files.len());

    // With a pack its list is what should be there; without one, what is there is at least looked at.
    let expected: Vec<(String, Option<usize>)> = match pack {
        Some(pack) => (0..pack.images.count)
            .filter_map(|i| {
                let class = pack.images.labels.get(i).map_or(0, |label| *label as usize);
                Some((format!("{name}/{}/{}", folders.get(class)?, pack.files[i]), Some(i)))
            })
            .collect(),
        None => there.files.iter().map(|file| (file.clone(), None)).collect(),
    };
    let size = (manifest.height, manifest.width);
    let may_differ = manifest.splits.get(name).is_some_and(|split| split.resized > 0);
    let seen: Vec<Seen> = expected
        .par_iter()
        .map(|(file, index)| {
            bar.inc(1);
            let pixels = pack.zip(*index).filter(|(p, _)| (p.images.height, p.images.width) == size);
            look(&data.join(file), size, may_differ, pixels.map(|(pack, index)| pack.pixels(index)))
        })
        .collect();
    let known: BTreeSet<&String> = expected.iter().map(|(file, _)| file).collect();
    let extra: Vec<String> = there.files.iter().filter(|file| !known.contains(file)).cloned().collect();
    summarise(&expected, seen, extra, manifest, name, counts, findings);
}

/// What lies below `<data>/<split>`.
struct There {
    folders: BTreeSet<String>,
    files: BTreeSet<String>,
}

fn list(data: &Path, name: &str) -> Result<There, String> {
    let mut there = There { folders: BTreeSet::new(), files: BTreeSet::new() };
    let read = |path: &Path| fs::read_dir(path).map_err(|e| format!("cannot read {}: {e}", path.display()));
    let root = data.join(name);
    for folder in read(&root)? {
        let folder = folder.map_err(|e| e.to_string())?;
        let folder_name = folder.file_name().to_string_lossy().into_owned();
        if !folder.path().is_dir() {
            there.files.insert(format!("{name}/{folder_name}"));
            continue;
        }
        for file in read(&folder.path())? {
            let file = file.map_err(|e| e.to_string())?;
            there.files.insert(format!("{name}/{folder_name}/{}", file.file_name().to_string_lossy()));
        }
        there.folders.insert(folder_name);
    }
    Ok(there)
}

fn compare_folders(there: &BTreeSet<String>, should: &[String], name: &str, findings: &mut Findings) {
    let should: BTreeSet<String> = should.iter().cloned().collect();
    let listed = |these: &BTreeSet<String>, those: &BTreeSet<String>| {
        these.difference(those).map(|folder| format!("{name}/{folder}")).collect::<Vec<_>>()
    };
    let say =
        |n: usize, what: &str| format!("{name}: {n} {} {what}", if n == 1 { "class folder" } else { "class folders" });
    let missing = listed(&should, there);
    if !missing.is_empty() {
        findings.add_files(Severity::Error, "folder-missing", say(missing.len(), "missing"), missing);
    }
    let extra = listed(there, &should);
    if !extra.is_empty() {
        let what = say(extra.len(), "too many: ImageFolder would number the classes differently");
        findings.add_files(Severity::Error, "folder-extra", what, extra);
    }
}

/// `may_differ`: files of other sizes were resized in the pack.
fn look(path: &Path, size: decode::Size, may_differ: bool, expected: Option<&[u8]>) -> Seen {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Seen::Missing,
        Err(e) => return Seen::Unreadable(e.to_string()),
    };
    let image = match decode::decode(&bytes) {
        Ok(image) => image,
        Err(reason) => return Seen::Undecodable(reason),
    };
    if image.size != size && !may_differ {
        return Seen::WrongSize;
    }
    let image = image.resized(size);
    let sha256 = files::hex(&Sha256::digest(&bytes));
    if expected.is_some_and(|pixels| pixels != image.pixels) {
        return Seen::WrongPixels(sha256);
    }
    Seen::Right { sha256, greyscale: image.greyscale }
}

fn summarise(
    expected: &[(String, Option<usize>)],
    seen: Vec<Seen>,
    extra: Vec<String>,
    manifest: &Manifest,
    name: &str,
    counts: &mut Counts,
    findings: &mut Findings,
) {
    let Some(claim) = manifest.splits.get(name) else { return };
    let (mut missing, mut unreadable, mut undecodable) = (Vec::new(), Vec::new(), Vec::new());
    let (mut wrong_size, mut wrong_pixels, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    let (mut decoded, mut grey) = (0, 0);
    for ((file, _), seen) in expected.iter().zip(seen) {
        match seen {
            Seen::Missing => missing.push(file.clone()),
            Seen::Unreadable(reason) => unreadable.push(format!("{file}: {reason}")),
            Seen::Undecodable(reason) => undecodable.push(format!("{file}: {reason}")),
            Seen::WrongSize => {
                decoded += 1;
                wrong_size.push(file.clone());
            }
            Seen::WrongPixels(sha256) => {
                decoded += 1;
                wrong_pixels.push(file.clone());
                lines.push(format!("{file}\t{sha256}\n"));
            }
            Seen::Right { sha256, greyscale } => {
                decoded += 1;
                grey += usize::from(greyscale);
                lines.push(format!("{file}\t{sha256}\n"));
            }
        }
    }
    (counts.decoded, counts.greyscale) = (Some(decoded), Some(grey));
    let all_right = decoded == expected.len() && wrong_size.is_empty() && wrong_pixels.is_empty();
    let (height, width) = (manifest.height, manifest.width);
    let mut error = |code, files, what: &str| {
        findings.about(Severity::Error, code, files, |n| format!("{name}: {n} {what}"));
    };
    error("file-missing", missing, "missing");
    error("file-unreadable", unreadable, "cannot be read");
    error("file-undecodable", undecodable, "cannot be decoded");
    error("file-size", wrong_size, &format!("not of {width} x {height} pixels"));
    error("file-pixels", wrong_pixels, "with other pixels than the pack has");
    let no_extra = extra.is_empty();
    findings.about(Severity::Warning, "file-extra", extra, |n| format!("{name}: {n} that the pack does not have"));
    if all_right && no_extra && manifest::files_sha256(lines) != claim.files_sha256 {
        let what = format!("{name}: the files' bytes are not those that were prepared, though their pixels are");
        findings.add(Severity::Warning, "files-checksum", what);
    }
    if all_right && grey != claim.greyscale {
        let what = format!("{name}: {grey} greyscale files, but the manifest has {}", claim.greyscale);
        findings.add(Severity::Warning, "greyscale", what);
    }
}
