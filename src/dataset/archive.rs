//! Reading a zip archive that may come from anyone: entries are read one by one, from any thread, without unpacking.
//!
//! Refuses an archive with a name that would leave its folder, a symbolic link, an encrypted entry, a name that stands
//! twice, or more than a data set can need (entries, bytes, compression): no honest one has them. Whatever its directory
//! claims, a read ends at the announced size. Names with `\\` between their parts, which some programs for Windows write, are
//! read as if it were `/`.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zip::ZipArchive;

use super::sniff;
use crate::error::{Error, Result};
use crate::files::fs::{self, File};

/// Entries of an archive at most; Tiny ImageNet has some 120,000.
const MOST_ENTRIES: usize = 1_000_000;
/// Bytes of all entries at most, unpacked; Tiny ImageNet has 0.25 GB.
const MOST_BYTES: u64 = 64 << 30;
/// Times that an entry may grow at most when unpacked. Deflate can reach 1032; words.txt has 3, images 1.
const MOST_RATIO: u64 = 200;
/// Smaller entries may grow as they like: a list of few lines does.
const RATIO_FROM: u64 = 1 << 20;
/// Bytes read from the file at once: an image of Tiny ImageNet with its header mostly fits.
const READ_AHEAD: usize = 8 << 10;

/// An open archive; each read works on a cheap clone, so that threads share nothing that moves.
pub struct Archive {
    path: PathBuf,
    zip: ZipArchive<SharedFile>,
}

impl Archive {
    /// Reads the archive's directory.
    pub fn open(path: &Path) -> Result<Self> {
        sniff::refuse_other_kinds(path)?;
        let file = SharedFile::open(path).map_err(|e| Error::io("cannot read", path, e))?;
        let zip = ZipArchive::new(file).map_err(|e| {
            let error = Error::data(path, "not a whole zip archive").with_source(e);
            error.with_help("a download that was cut short looks like this: compare its size with the original's")
        })?;
        let archive = Self { path: path.to_path_buf(), zip };
        if archive.zip.has_duplicate_names() {
            let twice = archive.duplicate_name().map_err(|e| Error::io("cannot read", path, e))?;
            return Err(archive.refused(&twice.unwrap_or_default(), "stands twice in its directory"));
        }
        Ok(archive)
    }

    fn refused(&self, name: &str, why: &str) -> Error {
        Error::data(&self.path, format!("refused: the entry `{}` {why}", name.escape_debug()))
            .with_help("no data set needs such entries; get the archive from its original place")
    }

    /// The first name that stands twice in the archive's directory, which keeps only one of each when it is parsed.
    fn duplicate_name(&self) -> io::Result<Option<String>> {
        let mut file = self.zip.clone().into_inner();
        file.seek(SeekFrom::Start(self.zip.central_directory_start()))?;
        let mut seen = HashSet::new();
        loop {
            let mut header = [0; 46];
            if file.read_exact(&mut header).is_err() || !header.starts_with(b"PK\x01\x02") {
                return Ok(None);
            }
            let length = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
            let mut name = vec![0; usize::from(length(28))];
            file.read_exact(&mut name)?;
            file.seek(SeekFrom::Current(i64::from(length(30)) + i64::from(length(32))))?;
            let text = String::from_utf8_lossy(&name).into_owned();
            if !seen.insert(name) {
                return Ok(Some(text));
            }
        }
    }

