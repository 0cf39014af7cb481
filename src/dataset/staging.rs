//! The data folder as `prepare` changes it: everything is written under `<name>.partial`, synced once, and put in
//! place as a whole. A process killed at any moment leaves the old data, the new data, or a change that the next
//! `prepare` completes; half-written data is never marked as prepared.
//!
//! The steps of a change: write all `.partial` folders; sync; write `manifest.partial.json` (from here on the change
//! is decided); remove `manifest.json`; rename the folders; rename the manifest; remove what was replaced.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use super::manifest::Manifest;
use crate::error::{Error, Kind, Result};
use crate::files;

/// All that `prepare` writes besides the manifest.
const PARTS: [&str; 4] = ["train", "val", "test", "packs"];
const DECIDED: &str = "manifest.partial.json";

/// A data folder that this process alone changes.
pub struct Staging {
    data: PathBuf,
    _lock: File,
}

impl Staging {
    /// Creates the folder if need be and locks it; completes or clears away what an earlier process left behind.
    pub fn open(data: &Path) -> Result<Self> {
        fs::create_dir_all(data).map_err(|e| Error::io("cannot create the folder", data, e))?;
        let path = data.join(".prepare.lock");
        let lock = File::options().create(true).append(true).open(&path);
        let lock = lock.map_err(|e| Error::io("cannot write", &path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another `vggkit prepare` is at work in {}", data.display());
                return Err(Error::new(Kind::Io, message).with_help("wait until it is done"));
            }
            Err(TryLockError::Error(_)) => {} // a file system without locks: nothing to hold on to
        }
        let staging = Self { data: data.to_path_buf(), _lock: lock };
        if is_pending(data) {
            staging.swap()?;
        }
        staging.discard()?;
        Ok(staging)
    }

    /// Where the new form of a part (`train`, `packs`, ...) is written.
    pub fn partial(&self, part: &str) -> PathBuf {
        self.data.join(format!("{part}.partial"))
    }

    /// Folders that stand in the way and that no manifest says to be ours.
    pub fn foreign(&self) -> Vec<PathBuf> {
        if Manifest::path(&self.data).exists() {
            return Vec::new();
        }
        PARTS.iter().map(|part| self.data.join(part)).filter(|path| path.exists()).collect()
    }

    /// Puts the new data in place of the old. After an error ahead of the decision nothing of the new is left.
    pub fn commit(&self, manifest: &Manifest) -> Result<()> {
        let decided =
            files::sync_file_system(&self.data).and_then(|()| files::write_json(&self.data.join(DECIDED), manifest));
        if decided.is_err() && !is_pending(&self.data) {
            self.discard()?;
        }
        decided?;
        self.swap()
    }

    /// Removes everything unfinished.
    pub fn discard(&self) -> Result<()> {
        for part in PARTS {
            remove(&self.partial(part))?;
            remove(&self.replaced(part))?;
        }
        Ok(())
    }

    fn replaced(&self, part: &str) -> PathBuf {
        self.data.join(format!("{part}.replaced"))
    }

    /// Carries out what `manifest.partial.json` has decided; each step may have been done before.
    fn swap(&self) -> Result<()> {
        let decided = self.data.join(DECIDED);
        let new: Manifest = files::read_json(&decided)?;
        remove(&Manifest::path(&self.data))?;
        remove(&self.data.join("verify.json"))?; // it spoke of the old data
        files::sync_folder(&self.data)?;
        for part in PARTS {
            let (path, partial) = (self.data.join(part), self.partial(part));
            let belongs = part == "packs" || new.splits.get(part).is_some_and(|s| !s.files_sha256.is_empty());
            let arrived = belongs && !partial.exists(); // an earlier process came this far
            if path.exists() && !arrived {
                let replaced = self.replaced(part);
                remove(&replaced)?;
                fs::rename(&path, &replaced).map_err(|e| Error::io("cannot rename", &path, e))?;
            }
            if belongs && !arrived {
                fs::rename(&partial, &path).map_err(|e| Error::io("cannot rename", &partial, e))?;
            }
        }
        files::sync_folder(&self.data)?;
        let path = Manifest::path(&self.data);
        fs::rename(&decided, &path).map_err(|e| Error::io("cannot write", &path, e))?;
        files::sync_folder(&self.data)?;
        self.discard()
    }
}

/// Whether a change was decided but not carried out to its end.
pub fn is_pending(data: &Path) -> bool {
    data.join(DECIDED).exists()
}

