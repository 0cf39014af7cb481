//! One training a run folder: a lock that the operating system takes back when its process ends, however it ends.
//!
//! It tells a live training from one that was killed; it says nothing of how far the training is.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::files::fs::{self, File, OpenOptions, TryLockError};

/// Held while a process trains in a run folder.
#[derive(Debug)]
pub struct Occupied(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

/// How often a taken lock is tried again, 50 ms apart: whoever only looks holds it for an instant.
const TRIES: usize = 10;

/// `<run>/.lock`.
pub fn path(run: &Path) -> PathBuf {
    run.join(".lock")
}

/// Takes the folder for this process. Errors: another one trains there. File systems without locks refuse nobody.
pub fn occupy(run: &Path) -> Result<Occupied> {
    let path = path(run);
    let open = fs::open_with(OpenOptions::new().write(true).create(true).truncate(false), &path);
    let file = open.map_err(|e| Error::io("cannot create", &path, e))?;
    for attempt in 1.. {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if attempt < TRIES => thread::sleep(Duration::from_millis(50)),
            Err(TryLockError::WouldBlock) => break,
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(Occupied(file)),
        }
    }
    Err(Error::data(run, "another process is training there")
        .with_help("wait for it or stop it; a new training takes another name with --run NAME"))
}

/// Whether a process trains in the folder now.
pub fn is_occupied(run: &Path) -> bool {
    let Ok(file) = fs::open(path(run)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_taken_once_and_free_again_afterwards() -> Result<()> {
        let folder = tempfile::tempdir().map_err(|e| Error::io("cannot create", "a folder", e))?;
        assert!(!is_occupied(folder.path()));
        let held = occupy(folder.path())?;
        assert!(is_occupied(folder.path()));
        let refused = occupy(folder.path()).expect_err("two at once");
        assert!(refused.to_string().contains("another process is training there"), "{refused}");
        drop(held);
        assert!(!is_occupied(folder.path()));
        occupy(folder.path()).map(|_| ())
    }
}
