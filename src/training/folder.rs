//! A run's folder ahead of a training: whether there is a run already, and what an earlier one left.
//!
//! It trains nothing and reads no checkpoint.

use std::path::Path;

use super::occupied::{self, Occupied};
use super::run::Run;
use super::{checkpoint, history, tensorboard};
use crate::error::{Error, Result};
use crate::files::{self, fs};

/// Makes `steps.jsonl` where it is asked for. It is gone on with wherever it is there, so a training that is killed ahead
/// of its first line and resumed without the flag writes it too.
pub fn begin_step_log(folder: &Path, asked_for: bool) -> Result<()> {
    let path = history::steps_path(folder);
    if asked_for && !path.exists() { files::write_atomic_locked(&path, |_| Ok(())) } else { Ok(()) }
}

/// Errors: there is a run, and it is not to be overwritten.
pub fn refuse_a_run(folder: &Path, overwrite: bool) -> Result<()> {
    if overwrite || !Run::path(folder).exists() {
        return Ok(());
    }
    let folder = folder.display();
    Err(Error::usage(format!("there is a run in {folder} already")).with_help(format!(
        "go on with --resume {folder}, replace it with --overwrite, or name another with --run NAME"
    )))
}

/// Takes `folder` and clears away what an earlier training left there, run.toml first, so that no mixture looks like a
/// run. Whether there is a run is asked again: another process can have made one while the engine was opened. `events` is
/// where its event files go.
pub fn clear(folder: &Path, overwrite: bool, events: Option<&Path>) -> Result<Occupied> {
    fs::create_dir_all(folder).map_err(|e| Error::io("cannot create the folder", folder, e))?;
    let occupied = occupied::occupy(folder)?;
    refuse_a_run(folder, overwrite)?;
    let mut old = vec![Run::path(folder), checkpoint::last_path(folder), checkpoint::best_path(folder)];
    old.extend([history::path(folder), history::table_path(folder), history::steps_path(folder)]);
    old.iter().try_for_each(|path| files::remove_if_there(path))?;
    checkpoint::forget_evaluations(folder)?;
    tensorboard::clear(folder)?;
    if let Some(events) = events.filter(|_| overwrite) {
        tensorboard::clear(events)?; // elsewhere, what is not to be overwritten is somebody's
    }
    Ok(occupied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::training::run::Data;

    #[test]
    fn a_run_that_came_while_the_engine_was_opened_stays() -> Result<()> {
        let folder = tempfile::tempdir().map_err(|e| Error::io("cannot create", "a folder", e))?;
        let folder = folder.path();
        refuse_a_run(folder, false)?; // none is there yet
        files::write_toml(&Run::path(folder), &Data::default())?;
        assert_eq!(clear(folder, false, None).expect_err("a run").kind(), Kind::Usage);
        assert!(Run::path(folder).exists());
        drop(clear(folder, true, None)?);
        assert!(!Run::path(folder).exists());
        Ok(())
    }
}