/// The command that makes this folder's data, and completes a change to it. A change that is decided says what it is; else
/// the demo set's folder is known by its name.
pub fn prepare_command(data: &Path) -> String {
    let decided = files::read_json::<Manifest>(&data.join(DECIDED));
    let demo = decided.map_or_else(|_| data.ends_with("demo"), |manifest| manifest.source.kind == "demo");
    let (demo, data) = if demo { (" --demo", files::parent(data)) } else { ("", data.to_path_buf()) };
    let folder = if data == Path::new("data") { String::new() } else { format!(" --data {}", data.display()) };
    format!("vggkit prepare{demo}{folder}")
}

/// Removes a file or a folder; nothing there is fine.
fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("cannot remove", path, e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::manifest::Split;
    use super::*;

    fn put(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn manifest(vggkit: &str, parts: &[&str]) -> Manifest {
        let split = |files: &str| Split { files_sha256: files.into(), ..Split::default() };
        let splits: BTreeMap<_, _> = parts.iter().map(|p| ((*p).to_owned(), split("x"))).collect();
        Manifest { vggkit: vggkit.into(), splits, ..Manifest::default() }
    }

    fn stage(staging: &Staging, parts: &[&str], text: &str) {
        for part in parts.iter().chain(&["packs"]) {
            put(staging.partial(part).join("file"), text);
        }
    }

    fn assert_is(data: &Path, text: &str, parts: &[&str], absent: &[&str]) {
        assert_eq!(Manifest::load(data).unwrap().vggkit, text);
        for part in parts.iter().chain(&["packs"]) {
            assert_eq!(fs::read_to_string(data.join(part).join("file")).unwrap(), text);
        }
        for part in absent {
            assert!(!data.join(part).exists());
        }
        let rest = fs::read_dir(data).unwrap().filter(|e| {
            let name = e.as_ref().unwrap().file_name().into_string().unwrap();
            name.contains("partial") || name.contains("replaced")
        });
        assert_eq!(rest.count(), 0);
    }

    #[test]
    fn new_data_replaces_old_as_a_whole() {
        let data = tempfile::tempdir().unwrap();
        let staging = Staging::open(data.path()).unwrap();
        assert!(Staging::open(data.path()).is_err(), "one at a time");
        stage(&staging, &["train", "val", "test"], "old");
        staging.commit(&manifest("old", &["train", "val", "test"])).unwrap();
        assert_is(data.path(), "old", &["train", "val", "test"], &[]);
        stage(&staging, &["train", "val"], "new");
        staging.commit(&manifest("new", &["train", "val"])).unwrap();
        assert_is(data.path(), "new", &["train", "val"], &["test"]);
    }

    #[test]
    fn a_swap_cut_short_anywhere_is_completed() {
        // Each cut removes or renames a little more by hand, in the order in which `swap` does it.
        for cut in 0..8 {
            let data = tempfile::tempdir().unwrap();
            let at = |name: &str| data.path().join(name);
            let staging = Staging::open(data.path()).unwrap();
            stage(&staging, &["train", "val", "test"], "old");
            staging.commit(&manifest("old", &["train", "val", "test"])).unwrap();
            stage(&staging, &["train", "val"], "new");
            files::write_json(&at(DECIDED), &manifest("new", &["train", "val"])).unwrap();
            let steps: [&dyn Fn(); 7] = [
                &|| fs::remove_file(at("manifest.json")).unwrap(),
                &|| fs::rename(at("train"), at("train.replaced")).unwrap(),
                &|| fs::rename(at("train.partial"), at("train")).unwrap(),
                &|| fs::rename(at("val"), at("val.replaced")).unwrap(),
                &|| fs::rename(at("val.partial"), at("val")).unwrap(),
                &|| fs::rename(at("test"), at("test.replaced")).unwrap(),
                &|| fs::rename(at("packs"), at("packs.replaced")).unwrap(),
            ];
            steps[..cut].iter().for_each(|step| step());
            drop(staging);
            Staging::open(data.path()).unwrap();
            assert_is(data.path(), "new", &["train", "val"], &["test"]);
        }
    }

    #[test]
    fn unfinished_work_is_cleared_and_old_data_stays() {
        let data = tempfile::tempdir().unwrap();
        let staging = Staging::open(data.path()).unwrap();
        stage(&staging, &["train"], "old");
        staging.commit(&manifest("old", &["train"])).unwrap();
        stage(&staging, &["train", "val"], "new");
        drop(staging);
        Staging::open(data.path()).unwrap();
        assert_is(data.path(), "old", &["train"], &["val"]);
    }
}
