//! The data folder as `prepare` changes it: everything is written under `<name>.partial`, synced once, and put in
//! place as a whole. A process killed at any moment leaves the old data, the new data, or a change that the next
//! `prepare` completes; half-written data is never marked as prepared.
//!
//! The steps of a change: write all `.partial` folders; sync; write `manifest.partial.json` (from here on the change
//! is decided); rename `manifest.json` to `manifest.replaced.json`; rename the folders; rename the manifest; remove what was
//! replaced.
//!
//! Never takes the place of anything that `prepare` did not write, unless it is told to.

use std::path::{Path, PathBuf};

use super::inventory::{self, Inventory, owned_split};
use super::manifest::{self, Class, Manifest, Split};
use super::names::PARTS;
use super::pack::Pack;
use super::prepare_command::DECIDED;
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::files::fs::{self, File, OpenOptions, TryLockError};

const LOCK: &str = ".prepare.lock";

const REPLACED: &str = "manifest.replaced.json";
/// What somebody else's files are called where they are listed, and as many as are.
const FOREIGN: &str = "in the way, and not written by `vggkit prepare`";
const MOST_FILES: usize = 20;

/// A data folder that this process alone changes.
pub struct Staging {
    data: PathBuf,
    /// Also what somebody else put there may go.
    force: bool,
    lock: File,
}

