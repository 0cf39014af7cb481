//! Reading and writing files so that a crash at any moment leaves the old file or the new one, never half of one.
//!
//! Knows nothing of formats beyond JSON and TOML text.

use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::error::{Error, Result};

pub mod fault;
pub mod fs;
mod map;

pub use map::Map;

use fs::{File, OpenOptions, Writing};

/// Writes `path` by filling a temporary file in the same folder, syncing it and renaming it over `path`. A symbolic link
/// stays, and what it leads to is written. A pipe or device is written as it is. The folder is created when it is missing.
/// The temporary's name is drawn, so that any number of processes may do this at once and the last one is right; what a
/// killed one leaves stays there.
pub fn write_atomic(path: &Path, fill: impl FnOnce(&mut BufWriter<Writing<'_>>) -> std::io::Result<()>) -> Result<()> {
    put(path, temporary_beside, fill)
}

/// [`write_atomic`] for a file that one process at a time writes, as the files of a run, whose folder a training locks.
/// The temporary is `.<name>.partial`: what a killed process leaves goes with the next write, so that no checkpoints pile
/// up. Two at once would put half of one's file in the other's place.
pub fn write_atomic_locked(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<Writing<'_>>) -> std::io::Result<()>,
) -> Result<()> {
    let temporary = |path: &Path| {
        let name = format!(".{}", path.file_name().unwrap_or_default().to_string_lossy());
        remove_if_there(&path.with_file_name(format!("{name}.partial")))?;
        temporary(path, &name, 0)
    };
    put(path, temporary, fill)
}

fn put(
    path: &Path,
    temporary: impl FnOnce(&Path) -> Result<NamedTempFile>,
    fill: impl FnOnce(&mut BufWriter<Writing<'_>>) -> std::io::Result<()>,
) -> Result<()> {
    let cannot = |e| Error::io("cannot write", path, e);
    let there = match fs::metadata(path) {
        Ok(there) => Some(there),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !path.is_symlink() => None,
        Err(e) => return Err(cannot(e)),
    };
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        let mut file = fs::open_with(OpenOptions::new().write(true), path).map_err(cannot)?;
        let mut writer = BufWriter::new(Writing { file: &mut file, path });
        return fill(&mut writer).and_then(|()| writer.flush()).map_err(cannot);
    }
    let path = &if path.is_symlink() { path.canonicalize().map_err(cannot)? } else { path.to_owned() };
    let folder = parent(path);
    fs::create_dir_all(&folder).map_err(|e| Error::io("cannot create the folder", &folder, e))?;
    let failed = |e| Error::io("cannot write", path, e);
    let mut file = temporary(path)?;
    let mut writer = BufWriter::with_capacity(1 << 20, Writing { file: file.as_file_mut(), path });
    fill(&mut writer).and_then(|()| writer.flush()).map_err(failed)?;
    drop(writer);
    fs::sync(file.as_file(), path).map_err(failed)?;
    fs::persist(file, path).map_err(failed)?;
    sync_folder(&folder)
}

/// A new file in the folder of `path`, to be renamed over it; it is removed when dropped before that.
pub fn temporary_beside(path: &Path) -> Result<NamedTempFile> {
    temporary(path, ".vggkit-", 6)
}

/// A file that must be new, beside `path`: `prefix`, so many drawn letters, `.partial`.
fn temporary(path: &Path, prefix: &str, drawn: usize) -> Result<NamedTempFile> {
    let opened = fault::at(fault::Operation::Open, path);
    opened.map_err(|e| Error::io("cannot write", path, e))?;
    tempfile::Builder::new()
        .prefix(prefix)
        .rand_bytes(drawn)
        .suffix(".partial")
        .permissions_like_a_new_file()
        .tempfile_in(parent(path))
        .map_err(|e| Error::io("cannot write", path, e))
}

/// Removes a file; one that is not there, or that somebody else removes at the same time, is no error.
pub fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("cannot remove", path, e)),
        _ => Ok(()),
    }
}

/// Makes `file` `length` bytes long with its blocks allocated, so that a full disk is an error ahead of the work.
pub fn reserve(file: &File, path: &Path, length: u64) -> std::io::Result<()> {
    fs::set_len(file, path, length)?;
    #[cfg(target_os = "linux")]
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, length) {
        Err(e) if e != rustix::io::Errno::OPNOTSUPP => return Err(e.into()),
        _ => {} // reserved, or a file system that cannot
    }
    Ok(())
}

/// Makes renames inside `folder` durable. Does nothing where folders cannot be synced.
pub fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    fs::open(folder).and_then(|f| fs::sync(&f, folder)).map_err(|e| Error::io("cannot sync the folder", folder, e))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Writes everything that the file system of `folder` still holds in memory to its disk: one sync for any number of
/// files. Where there is no such call, the system writes in its own time.
pub fn sync_file_system(folder: &Path) -> Result<()> {
    #[cfg(target_os = "linux")]
    fs::open(folder)
        .and_then(|f| fault::at(fault::Operation::Sync, folder).map(|()| f))
        .and_then(|f| Ok(rustix::fs::syncfs(f)?))
        .map_err(|e| Error::io("cannot sync the folder", folder, e))?;
    #[cfg(not(target_os = "linux"))]
    let _ = folder;
    Ok(())
}

/// The folder that holds `path`.
pub fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// `tempfile` makes files that only their owner can read; ours are ordinary files.
trait LikeANewFile {
    fn permissions_like_a_new_file(&mut self) -> &mut Self;
}

