//! Class folders against the pack: the same files in the same classes, each decodes, to the pack's pixels.

use std::collections::BTreeSet;
use std::path::Path;

use indicatif::ProgressBar;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::look::{self, Look};
use super::verification::Counts;
use crate::dataset::decode::{self, Decoded};
use crate::dataset::finding::{Findings, Severity};
use crate::dataset::manifest::{self, Manifest, SPLITS};
use crate::dataset::pack::Pack;
use crate::dataset::{fingerprint, names};
use crate::files::{self, fs};

/// What was found of one file.
enum Seen {
    Missing,
    Unreadable(String),
    Undecodable(String),
    WrongSize,
    WrongPixels(String),
    Right { sha256: String, look: Box<Look> },
}

/// A split whose folders are checked.
pub struct Split<'a> {
    pub data: &'a Path,
    pub manifest: &'a Manifest,
    pub name: &'a str,
    /// Perceptual hashes are wanted.
    pub perceptual: bool,
}

impl Split<'_> {
    /// Checks the folders and each file in them, against `pack` where that could be opened.
    pub fn check(
        &self,
        pack: Option<&Pack>,
        counts: &mut Counts,
        findings: &mut Findings,
        bar: &ProgressBar,
    ) -> Vec<Look> {
        let Self { data, manifest, name, .. } = *self;
        let folders = manifest.folders(name);
        let there = match list(data, name) {
            Ok(there) => there,
            Err(message) => {
                findings.add(Severity::Error, "folder-unreadable", message);
                return Vec::new();
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
        let number = SPLITS.iter().position(|split| *split == name).unwrap_or_default();
        let size = (manifest.height, manifest.width);
        let seen: Vec<Seen> = expected
            .par_iter()
            .enumerate()
            .map(|(position, (file, index))| {
                bar.inc(1);
                let pixels = pack.zip(*index).filter(|(p, _)| (p.images.height, p.images.width) == size);
                let (bytes, image) = match self.look(file, pixels.map(|(pack, index)| pack.pixels(index))) {
                    Ok(right) => right,
                    Err(wrong) => return wrong,
                };
                let label = file
                    .split('/')
                    .nth(1)
                    .and_then(|folder| manifest.classes.binary_search_by(|class| class.wnid.as_str().cmp(folder)).ok());
                let look = Look {
                    file: file.clone(),
                    split: number,
                    index: index.unwrap_or(position),
                    label,
                    bytes: Some(fingerprint::hash(&bytes)),
                    greyscale: image.greyscale,
                    adapted: image.adapted,
                    measures: look::measure(&image.pixels, size, self.perceptual),
                };
                Seen::Right { sha256: files::hex(&Sha256::digest(&bytes)), look: Box::new(look) }
            })
            .collect();
        let known: BTreeSet<&String> = expected.iter().map(|(file, _)| file).collect();
        let extra: Vec<String> = there.files.iter().filter(|file| !known.contains(file)).cloned().collect();
        summarise(&expected, seen, extra, manifest, name, counts, findings)
    }

    /// Reads and decodes one file, and holds it to `expected`.
    fn look(&self, file: &str, expected: Option<&[u8]>) -> Result<(Vec<u8>, Decoded), Seen> {
        let bytes = match fs::read(self.data.join(file)) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(Seen::Missing),
            Err(e) => return Err(Seen::Unreadable(e.to_string())),
        };
        let image = decode::decode(&bytes).map_err(Seen::Undecodable)?;
        let size = (self.manifest.height, self.manifest.width);
        let resized = self.manifest.splits.get(self.name).is_some_and(|split| split.resized > 0);
        if image.size != size && !resized {
            return Err(Seen::WrongSize);
        }
        let image = image.resized(size);
        if expected.is_some_and(|pixels| pixels != image.pixels) {
            return Err(Seen::WrongPixels(files::hex(&Sha256::digest(&bytes))));
        }
        Ok((bytes, image))
    }
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
        if names::is_litter(&folder_name) {
            continue;
        }
        if !folder.path().is_dir() {
            there.files.insert(format!("{name}/{folder_name}"));
            continue;
        }
        for file in read(&folder.path())? {
            let file = file.map_err(|e| e.to_string())?.file_name().to_string_lossy().into_owned();
            if !names::is_litter(&file) {
                there.files.insert(format!("{name}/{folder_name}/{file}"));
            }
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

fn summarise(
    expected: &[(String, Option<usize>)],
    seen: Vec<Seen>,
    extra: Vec<String>,
    manifest: &Manifest,
    name: &str,
    counts: &mut Counts,
    findings: &mut Findings,
) -> Vec<Look> {
    let Some(claim) = manifest.splits.get(name) else { return Vec::new() };
    let mut looks = Vec::with_capacity(seen.len());
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
            Seen::Right { sha256, look } => {
                decoded += 1;
                grey += usize::from(look.greyscale);
                looks.push(*look);
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
    looks
}
