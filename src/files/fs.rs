//! Every file operation of the program, as `std::fs` has it: the one place through which all go, so that a test can make any
//! of them fail ([`fault`]).
//!
//! Adds nothing to the operations and no words to their errors. Whether something exists is asked directly.

#![allow(clippy::disallowed_methods, reason = "this is where they are")]

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use memmap2::Mmap;
use tempfile::NamedTempFile;

pub use std::fs::{File, FileType, Metadata, OpenOptions, ReadDir, TryLockError, metadata, symlink_metadata};

use super::fault::{self, Operation};

/// Opens a file to read it.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    open_with(OpenOptions::new().read(true), path)
}

/// Opens a file as the options say.
pub fn open_with(options: &OpenOptions, path: impl AsRef<Path>) -> io::Result<File> {
    fault::at(Operation::Open, path.as_ref())?;
    options.open(path)
}

/// All bytes of a file.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).map(|_| bytes)
}

/// All of a text file.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text).map(|_| text)
}

/// Writes a whole file.
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let path = path.as_ref();
    let mut file = open_with(OpenOptions::new().write(true).create(true).truncate(true), path)?;
    Writing { file: &mut file, path }.write_all(bytes.as_ref())
}

/// A file that is written to; `path` is what it will be called.
pub struct Writing<'a> {
    /// The file, which may have another name still.
    pub file: &'a mut File,
    /// For the error that is provoked.
    pub path: &'a Path,
}

impl Write for Writing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        fault::at(Operation::Write, self.path)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Writing<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Writes all of `bytes` at `offset`, whatever the file's own position is; from any thread.
pub fn write_all_at(file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
    fault::at(Operation::Write, path)?;
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_all_at(file, bytes, offset);
    #[cfg(windows)]
    {
        let (mut bytes, mut offset) = (bytes, offset);
        while !bytes.is_empty() {
            let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            (bytes, offset) = (&bytes[written..], offset + written as u64);
        }
        Ok(())
    }
}

/// Makes `file` `length` bytes long, cutting it or adding zeros.
pub fn set_len(file: &File, path: &Path, length: u64) -> io::Result<()> {
    fault::at(Operation::Write, path)?;
    file.set_len(length)
}

/// Makes a file's content and length durable.
pub fn sync(file: &File, path: &Path) -> io::Result<()> {
    fault::at(Operation::Sync, path)?;
    file.sync_all()
}

/// A temporary file gets its name.
pub fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    fault::at(Operation::Rename, path)?;
    file.persist(path).map(|_| ()).map_err(|e| e.error)
}

/// Renames a file or folder.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    fault::at(Operation::Rename, from.as_ref())?;
    std::fs::rename(from, to)
}

/// Removes a file.
pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    fault::at(Operation::Remove, path.as_ref())?;
    std::fs::remove_file(path)
}

/// Removes an empty folder.
pub fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    fault::at(Operation::Remove, path.as_ref())?;
    std::fs::remove_dir(path)
}

/// Removes a folder with all that is in it.
pub fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    fault::at(Operation::Remove, path.as_ref())?;
    std::fs::remove_dir_all(path)
}

/// Makes a folder and those above it.
pub fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    fault::at(Operation::Folder, path.as_ref())?;
    std::fs::create_dir_all(path)
}

/// Lists a folder.
pub fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    fault::at(Operation::List, path.as_ref())?;
    std::fs::read_dir(path)
}

/// Maps a file into memory to read it.
///
/// # Safety
/// As [`Mmap::map`] says: nobody may change the file while it is mapped.
pub unsafe fn map(file: &File, path: &Path) -> io::Result<Mmap> {
    fault::at(Operation::Map, path)?;
    // SAFETY: the caller sees to it.
    unsafe { Mmap::map(file) }
}
