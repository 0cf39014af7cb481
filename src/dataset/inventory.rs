//! What lies where `prepare` writes: its own files, as manifest and packs list them, and what somebody else put there or
//! changed.
//!
//! Lists names and reads image files; removes nothing. What operating systems leave in every folder is nobody's.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::decode;
use super::manifest::{self, Manifest, SPLITS, Split};
use super::names::{PARTS, is_litter};
use super::pack::Pack;
use crate::error::{Error, Result};
use crate::files::{self, fs};

/// The content of `train`, `val`, `test` and `packs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// What `prepare` did not write, by part, relative to the data folder and sorted; a folder ends with `/`.
    pub foreign: BTreeMap<&'static str, Vec<String>>,
    /// A file that the manifest has is not there.
    pub incomplete: bool,
}

impl Inventory {
    /// Looks at a data folder with this manifest; without one, everything there is somebody else's.
    pub fn take(data: &Path, manifest: Option<&Manifest>) -> Result<Self> {
        let mut inventory = Self::default();
        for part in PARTS {
            let path = data.join(part);
            let Ok(about) = fs::symlink_metadata(&path) else {
                inventory.incomplete |= owned(manifest, part).is_some();
                continue;
            };
            let foreign = match owned(manifest, part) {
                Some(manifest) if about.is_dir() => inventory.of_part(data, part, manifest)?,
                _ if about.is_dir() => vec![format!("{part}/")],
                _ => vec![part.to_owned()], // a file, or a link, which `prepare` never makes
            };
            if !foreign.is_empty() {
                inventory.foreign.insert(part, foreign);
            }
        }
        Ok(inventory)
    }

    /// All that is somebody else's and not known to the manifest: of data that was prepared in place, the class folders are.
    pub fn unknown_to(&self, manifest: &Manifest) -> Vec<String> {
        let known = |part: &str| manifest.source.in_place && part != "packs";
        self.foreign.iter().filter(|(part, _)| !known(part)).flat_map(|(_, names)| names).cloned().collect()
    }

    fn of_part(&mut self, data: &Path, part: &'static str, manifest: &Manifest) -> Result<Vec<String>> {
        let ours: HashSet<String> = if part == "packs" {
            manifest.splits.keys().map(|split| format!("packs/{split}.safetensors")).collect()
        } else {
            match Pack::open(data, part) {
                Ok(pack) => places(&pack, manifest, part).into_iter().collect(),
                Err(_) => return without_list(data, part, manifest),
            }
        };
        let mut folders = HashSet::new();
        if part != "packs" {
            folders.extend(manifest.folders(part).into_iter().map(|folder| format!("{part}/{folder}")));
        }
        let (mut foreign, mut seen) = (Vec::new(), 0);
        let mut unread = vec![part.to_owned()];
        while let Some(folder) = unread.pop() {
            for (name, kind) in list(data, &folder)? {
                if kind.is_dir() && folders.contains(&name) {
                    unread.push(name);
                } else if kind.is_file() && ours.contains(&name) {
                    seen += 1;
                } else {
                    foreign.push(if kind.is_dir() { name + "/" } else { name });
                }
            }
        }
        self.incomplete |= seen < ours.len();
        foreign.sort();
        Ok(foreign)
    }
}

/// The files in the class folders whose content is no longer what was written, of all splits. Reads every file.
pub fn changed(data: &Path, manifest: &Manifest) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    for (part, split) in SPLITS.iter().filter_map(|part| Some((*part, owned_split(manifest, part)?))) {
        let Ok(pack) = Pack::open(data, part) else { continue }; // the inventory has compared all files with the checksum
        let places = places(&pack, manifest, part);
        if let Some(lines) = checksums(data, &places)
            && manifest::files_sha256(lines) == split.files_sha256
        {
            continue;
        }
        let size = (manifest.height, manifest.width);
        let differs = |(index, place): (usize, &String)| {
            let bytes = fs::read(data.join(place)).ok()?; // one that is gone is not lost by us
            let same = decode::decode(&bytes).is_ok_and(|image| image.resized(size).pixels == pack.pixels(index));
            (!same).then(|| place.clone())
        };
        let differing: Vec<String> = places.par_iter().enumerate().filter_map(differs).collect();
        changed.extend(differing);
    }
    Ok(changed)
}

/// The manifest, where it says that this part is ours.
fn owned<'a>(manifest: Option<&'a Manifest>, part: &str) -> Option<&'a Manifest> {
    manifest.filter(|manifest| part == "packs" || owned_split(manifest, part).is_some())
}

/// A split whose class folders were written.
pub fn owned_split<'a>(manifest: &'a Manifest, part: &str) -> Option<&'a Split> {
    manifest.splits.get(part).filter(|split| !split.files_sha256.is_empty())
}

/// Where the files of a pack lie, in its order: `train/<wnid>/<file>`.
fn places(pack: &Pack, manifest: &Manifest, split: &str) -> Vec<String> {
    let folders = manifest.folders(split);
    let folder = |index: usize| {
        let class = pack.images.labels.get(index).map_or(0, |label| *label as usize);
        folders.get(class).map_or("", String::as_str)
    };
    pack.files.iter().enumerate().map(|(index, file)| format!("{split}/{}/{file}", folder(index))).collect()
}

/// Without a pack that lists them, the files are ours if their names and bytes together are what was written.
fn without_list(data: &Path, part: &str, manifest: &Manifest) -> Result<Vec<String>> {
    let mut there = Vec::new();
    for folder in manifest.folders(part) {
        let folder = format!("{part}/{folder}");
        if data.join(&folder).is_dir() {
            there.extend(list(data, &folder)?.into_iter().map(|(name, _)| name));
        }
    }
    let written = owned_split(manifest, part).map_or("", |split| &split.files_sha256);
    let same = checksums(data, &there).is_some_and(|lines| manifest::files_sha256(lines) == written);
    Ok(if same { Vec::new() } else { vec![format!("{part}/")] })
}

/// `path<TAB>sha256<LF>` of files; nothing where one cannot be read.
fn checksums(data: &Path, places: &[String]) -> Option<Vec<String>> {
    let line = |place: &String| {
        let bytes = fs::read(data.join(place)).ok()?;
        Some(format!("{place}\t{}\n", files::hex(&Sha256::digest(bytes))))
    };
    places.par_iter().map(line).collect()
}

/// What lies in a folder, with its place below the data folder; links are not followed.
fn list(data: &Path, folder: &str) -> Result<Vec<(String, fs::FileType)>> {
    let path = data.join(folder);
    let cannot = |e| Error::io("cannot read", &path, e);
    let mut there = Vec::new();
    for entry in fs::read_dir(&path).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !is_litter(&name) {
            there.push((format!("{folder}/{name}"), entry.file_type().map_err(cannot)?));
        }
    }
    Ok(there)
}