    /// Index, name and size of each file and folder; the name of a folder ends with `/`. Any entry that is not safe refuses
    /// the archive.
    pub fn names(&self) -> Result<Vec<(usize, String, u64)>> {
        if self.zip.len() > MOST_ENTRIES {
            let what = format!("refused: {} entries; no data set has over {MOST_ENTRIES}", self.zip.len());
            return Err(Error::data(&self.path, what));
        }
        let mut total = 0_u64;
        let mut names = Vec::with_capacity(self.zip.len());
        for index in 0..self.zip.len() {
            let entry = self.zip.by_index_data(index).map_err(|e| Error::data(&self.path, e))?;
            let given = entry.name().map_err(|e| Error::data(&self.path, e))?;
            let name = given.replace('\\', "/");
            if !is_safe(&name) {
                return Err(self.refused(&given, "would be written outside its folder"));
            }
            if entry.is_symlink() {
                return Err(self.refused(&name, "is a symbolic link"));
            }
            if entry.encrypted() {
                return Err(self.refused(&name, "is encrypted"));
            }
            if entry.size() > RATIO_FROM && entry.size() / MOST_RATIO > entry.compressed_size() {
                let why = format!("would grow from {} to {} bytes", entry.compressed_size(), entry.size());
                return Err(self.refused(&name, &why));
            }
            total = total.saturating_add(entry.size());
            if total > MOST_BYTES {
                return Err(
                    self.refused(&name, &format!("and those ahead of it would unpack to over {MOST_BYTES} bytes"))
                );
            }
            names.push((index, name, entry.size()));
        }
        Ok(names)
    }

    /// Reads an entry whole. Fails where it does not end after `bytes` or its checksum is wrong.
    pub fn read(&self, index: usize, bytes: u64) -> io::Result<Vec<u8>> {
        let mut zip = self.zip.clone();
        let entry = zip.by_index(index).map_err(io::Error::other)?;
        let mut content = Vec::with_capacity(bytes as usize);
        // One byte more than announced: shows an entry that is longer, and reaches the end, where the checksum is.
        entry.take(bytes + 1).read_to_end(&mut content)?;
        Ok(content)
    }
}

/// Whether a name stays below the folder it is put in, on every operating system, and in one line of a list.
fn is_safe(name: &str) -> bool {
    let drive = name.as_bytes().get(1) == Some(&b':') || (cfg!(windows) && name.contains(':'));
    let outside = name.starts_with('/') || drive || name.contains(char::is_control);
    !outside && name.split('/').all(|part| part != "..")
}

/// A file read by position, so that clones do not move each other's; each reads a little ahead, so that an entry's
/// header and content take one call.
struct SharedFile {
    file: Arc<File>,
    position: u64,
    length: u64,
    /// Bytes of the file from `ahead_at` on.
    ahead: Vec<u8>,
    ahead_at: u64,
}

impl Clone for SharedFile {
    fn clone(&self) -> Self {
        let Self { file, position, length, .. } = self;
        Self { file: Arc::clone(file), position: *position, length: *length, ahead: Vec::new(), ahead_at: 0 }
    }
}

impl SharedFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = fs::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), position: 0, length, ahead: Vec::new(), ahead_at: 0 })
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(&*self.file, buffer, position);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(&*self.file, buffer, position);
    }

    /// What was read ahead from the position on.
    fn at_hand(&self) -> &[u8] {
        let skipped = self.position.checked_sub(self.ahead_at).and_then(|n| usize::try_from(n).ok());
        skipped.and_then(|n| self.ahead.get(n..)).unwrap_or_default()
    }
}

impl Read for SharedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at_hand().is_empty() {
            if buffer.len() >= READ_AHEAD {
                let read = self.read_at(buffer, self.position)?;
                self.position += read as u64;
                return Ok(read);
            }
            let mut ahead = std::mem::take(&mut self.ahead);
            ahead.resize(READ_AHEAD, 0);
            let read = self.read_at(&mut ahead, self.position)?;
            ahead.truncate(read);
            (self.ahead, self.ahead_at) = (ahead, self.position);
        }
        let at_hand = self.at_hand();
        let read = at_hand.len().min(buffer.len());
        buffer[..read].copy_from_slice(&at_hand[..read]);
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for SharedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_their_folder_are_not_safe() {
        for name in ["/etc/passwd", "../x", "a/../../x", "C:/x", "C:x", "a/..", "x\0y", "x\ny"] {
            assert!(!is_safe(name), "{name:?}");
        }
        for name in ["train/n1/images/n1_0.JPEG", "a..b/c", "..a", "words.txt", "train/"] {
            assert!(is_safe(name), "{name:?}");
        }
    }
}