impl LikeANewFile for tempfile::Builder<'_, '_> {
    fn permissions_like_a_new_file(&mut self) -> &mut Self {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            self.permissions(std::fs::Permissions::from_mode(0o666)); // the umask still applies
        }
        self
    }
}

/// Writes `value` as indented JSON with a final newline, atomically.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write_atomic(path, |w| {
        serde_json::to_writer_pretty(&mut *w, value)?;
        w.write_all(b"\n")
    })
}

/// Reads JSON; a file that does not parse is a data error that names line and column.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read_to_string(path)?;
    serde_json::from_str(&text).map_err(|e| Error::data(path, e))
}

/// Writes `value` as TOML, as [`write_atomic_locked`] does: only `run.toml` is TOML.
pub fn write_toml<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = toml::to_string(value).map_err(|e| Error::data(path, e))?;
    write_atomic_locked(path, |w| w.write_all(text.as_bytes()))
}

/// Reads TOML; a file that does not parse is a data error that says where.
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read_to_string(path)?;
    toml::from_str(&text).map_err(|e| Error::data(path, e))
}

/// Reads a text file.
pub fn read_to_string(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, e))
}

/// Appends one JSON object and a newline to a log and flushes it. A half-written last line, which a killed process left
/// behind, goes first.
pub fn append_json_line<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let failed = |e| Error::io("cannot append to", path, e);
    let mut line = serde_json::to_vec(value).map_err(|e| Error::data(path, e))?;
    line.push(b'\n');
    let open = fs::open_with(OpenOptions::new().create(true).truncate(false).read(true).write(true), path);
    let mut file = open.map_err(failed)?;
    let whole = seek_to_end_of_lines(&mut file, path);
    whole.and_then(|()| Writing { file: &mut file, path }.write_all(&line)).map_err(failed)
}

/// Makes the lines of a log durable, where there is one.
pub fn sync_log(path: &Path) -> Result<()> {
    match fs::open_with(OpenOptions::new().append(true), path).and_then(|file| fs::sync(&file, path)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("cannot sync", path, e)),
        _ => Ok(()),
    }
}

/// Goes to the end of the last whole line and cuts off what follows it.
fn seek_to_end_of_lines(file: &mut File, path: &Path) -> std::io::Result<()> {
    let end = file.seek(SeekFrom::End(0))?;
    if end == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(end - 1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(());
    }
    let mut all = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut all)?;
    let whole = all.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end as u64 + 1);
    fs::set_len(file, path, whole)?;
    file.seek(SeekFrom::Start(whole)).map(|_| ())
}

/// Reads a JSON-lines log. A last line without newline is what a killed process left behind and is ignored.
pub fn read_json_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = read_to_string(path)?;
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    whole
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(i, line)| serde_json::from_str(line).map_err(|e| Error::data(path, format!("line {}: {e}", i + 1))))
        .collect()
}

/// SHA-256 of a file as lower-case hexadecimal, read in pieces.
pub fn sha256(path: &Path) -> Result<String> {
    let failed = |e| Error::io("cannot read", path, e);
    let mut file = fs::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hex(&hasher.finalize()))
}

/// Bytes as lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The time now, in UTC, to the second, as RFC 3339.
pub fn now() -> String {
    jiff::Timestamp::now().round(jiff::Unit::Second).map_or_else(|_| String::new(), |t| t.to_string())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{FileTypeExt, symlink};

    use super::*;

    #[test]
    fn links_and_pipes_stay_what_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let [file, link, pipe, lost] = ["file", "link", "pipe", "lost"].map(|name| folder.path().join(name));
        let write = |path: &Path| write_atomic(path, |w| w.write_all(b"new"));
        fs::write(&file, "old").expect("written");
        symlink("file", &link).expect("a link");
        write(&link).expect("written");
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).expect("read"), "new");

        symlink("nowhere", &lost).expect("a link");
        assert!(write(&lost).is_err() && lost.is_symlink());

        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        // Open for both, so that neither end waits for the other.
        let mut reader = File::options().read(true).write(true).open(&pipe).expect("a pipe");
        write(&pipe).expect("written");
        assert!(fs::symlink_metadata(&pipe).expect("there").file_type().is_fifo());
        let mut text = [0; 3];
        reader.read_exact(&mut text).expect("read");
        assert_eq!(&text, b"new");
        assert!(write(folder.path()).is_err_and(|e| e.help().is_some_and(|help| help.contains("is a folder"))));
    }

    #[test]
    fn removing_what_is_not_there_is_no_error_and_what_cannot_go_is_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("evaluation.json");
        fs::write(&path, "").expect("written");
        remove_if_there(&path).expect("removed");
        assert!(!path.exists());
        remove_if_there(&path).expect("it is gone");
        assert!(remove_if_there(folder.path()).is_err(), "a folder is no file");
    }

    #[test]
    fn a_line_is_not_glued_to_a_half_written_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.jsonl");
        for half in ["", "[1", "[1]\n[2", "[1]\n"] {
            fs::write(&path, half).expect("written");
            let whole = half.rfind('\n').map_or("", |end| &half[..=end]);
            append_json_line(&path, &[3]).expect("appended");
            append_json_line(&path, &[4]).expect("appended");
            assert_eq!(fs::read_to_string(&path).expect("text"), format!("{whole}[3]\n[4]\n"), "after {half:?}");
        }
    }
}
