//! Where the official layout is read from: a zip archive or a folder. Lists its files and reads one at a time, from
//! any thread.
//!
//! Knows paths and bytes, not what they mean (that is `layout`), and never writes.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};
use walkdir::{DirEntry, WalkDir};

use super::archive::Archive;
use super::manifest::{SPLITS, SourceRecord};
use super::names::{self, LARGEST_FILE, LISTS, OFFICIAL_URL};
use super::root::{self, Form};
use crate::error::{Error, Result};
use crate::files::{self, fs};

/// A file of the layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the source's root, with `/` between the parts, e.g. `Training/n01443537/images/n01443537_0.JPEG`.
    pub path: String,
    /// The same in the usual layout, e.g. `train/n01443537/images/n01443537_0.JPEG`.
    pub place: String,
    /// Its size, uncompressed.
    pub bytes: u64,
    /// Its index in a zip's directory; 0 in a folder.
    index: usize,
}

/// An open source.
pub struct Source {
    given: PathBuf,
    kind: Kind,
    /// Sorted by place.
    entries: Vec<Entry>,
    class_folders: BTreeSet<String>,
    notes: Vec<String>,
    record: SourceRecord,
}

enum Kind {
    Zip(Archive),
    Folder(PathBuf),
}

impl Source {
    /// Opens a zip or a folder that holds the layout, itself or in one folder of its own, and lists what of it is read.
    pub fn open(path: &Path) -> Result<Self> {
        let about = fs::metadata(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::usage(format!("the source {} does not exist", path.display()))
                .with_help(format!("name a zip or folder in the layout of {OFFICIAL_URL}")),
            _ => Error::io("cannot read", path, e),
        })?;
        if about.is_dir() { Self::open_folder(path) } else { Self::open_zip(path, about.len()) }
    }

    fn open_zip(path: &Path, bytes: u64) -> Result<Self> {
        let archive = Archive::open(path)?;
        let mut names = archive.names()?;
        let folders = names.extract_if(.., |(_, name, _)| name.ends_with('/')).map(|(_, name, _)| name).collect();
        let files = names.into_iter().map(|(index, path, bytes)| Found { path, bytes, index, age: None }).collect();
        let record =
            SourceRecord { kind: "zip".into(), path: path.display().to_string(), bytes, ..SourceRecord::default() };
        Self::of(path, Listing { files, folders }, record, |_| Kind::Zip(archive))
    }

    fn open_folder(path: &Path) -> Result<Self> {
        let listing = Listing::of_folder(path)?;
        let record =
            SourceRecord { kind: "folder".into(), path: path.display().to_string(), ..SourceRecord::default() };
        let mut source = Self::of(path, listing, record, |root| Kind::Folder(path.join(root)))?;
        source.record.bytes = source.entries.iter().map(|e| e.bytes).sum();
        Ok(source)
    }

    /// Finds out what of a listing is what.
    fn of(given: &Path, listing: Listing, record: SourceRecord, kind: impl FnOnce(&str) -> Kind) -> Result<Self> {
        let names: Vec<&str> = listing.files.iter().map(|file| file.path.as_str()).collect();
        let form = Form::of(&names).map_err(|why| root::not_there(given, &why))?;
        let below = |path: &str| path.strip_prefix(&form.root).map(str::to_owned);
        let class_folders = listing.folders.iter().filter_map(|folder| form.class_of_folder(&below(folder)?)).collect();
        let mut entries = Vec::with_capacity(listing.files.len());
        let mut ages = Vec::new();
        let mut outside = Vec::new();
        for file in listing.files {
            let placed = below(&file.path).and_then(|path| Some((form.place(&path)?, path)));
            let Some((place, path)) = placed else {
                if names::is_image(&file.path) && file.path.split('/').all(names::is_wanted) {
                    outside.push(file.path);
                }
                continue;
            };
            if let Some(age) = file.age {
                ages.push((place.clone(), format!("{path}\t{}\t{age}\n", file.bytes)));
            }
            entries.push(Entry { path, place, bytes: file.bytes, index: file.index });
        }
        entries.sort_by(|a, b| a.place.cmp(&b.place));
        let (kind, mut notes) = (kind(&form.root), form.notes);
        if let Some(first) = outside.iter().min() {
            notes.push(format!("{} images lie outside the folders that are read, such as {first}", outside.len()));
        }
        let record = SourceRecord { sha256: fingerprint(ages), ..record };
        Self { given: given.to_path_buf(), kind, entries, class_folders, notes, record }.checked()
    }

    /// Refuses what no honest data set has, whichever way it comes.
    fn checked(self) -> Result<Self> {
        let what = |entry: &Entry, what: String| Error::data(&self.given, format!("`{}` {what}", entry.path));
        if let Some(entry) = self.entries.iter().find(|e| e.bytes > LARGEST_FILE) {
            return Err(what(
                entry,
                format!("has {} bytes; no file of the layout has over {LARGEST_FILE}", entry.bytes),
            ));
        }
        if let Some(pair) = self.entries.windows(2).find(|pair| pair[0].place == pair[1].place) {
            return Err(what(&pair[0], "is there twice".into()));
        }
        Ok(self)
    }

    /// As the user gave it.
    pub fn path(&self) -> &Path {
        &self.given
    }

    /// What the manifest says of it. For a folder, `bytes` is the sum of its files and `sha256` that of the sorted
    /// list of `path<TAB>bytes<TAB>nanoseconds of its modification<LF>`; a zip is read whole for it.
    pub fn record(&self) -> Result<SourceRecord> {
        let mut record = self.record.clone();
        if let Kind::Zip(_) = self.kind {
            record.sha256 = files::sha256(&self.given)?;
        }
        Ok(record)
    }

    /// "zip" or "folder".
    pub fn kind(&self) -> &str {
        &self.record.kind
    }

    /// The folder that holds the layout, if it is one.
    pub fn folder(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Folder(root) => Some(root),
            Kind::Zip(_) => None,
        }
    }

    /// What was found under another name than usual, for people.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The folders in train, also those without an image.
    pub fn class_folders(&self) -> &BTreeSet<String> {
        &self.class_folders
    }

    /// Whether its class folders are those of the data folder itself.
    pub fn is_in_place(&self) -> bool {
        self.record.in_place
    }

    /// Says that its class folders are those of the data folder itself.
    pub fn set_in_place(&mut self) {
        self.record.in_place = true;
    }

    /// All files of the layout, sorted by place.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry with this place.
    pub fn find(&self, place: &str) -> Option<&Entry> {
        self.entries.binary_search_by(|e| e.place.as_str().cmp(place)).ok().map(|i| &self.entries[i])
    }

    /// Reads one file whole. What comes back has exactly the announced size; a zip's checksum is checked.
    pub fn read(&self, entry: &Entry) -> Result<Vec<u8>> {
        let failed = |e| Error::io("cannot read", self.given.join(&entry.path), e);
        let bytes = match &self.kind {
            Kind::Zip(archive) => archive.read(entry.index, entry.bytes).map_err(failed)?,
            Kind::Folder(root) => {
                let file = fs::open(root.join(&entry.path)).map_err(failed)?;
                let mut bytes = Vec::with_capacity(entry.bytes as usize);
                file.take(LARGEST_FILE).read_to_end(&mut bytes).map_err(failed)?;
                bytes
            }
        };
        if bytes.len() as u64 != entry.bytes {
            let message = format!("{} bytes instead of {}", bytes.len(), entry.bytes);
            return Err(Error::data(self.given.join(&entry.path), message));
        }
        Ok(bytes)
    }

    /// Reads one text file: UTF-8, with or without byte order mark.
    pub fn read_text(&self, entry: &Entry) -> Result<String> {
        let text = String::from_utf8(self.read(entry)?)
            .map_err(|e| Error::data(self.given.join(&entry.path), format!("is not UTF-8 text ({e})")))?;
        Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned))
    }
}

