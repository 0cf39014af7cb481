//! `mpirun -n N vggkit train`: to the bits of one process, and what ends it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{self, Pid, Signal};
use tempfile::TempDir;

use super::launch::{Ended, Started, start};
use super::{SOON, named};

/// Seconds that a rank may give no sign of life.
const PATIENCE: u64 = 4;

/// A demo set, made once.
pub fn data() -> &'static Path {
    static DATA: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    &DATA
        .get_or_init(|| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("data");
            prepare(&path, "9");
            let demo = path.join("demo");
            (folder, demo)
        })
        .1
}

fn prepare(path: &Path, images: &str) {
    let mut prepare = Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
    prepare.args(["prepare", "--demo", "--quiet", "--classes", "3", "--per-class", images, "--data"]).arg(path);
    assert!(prepare.status().expect("it runs").success());
}

/// `vggkit train` with a tiny network and `more` flags: by itself, or on `ranks` ranks.
fn train(runs: &Path, ranks: Option<usize>, more: &[&str]) -> Command {
    let vggkit = assert_cmd::cargo::cargo_bin!("vggkit");
    let mut command = match ranks {
        None => Command::new(vggkit),
        Some(ranks) => {
            let mut mpirun = Command::new("mpirun");
            mpirun.args(["--oversubscribe", "-n", &ranks.to_string()]).arg(vggkit);
            mpirun.env("OMPI_MCA_odls_base_sigkill_timeout", "5").env("VGGKIT_PATIENCE", PATIENCE.to_string());
            mpirun
        }
    };
    command.args(["train", "--engine", "cpu", "--threads", "1", "--quiet"]).args(more);
    command.arg("--runs").arg(runs).stdin(Stdio::null());
    command
}

pub const TINY: [&str; 8] = ["--width", "0.05", "-i", "32", "-b", "8", "--augment", "crop"];

fn new(runs: &Path, ranks: Option<usize>, name: &str, more: &[&str]) -> Command {
    let mut command = train(runs, ranks, &[&TINY, &["--run", name][..], more].concat());
    command.arg("--data").arg(data());
    command
}

fn ok(command: Command) -> Ended {
    let ended = start(command).wait();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended
}

/// Losses of each epoch of a run: of training and of validation.
pub fn history(run: &Path) -> Vec<f64> {
    let text = fs::read_to_string(run.join("history.jsonl")).expect("a history");
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    lines.flat_map(|line| ["train_loss", "val_loss"].map(|name| line[name].as_f64().expect("a number"))).collect()
}

/// The numbers of a checkpoint, without what is said of them.
pub fn numbers(run: &Path) -> Vec<u8> {
    let bytes = fs::read(run.join("last.safetensors")).expect("a checkpoint");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    bytes[8 + header..].to_vec()
}

#[test]
fn any_number_of_ranks_trains_to_the_bits_of_one_process() {
    let runs = tempfile::tempdir().expect("a folder");
    for more in [&["--no-batch-norm", "--dropout", "0.5"][..], &["--sync-batch-norm"], &[]] {
        let flags = [&["-e", "2", "--micro-batch", "2", "--overwrite"], more].concat();
        ok(new(runs.path(), None, "demo-alone", &flags));
        for ranks in [2, 4] {
            ok(new(runs.path(), Some(ranks), "demo-ranks", &flags));
            let [alone, found] = ["demo-alone", "demo-ranks"].map(|name| numbers(&runs.path().join(name)));
            assert!(alone == found, "{ranks} ranks, {more:?}");
        }
    }
}

/// A training that goes on for long, once it has written something.
fn under_way(runs: &Path) -> Started {
    let flags = ["-e", "100000", "-es", "0", "--micro-batch", "4", "--checkpoint-every", "5"];
    let started = start(new(runs, Some(3), "demo-ranks", &flags));
    // A training that prints much would wait for mpirun, which reads nothing while it waits for the end of its ranks.
    started.wait_until("three epochs", || epochs(runs) >= 3);
    started
}

/// The run goes on by itself with the bits that it would have had.
fn goes_on(runs: &Path) {
    let run = runs.join("demo-ranks");
    let epochs = (epochs(runs) + 2).to_string();
    ok(train(runs, None, &["--resume", "demo-ranks", "-e", &epochs]));
    ok(new(runs, None, "demo-alone", &["-e", &epochs, "-es", "0", "--micro-batch", "4", "--overwrite"]));
    assert!(numbers(&run) == numbers(&runs.join("demo-alone")), "{epochs} epochs");
}

#[test]
fn ctrl_c_saves_once_and_the_run_goes_on() {
    let runs = tempfile::tempdir().expect("a folder");
    let started = under_way(runs.path());
    started.signal(Signal::INT);
    let ended = started.wait();
    assert_ne!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(ended.output.matches("stopped by a signal").count(), 1, "{ended:#?}");
    goes_on(runs.path());
}