impl Staging {
    /// Creates the folder if need be and locks it; completes or clears away what an earlier process left behind.
    pub fn open(data: &Path, force: bool) -> Result<Self> {
        fs::create_dir_all(data).map_err(|e| Error::io("cannot create the folder", data, e))?;
        let path = data.join(LOCK);
        let cannot = |e| Error::io("cannot write", &path, e);
        let lock = fs::open_with(OpenOptions::new().create(true).append(true), &path).map_err(cannot)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another `vggkit prepare` is at work in {}", data.display());
                return Err(Error::new(Kind::Io, message).with_help("wait until it is done"));
            }
            Err(TryLockError::Error(_)) => {} // a file system without locks: nothing to hold on to
        }
        let left_by_us = lock.metadata().map_err(cannot)?.len() > 0;
        let staging = Self { data: data.to_path_buf(), force, lock };
        if is_pending(data) {
            staging.refuse_to_complete()?;
            staging.swap()?;
        } else if !left_by_us && !force {
            refuse(data, staging.unfinished().iter().map(|path| name(path)).collect())?;
        }
        staging.discard()?;
        Ok(staging)
    }

    /// Says that from now on what is unfinished is ours, also if this process is killed.
    pub fn begin(&self) -> Result<()> {
        let path = self.data.join(LOCK);
        let write = || {
            fs::set_len(&self.lock, &path, 0)?;
            fs::write_all_at(&self.lock, &path, b"at work\n", 0)?;
            fs::sync(&self.lock, &path)
        };
        write().map_err(|e| Error::io("cannot write", &path, e))
    }

    /// Where the new form of a part (`train`, `packs`, ...) is written.
    pub fn partial(&self, part: &str) -> PathBuf {
        self.data.join(format!("{part}.partial"))
    }

    /// Stops where somebody else's things lie in the place of `parts` or in a folder that was ours, or files of ours were
    /// changed, or there are `more` such. With `--force` they go; these are their names.
    pub fn refuse_foreign(&self, parts: &[&str], more: Vec<String>) -> Result<Vec<String>> {
        let (path, old) = (Manifest::path(&self.data), self.current()?);
        let mut foreign = foreign(&self.data, old.as_ref(), |part| parts.contains(&part) || owned(old.as_ref(), part))?;
        foreign.extend(more);
        if path.exists() && old.is_none() {
            foreign.push(name(&path)); // damaged, of a newer version, or of another program
        }
        if self.force {
            return Ok(foreign);
        }
        if let Some(old) = &old {
            foreign.extend(inventory::changed(&self.data, old)?);
        }
        refuse(&self.data, foreign).map(|()| Vec::new())
    }

    /// The manifest of what is there, where it is one that this version knows. Errors: there is one that cannot be read, so
    /// that nobody knows whose the folders are.
    fn current(&self) -> Result<Option<Manifest>> {
        match Manifest::load(&self.data) {
            Ok(manifest) if manifest.schema == manifest::SCHEMA => Ok(Some(manifest)),
            Err(error) if error.kind() == Kind::Io && Manifest::path(&self.data).exists() => Err(error),
            _ => Ok(None),
        }
    }

    /// Puts the new data in place of the old. After an error ahead of the decision nothing of the new is left.
    pub fn commit(&self, manifest: &Manifest) -> Result<()> {
        let decide = || {
            if !self.force {
                // Much time has passed since this was looked at first.
                let (old, parts) = (self.current()?, parts_of(manifest));
                let replaced = |part| parts.contains(&part) || owned(old.as_ref(), part);
                refuse(&self.data, foreign(&self.data, old.as_ref(), replaced)?)?;
            }
            files::sync_file_system(&self.data)?;
            files::write_json(&self.data.join(DECIDED), manifest)
        };
        let decided = decide();
        if decided.is_err() && !is_pending(&self.data) {
            self.discard()?;
        }
        decided?;
        self.swap()
    }

    /// Removes everything unfinished.
    pub fn discard(&self) -> Result<()> {
        self.unfinished().iter().try_for_each(|path| remove(path))
    }

    /// What an unfinished change leaves: folders that are not in place yet, and not removed yet.
    fn unfinished(&self) -> Vec<PathBuf> {
        let folders = PARTS.iter().flat_map(|part| [self.partial(part), self.replaced(part)]);
        let all = folders.chain([self.data.join(REPLACED)]);
        all.filter(|path| path.symlink_metadata().is_ok()).collect()
    }

    fn replaced(&self, part: &str) -> PathBuf {
        self.data.join(format!("{part}.replaced"))
    }

    /// Stops where completing a change would take what somebody put in the old folders after it was cut short.
    fn refuse_to_complete(&self) -> Result<()> {
        if self.force {
            return Ok(());
        }
        let new: Manifest = read_decided(&self.data)?;
        let old = self.old();
        let parts = parts_of(&new);
        // Packs are put in place last, so that those that list the old files are there as long as old files are.
        let left = |part| if parts.contains(&part) { self.partial(part).exists() } else { owned(old.as_ref(), part) };
        refuse(&self.data, foreign(&self.data, old.as_ref(), left)?)
    }

    /// The manifest of what is being replaced. Older versions removed it before they were killed; what packs then tell is
    /// enough to know the files that they list.
    fn old(&self) -> Option<Manifest> {
        let replaced = files::read_json(&self.data.join(REPLACED)).ok();
        replaced.or_else(|| Manifest::load(&self.data).ok()).or_else(|| told_by_packs(&self.data))
    }

    /// Carries out what `manifest.partial.json` has decided; each step may have been done before.
    fn swap(&self) -> Result<()> {
        let decided = self.data.join(DECIDED);
        let new = read_decided(&self.data)?;
        let path = Manifest::path(&self.data);
        match fs::rename(&path, self.data.join(REPLACED)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("cannot rename", &path, e)),
            _ => {} // an earlier process came this far, or there is none
        }
        let old = self.old();
        remove_verification(&self.data)?; // it spoke of the old data
        files::sync_folder(&self.data)?;
        for part in PARTS {
            let (path, partial) = (self.data.join(part), self.partial(part));
            let belongs = parts_of(&new).contains(&part);
            let arrived = belongs && !partial.exists(); // an earlier process came this far
            if path.symlink_metadata().is_ok() && !arrived && (belongs || owned(old.as_ref(), part)) {
                let replaced = self.replaced(part);
                remove(&replaced)?;
                fs::rename(&path, &replaced).map_err(|e| Error::io("cannot rename", &path, e))?;
            }
            if belongs && !arrived {
                fs::rename(&partial, &path).map_err(|e| Error::io("cannot rename", &partial, e))?;
            }
        }
        files::sync_folder(&self.data)?;
        fs::rename(&decided, &path).map_err(|e| Error::io("cannot rename", &decided, e))?;
        files::sync_folder(&self.data)?;
        self.discard()
    }
}