/// All that lies in a zip or folder, with `/` between the parts of names; those of folders end with one.
struct Listing {
    files: Vec<Found>,
    folders: Vec<String>,
}

/// A file of a listing.
struct Found {
    path: String,
    bytes: u64,
    index: usize,
    /// When it was modified, in nanoseconds since 1970; nothing in a zip.
    age: Option<u128>,
}

impl Listing {
    /// Follows links. What is hidden, left by a system, or data that `prepare` wrote is not there.
    fn of_folder(given: &Path) -> Result<Self> {
        let mut listing = Self { files: Vec::new(), folders: Vec::new() };
        let has = |path: &Path, name: &str| path.join(name).exists();
        let prepared = |path: &Path| has(path, ".prepare.lock") || (has(path, "manifest.json") && has(path, "packs"));
        let is_wanted = |entry: &DirEntry| {
            let name = entry.file_name().to_string_lossy();
            let unfinished = entry.depth() == 1 && (name.ends_with(".partial") || name.ends_with(".replaced"));
            entry.depth() == 0 || (names::is_wanted(&name) && !unfinished && !prepared(entry.path()))
        };
        for entry in WalkDir::new(given).follow_links(true).into_iter().filter_entry(is_wanted) {
            let unreadable = |e: walkdir::Error| {
                let at = e.path().unwrap_or(given).to_path_buf();
                Error::io("cannot read", at, e.into())
            };
            let entry = entry.map_err(unreadable)?;
            let below = entry.path().strip_prefix(given).map_err(|e| Error::data(entry.path(), e))?;
            let Some(below) = below.to_str().filter(|name| !name.contains(char::is_control)) else {
                return Err(Error::data(entry.path(), "its name is not UTF-8, or has a line break or the like in it")
                    .with_help("rename it, or take it out of the source"));
            };
            let below = below.replace(std::path::MAIN_SEPARATOR, "/");
            if entry.file_type().is_dir() {
                listing.folders.push(below + "/");
                continue;
            }
            let about = entry.metadata().map_err(unreadable)?;
            if about.is_file() {
                let age = about.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
                listing.files.push(Found { path: below, bytes: about.len(), index: 0, age: Some(age.as_nanos()) });
            }
        }
        Ok(listing)
    }
}

/// The SHA-256 of a folder's files, of lines with their places: the lists ahead of the splits, each sorted by the parts of
/// the names. Empty where there are none.
fn fingerprint(mut lines: Vec<(String, String)>) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let rank = |place: &str| {
        let first = place.split('/').next().unwrap_or_default();
        LISTS.iter().chain(&SPLITS).position(|known| *known == first)
    };
    lines.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)).then_with(|| a.split('/').cmp(b.split('/'))));
    files::hex(&Sha256::digest(lines.into_iter().map(|(_, line)| line).collect::<String>()))
}
