//! What a training does to the run that is in its folder, driven through the library, where a signal comes exactly when
//! it should and another process is a lock that is held.

use std::fs;
use std::path::Path;

use vggkit::engines::{Choice, Target};
use vggkit::error::{Kind, Result};
use vggkit::training::changes::Changes;
use vggkit::training::occupied;
use vggkit::training::packs::Packs;
use vggkit::training::session::{Options, Session};
use vggkit::training::stop::Stop;

use crate::{data, ok, resume, settings, train};

fn options() -> Options {
    Options {
        engine: Target { choice: Choice::Cpu, ..Target::default() },
        threads: 1,
        checkpoint_every: 0,
        log_steps: false,
        tensorboard: None,
        command: String::new(),
        ranks: None,
    }
}

/// A new training in the place of `run` and like it.
fn replace(run: &Path, stop: &Stop, options: Options) -> Result<Session> {
    let settings = settings(run);
    let packs = Packs::open(data(), "train", "val")?;
    Session::new(run.to_owned(), &settings.network, &settings.training, &packs, true, options, stop)
}

/// All files of a run with their bytes.
fn content(run: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(run).expect("a run").map(|entry| entry.expect("an entry"));
    let mut files: Vec<_> = entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("a file")))
        .collect();
    files.sort();
    files
}

#[test]
fn a_signal_before_the_training_begins_leaves_the_old_run() {
    let runs = tempfile::tempdir().expect("a folder");
    let run = runs.path().join("demo-a");
    ok(train(runs.path(), "demo-a", &["-e", "1"]));
    let before = content(&run);
    let stop = Stop::default();
    stop.request(2);
    let error = replace(&run, &stop, options()).err().expect("stopped");
    assert_eq!(error.kind(), Kind::Interrupted(2), "{error}");
    assert!(content(&run) == before, "the run was touched");
    assert!(replace(&run, &Stop::default(), options()).is_ok());
    assert!(content(&run) != before);
}

#[test]
fn a_step_log_that_was_asked_for_is_written_after_a_kill_before_the_first_step() {
    let runs = tempfile::tempdir().expect("a folder");
    let run = runs.path().join("demo-a");
    ok(train(runs.path(), "demo-a", &["-e", "1"]));
    let begun = replace(&run, &Stop::default(), Options { log_steps: true, ..options() });
    drop(begun.expect("a training")); // all that a kill would leave
    ok(resume(runs.path(), "demo-a", &["--max-steps", "2"]));
    assert_eq!(fs::read_to_string(run.join("steps.jsonl")).expect("a log").lines().count(), 2);
}

#[test]
fn settings_are_read_when_no_other_training_can_replace_them() {
    let runs = tempfile::tempdir().expect("a folder");
    let run = runs.path().join("demo-a");
    ok(train(runs.path(), "demo-a", &["-e", "1"]));
    let other = occupied::occupy(&run).expect("a free folder");
    fs::write(run.join("run.toml"), "half of it").expect("written"); // so that reading it is what fails
    let resumed =
        || Session::resume(run.clone(), None, &Changes::default(), options()).err().expect("an error").to_string();
    assert!(resumed().contains("another process is training there"), "{}", resumed());
    drop(other);
    assert!(resumed().contains("run.toml"), "{}", resumed());
}
