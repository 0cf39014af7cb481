//! Training through the command line, with tiny networks (width 0.05 at 32x32 pixels) on a demo set of few images.

mod again;
mod averaging;
mod config;
mod cut_packs;
mod distilled;
mod exactness;
mod find_lr;
mod growing;
mod image_files;
#[cfg(unix)]
mod odd_places;
mod outcomes;
mod own_images;
mod predicting;
mod ranks;
mod replacing;
mod same_data;
mod selection;
mod streams;
mod tensorboard;
mod transfer;
mod updates;
mod use_of_runs;
mod writing;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;
use vggkit::training::checkpoint;
use vggkit::training::history::Epoch;
use vggkit::training::run::Run;

/// A demo set with 3 classes of 9 train images each, made once.
pub fn data() -> &'static Path {
    static DATA: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    &DATA
        .get_or_init(|| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("data");
            let mut prepare = vggkit(&["prepare", "--demo", "--quiet", "--classes", "3", "--per-class", "9", "--data"]);
            prepare.arg(&path);
            ok(prepare);
            (folder, path.join("demo"))
        })
        .1
}

/// The binary with these arguments.
pub fn vggkit(arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Adds the data set and the folder of the runs.
pub fn on(mut command: Command, runs: &Path) -> Command {
    command.arg("--data").arg(data()).arg("--runs").arg(runs);
    command
}

/// `vggkit train` of run `name` with the tiny network and `more` flags.
pub fn train(runs: &Path, name: &str, more: &[&str]) -> Command {
    let tiny = ["--width", "0.05", "-i", "32", "-b", "8", "--augment", "crop"];
    let mut command = vggkit(&["train", "--quiet", "--engine", "cpu", "--run", name]);
    command.args(tiny).args(more);
    on(command, runs)
}

/// `vggkit train --resume`.
pub fn resume(runs: &Path, name: &str, more: &[&str]) -> Command {
    let mut command = vggkit(&["train", "--quiet", "--engine", "cpu", "--resume", name]);
    command.args(more).arg("--runs").arg(runs);
    command
}

/// Runs a command that must succeed; its standard output.
pub fn ok(mut command: Command) -> String {
    let output = command.output().expect("the command runs");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command that must fail with `code`; its standard error.
pub fn fails(mut command: Command, code: i32) -> String {
    let output = command.output().expect("the command runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{error}");
    error
}

/// Settings of a run.
pub fn settings(run: &Path) -> Run {
    Run::load(run).expect("run.toml")
}

/// Where `last.safetensors` of a run stands; fails on a checkpoint that does not load.
pub fn step_of(run: &Path) -> u64 {
    let settings = settings(run);
    let plan = settings.network.plan().expect("a network");
    let loaded = checkpoint::load(&checkpoint::last_path(run), &plan, Some(&settings.training.optimizer));
    loaded.expect("a checkpoint that loads").progress.step
}

/// The lines of `history.jsonl`.
pub fn history(run: &Path) -> Vec<Epoch> {
    let text = fs::read_to_string(run.join("history.jsonl")).expect("history");
    text.lines().map(|line| serde_json::from_str(line).expect("an epoch")).collect()
}
