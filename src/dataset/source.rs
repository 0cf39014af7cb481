//! Where the official layout is read from: a zip archive or a folder. Lists its files and reads one at a time, from
//! any thread.
//!
//! Knows paths and bytes, not what they mean (that is `layout`), and never writes.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use super::archive::Archive;
use super::download::OFFICIAL_URL;
use super::manifest::SourceRecord;
use super::root::{self, FOLDERS, LISTS, wanted};
use crate::error::{Error, Result};
use crate::files::{self, fs};

/// The largest file that is read: words.txt has 2.7 MB, an image a few kB.
pub const LARGEST_FILE: u64 = 64 << 20;
/// A file of the layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the layout's root, with `/` between the parts, e.g. `train/n01443537/images/n01443537_0.JPEG`.
    pub path: String,
    /// Its size, uncompressed.
    pub bytes: u64,
    /// Its index in a zip's directory; 0 in a folder.
    index: usize,
}

/// An open source.
pub struct Source {
    given: PathBuf,
    kind: Kind,
    entries: Vec<Entry>,
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
        let names = archive.names()?;
        let root =
            root::of_names(names.iter().map(|(_, name, _)| name.as_str())).ok_or_else(|| root::not_there(path))?;
        let mut entries: Vec<Entry> = names
            .into_iter()
            .filter_map(|(index, name, bytes)| {
                let path = name.strip_prefix(&root)?;
                wanted(path).then(|| Entry { path: path.to_owned(), bytes, index })
            })
            .collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let record =
            SourceRecord { kind: "zip".into(), path: path.display().to_string(), bytes, ..SourceRecord::default() };
        Self { given: path.to_path_buf(), kind: Kind::Zip(archive), entries, record }.checked()
    }

    fn open_folder(path: &Path) -> Result<Self> {
        let root = root::folder(path)?.ok_or_else(|| root::not_there(path))?;
        let mut entries = Vec::new();
        let mut fingerprint = Sha256::new();
        for part in LISTS.iter().chain(&FOLDERS).map(|part| root.join(part)).filter(|part| part.exists()) {
            for entry in WalkDir::new(&part).follow_links(true).sort_by_file_name() {
                let unreadable = |e: walkdir::Error| {
                    let at = e.path().unwrap_or(&part).to_path_buf();
                    Error::io("cannot read", at, e.into())
                };
                let entry = entry.map_err(unreadable)?;
                let about = entry.metadata().map_err(unreadable)?;
                let below = entry.path().strip_prefix(&root).map_err(|e| Error::data(entry.path(), e))?;
                let Some(below) = below.to_str() else {
                    return Err(Error::data(entry.path(), "its name is not UTF-8"));
                };
                let below = below.replace(std::path::MAIN_SEPARATOR, "/");
                if !about.is_file() || !wanted(&below) {
                    continue;
                }
                let age = about.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
                fingerprint.update(format!("{below}\t{}\t{}\n", about.len(), age.as_nanos()));
                entries.push(Entry { path: below, bytes: about.len(), index: 0 });
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let record = SourceRecord {
            kind: "folder".into(),
            path: path.display().to_string(),
            bytes: entries.iter().map(|e| e.bytes).sum(),
            sha256: files::hex(&fingerprint.finalize()),
            in_place: false,
        };
        Self { given: path.to_path_buf(), kind: Kind::Folder(root), entries, record }.checked()
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
        if let Some(pair) = self.entries.windows(2).find(|pair| pair[0].path == pair[1].path) {
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

    /// All files of the layout, sorted by path.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry with this path.
    pub fn find(&self, path: &str) -> Option<&Entry> {
        self.entries.binary_search_by(|e| e.path.as_str().cmp(path)).ok().map(|i| &self.entries[i])
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

/// How names of image files end. Whether such a file can be read is `decode`'s to say, which names what it cannot.
const IMAGES: [&str; 15] =
    ["jpeg", "jpg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "heic", "heif", "avif", "jxl", "jp2"];

/// Whether a file is one of the images, by its name.
pub fn is_image(file: &str) -> bool {
    let extension = file.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|e| IMAGES.iter().any(|known| e.eq_ignore_ascii_case(known)))
}