impl Drop for Staging {
    /// What is unfinished after an error stays known as ours.
    fn drop(&mut self) {
        if self.lock.metadata().is_ok_and(|lock| lock.len() > 0) && self.unfinished().is_empty() {
            let _ = fs::set_len(&self.lock, &self.data.join(LOCK), 0); // only then is what comes there later somebody else's: no harm where this fails
        }
    }
}

/// The parts that data with this manifest consists of.
pub fn parts_of(manifest: &Manifest) -> Vec<&'static str> {
    PARTS.into_iter().filter(|part| owned(Some(manifest), part)).collect()
}

fn owned(manifest: Option<&Manifest>, part: &str) -> bool {
    manifest.is_some_and(|manifest| part == "packs" || owned_split(manifest, part).is_some())
}

/// A manifest that says no more than which files packs list; nothing where there are none.
fn told_by_packs(data: &Path) -> Option<Manifest> {
    let mut manifest = Manifest { schema: manifest::SCHEMA.into(), ..Manifest::default() };
    for name in manifest::SPLITS {
        let Ok(pack) = Pack::open(data, name) else { continue };
        let classes = pack.wnids.into_iter().zip(pack.names);
        manifest.classes = classes.map(|(wnid, name)| Class { wnid, name }).collect();
        let labelled = !pack.images.labels.is_empty();
        let split = Split { labelled, files_sha256: "not known".into(), ..Split::default() };
        manifest.splits.insert(name.into(), split);
    }
    (!manifest.splits.is_empty()).then_some(manifest)
}

/// What is somebody else's in some parts.
fn foreign(data: &Path, old: Option<&Manifest>, wanted: impl Fn(&'static str) -> bool) -> Result<Vec<String>> {
    let mut foreign = Inventory::take(data, old)?.foreign;
    foreign.retain(|part, _| wanted(part));
    Ok(foreign.into_values().flatten().collect())
}

/// An error that names what is somebody else's.
fn refuse(data: &Path, foreign: Vec<String>) -> Result<()> {
    if foreign.is_empty() {
        return Ok(());
    }
    let listed: String = foreign.iter().take(MOST_FILES).map(|name| format!("\n  {}", name.escape_debug())).collect();
    let more = foreign.len().saturating_sub(MOST_FILES);
    let more = if more > 0 { format!("\n  ... and {more} more") } else { String::new() };
    let message = format!("{FOREIGN}: in {}{listed}{more}", data.display());
    Err(Error::new(Kind::Data, message)
        .with_help("nothing was changed: move them away, name another --data folder, or let them go with --force"))
}

fn read_decided(data: &Path) -> Result<Manifest> {
    let path = data.join(DECIDED);
    files::read_json(&path).map_err(|e| {
        e.or_help(format!("{DECIDED} is a change that `prepare` decided; move away one that is something else"))
    })
}

/// Removes `verify.json`, if it is one of ours.
fn remove_verification(data: &Path) -> Result<()> {
    if is_verification(data) { remove(&verification(data)) } else { Ok(()) }
}

/// `<data>/verify.json`.
pub fn verification(data: &Path) -> PathBuf {
    data.join("verify.json")
}

/// Whether [`verification`] is there and one of ours, of whatever version.
pub fn is_verification(data: &Path) -> bool {
    let read = files::read_json::<serde_json::Value>(&verification(data));
    read.is_ok_and(|json| json["schema"].as_str().is_some_and(|s| s.starts_with("vggkit/verify/")))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether a change was decided but not carried out to its end.
pub fn is_pending(data: &Path) -> bool {
    data.join(DECIDED).exists()
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
mod tests;