#[test]
fn a_rank_that_is_killed_ends_all_and_the_checkpoint_stays_whole() {
    let runs = tempfile::tempdir().expect("a folder");
    let started = under_way(runs.path());
    signal(started.children()[2], Signal::KILL);
    let ended = started.wait();
    assert_ne!(ended.code, Some(0), "{ended:#?}");
    // mpirun names the rank and the signal at its end; the wait of ten seconds that `train` asks it for is told of before.
    assert!(ended.output.contains("signal 9"), "{ended:#?}");
    assert_eq!(told(&ended), [format!("error: {} ended without a word: it was killed, or crashed", named(2))]);
    goes_on(runs.path());
}

#[test]
fn a_rank_that_is_killed_ends_all_within_seconds_where_mpirun_does_nothing() {
    let runs = tempfile::tempdir().expect("a folder");
    let started = under_way(runs.path());
    let ranks = started.children();
    signal(Pid::from_raw(started.id() as i32).expect("a process"), Signal::STOP);
    signal(ranks[1], Signal::KILL);
    let begun = Instant::now();
    started.wait_until("end of all ranks", || !ranks.iter().any(|rank| runs_still(*rank)));
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    started.signal(Signal::CONT);
    let ended = started.wait();
    assert_ne!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(told(&ended), [format!("error: {} ended without a word: it was killed, or crashed", named(1))]);
    goes_on(runs.path());
}

#[test]
fn a_rank_that_is_stopped_is_named_by_another_and_ends_all() {
    let runs = tempfile::tempdir().expect("a folder");
    let started = under_way(runs.path());
    let begun = Instant::now();
    signal(started.children()[1], Signal::STOP);
    let ended = started.wait();
    assert!(begun.elapsed() < 2 * SOON, "{:?}", begun.elapsed());
    assert_ne!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(told(&ended), [format!("error: {} has given no sign of life for {PATIENCE} s", named(1))]);
    goes_on(runs.path());
}

#[test]
fn ranks_that_were_all_stopped_go_on_and_so_do_those_of_which_one_was_for_a_moment() {
    let runs = tempfile::tempdir().expect("a folder");
    let started = under_way(runs.path());
    let ranks = started.children();
    for (stopped, seconds) in [(&ranks[..], PATIENCE + 4), (&ranks[1..2], 2)] {
        stopped.iter().for_each(|rank| signal(*rank, Signal::STOP));
        thread::sleep(Duration::from_secs(seconds));
        stopped.iter().for_each(|rank| signal(*rank, Signal::CONT));
        let epochs = epochs(runs.path());
        started.wait_until("another epoch", || self::epochs(runs.path()) > epochs + 1);
    }
    thread::sleep(Duration::from_secs(2 * PATIENCE));
    started.signal(Signal::INT);
    let ended = started.wait();
    assert_eq!(ended.output.matches("stopped by a signal").count(), 1, "{ended:#?}");
    assert!(!ended.output.contains("sign of life"), "{ended:#?}");
    goes_on(runs.path());
}

/// What ranks say went wrong.
fn told(ended: &Ended) -> Vec<&str> {
    ended.output.lines().filter(|line| line.starts_with("error:")).collect()
}

fn signal(rank: Pid, signal: Signal) {
    process::kill_process(rank, signal).expect("it runs");
}

/// Whether a process runs, or could; one that has ended stays in the list until its parent looks.
fn runs_still(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z')))
}

/// Epochs that are done.
fn epochs(runs: &Path) -> usize {
    fs::read_to_string(runs.join("demo-ranks/history.jsonl")).map_or(0, |text| text.lines().count())
}

#[test]
fn a_training_that_diverges_is_told_once() {
    let runs = tempfile::tempdir().expect("a folder");
    let flags = ["-e", "5", "-lr", "1e30", "--optimizer", "sgd", "--no-batch-norm"];
    let ended = start(new(runs.path(), Some(3), "demo-ranks", &flags)).wait();
    assert_ne!(ended.code, Some(0), "{ended:#?}");
    let told = told(&ended);
    assert!(told.len() == 1 && told[0].contains("rank 0"), "{ended:#?}");
}

#[test]
fn a_rank_with_other_data_is_named() {
    let runs = tempfile::tempdir().expect("a folder");
    let other = runs.path().join("other");
    prepare(&other, "8");
    let mut command = new(runs.path(), Some(1), "demo-ranks", &["-e", "1"]);
    command.args([":", "-n", "1"]).arg(assert_cmd::cargo::cargo_bin!("vggkit"));
    command.args(["train", "--engine", "cpu", "--quiet", "--data"]).arg(other.join("demo"));
    let ended = start(command).wait();
    assert_ne!(ended.code, Some(0), "{ended:#?}");
    let told = told(&ended);
    assert!(told.len() == 1 && told[0].contains("rank 1") && told[0].contains("another data set"), "{ended:#?}");
}
