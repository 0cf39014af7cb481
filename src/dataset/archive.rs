//! Reading a zip archive that may come from anyone: entries are read one by one, from any thread, without unpacking.
//!
//! Refuses an archive with a name that would leave its folder, a symbolic link, an encrypted entry or a name that
//! stands twice: no honest data set has them. Whatever its directory claims, a read ends at the announced size.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zip::ZipArchive;

use crate::error::{Error, Result};

/// An open archive; each read works on a cheap clone, so that threads share nothing that moves.
pub struct Archive {
    path: PathBuf,
    zip: ZipArchive<SharedFile>,
}

impl Archive {
    /// Reads the archive's directory.
    pub fn open(path: &Path) -> Result<Self> {
        let file = SharedFile::open(path).map_err(|e| Error::io("cannot read", path, e))?;
        let zip = ZipArchive::new(file).map_err(|e| {
            Error::data(path, "not a whole zip archive")
                .with_source(e)
                .with_help("a download that was cut short looks like this: compare its size with the original's")
        })?;
        if zip.has_duplicate_names() {
            return Err(Error::data(path, "refused: some of its names stand twice"));
        }
        Ok(Self { path: path.to_path_buf(), zip })
    }

    /// Index, name and size of each file; folders are left out. Any entry that is not safe refuses the archive.
    pub fn names(&self) -> Result<Vec<(usize, String, u64)>> {
        let refused = |name: &str, why: &str| {
            Error::data(&self.path, format!("refused: the entry `{}` {why}", name.escape_debug()))
                .with_help("no data set needs such entries; get the archive from its original place")
        };
        let mut names = Vec::with_capacity(self.zip.len());
        for index in 0..self.zip.len() {
            let entry = self.zip.by_index_data(index).map_err(|e| Error::data(&self.path, e))?;
            let name = entry.name().map_err(|e| Error::data(&self.path, e))?.into_owned();
            if !is_safe(&name) {
                return Err(refused(&name, "would be written outside its folder"));
            }
            if entry.is_symlink() {
                return Err(refused(&name, "is a symbolic link"));
            }
            if entry.encrypted() {
                return Err(refused(&name, "is encrypted"));
            }
            if !entry.is_dir() {
                names.push((index, name, entry.size()));
            }
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

/// Whether a name stays below the folder it is put in, on every operating system.
fn is_safe(name: &str) -> bool {
    let outside = name.starts_with('/') || name.contains(['\\', '\0', ':']);
    !outside && name.split('/').all(|part| part != "..")
}

/// A file read by position, so that clones do not move each other's.
#[derive(Clone)]
struct SharedFile {
    file: Arc<File>,
    position: u64,
    length: u64,
}

impl SharedFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), position: 0, length })
    }
}

impl Read for SharedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.position)?;
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(&*self.file, buffer, self.position)?;
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
        for name in ["/etc/passwd", "../x", "a/../../x", "a\\..\\x", "C:/x", "C:x", "a/..", "x\0y"] {
            assert!(!is_safe(name), "{name:?}");
        }
        for name in ["train/n1/images/n1_0.JPEG", "a..b/c", "..a", "words.txt", "train/"] {
            assert!(is_safe(name), "{name:?}");
        }
    }
}
