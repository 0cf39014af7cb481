//! Checkpoints are written while the training goes on: shown with a pipe in the place of a file, which is written only as
//! fast as somebody reads it, and by the trace of what happened when.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{fails, history, ok, on, settings, step_of, train, vggkit};

/// 27 images in batches of 2.
const STEPS: usize = 14;

/// A training of three epochs.
fn begin(runs: &Path, name: &str, engine: &[&str], more: &[&str]) {
    let mut command = vggkit(&["train", "--quiet", "--run", name, "--width", "0.05", "-i", "32", "-b", "2"]);
    command.args(["-e", "3", "-es", "0", "--log-steps"]).args(engine).args(more);
    command.env("VGGKIT_CACHE", runs.join("cache"));
    ok(on(command, runs));
}

/// A run after its first step, in the place of whose best.safetensors is a pipe.
fn with_a_pipe(runs: &Path, name: &str, engine: &[&str]) {
    begin(runs, name, engine, &["--max-steps", "1"]);
    let best = runs.join(name).join("best.safetensors");
    fs::remove_file(&best).expect("there is one");
    assert!(Command::new("mkfifo").arg(&best).status().expect("mkfifo").success());
}

fn resumed(runs: &Path, name: &str, engine: &[&str], trace: &Path) -> Child {
    let mut command = vggkit(&["train", "--quiet", "--resume", name, "--trace"]);
    command.arg(trace).arg("--runs").arg(runs).args(engine).env("VGGKIT_CACHE", runs.join("cache"));
    command.stderr(Stdio::piped()).spawn().expect("starts")
}

fn lines(log: &Path) -> usize {
    fs::read_to_string(log).map_or(0, |text| text.lines().count())
}

/// Waits for `condition`; the child must not end before.
fn wait(child: &mut Child, what: &str, condition: impl Fn() -> bool) {
    let patience = Instant::now();
    while !condition() {
        assert!(patience.elapsed() < Duration::from_secs(120), "{what} does not happen");
        assert!(child.try_wait().expect("a child").is_none(), "it ended before {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Spans of a trace by their name: begin, end, and the step that they are of.
fn spans(trace: &Path, name: &str) -> Vec<(f64, f64, Option<u64>)> {
    let text = fs::read_to_string(trace).expect("a trace");
    let events: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let number = |event: &Value, key: &str| event[key].as_f64().expect("a number");
    let found = events.iter().filter(|e| e["ph"] == "X" && e["name"] == name);
    found.map(|e| (number(e, "ts"), number(e, "ts") + number(e, "dur"), e["args"]["step"].as_u64())).collect()
}

fn steps_go_on(engine: &[&str]) {
    let runs = tempfile::tempdir().expect("a folder");
    let (run, trace) = (runs.path().join("demo-a"), runs.path().join("trace.json"));
    with_a_pipe(runs.path(), "demo-a", engine);
    let mut child = resumed(runs.path(), "demo-a", engine, &trace);
    // Nobody reads the pipe, so the checkpoint of epoch 1 is not written; and yet epoch 2 is trained to its end.
    wait(&mut child, "the second epoch", || lines(&run.join("steps.jsonl")) == 2 * STEPS);
    assert_eq!((step_of(&run), lines(&run.join("history.jsonl"))), (1, 0), "the checkpoint was not written");
    let mut pipe = File::open(run.join("best.safetensors")).expect("a pipe");
    fs::remove_file(run.join("best.safetensors")).expect("removed"); // later ones are files again
    let mut best = Vec::new();
    pipe.read_to_end(&mut best).expect("a checkpoint");
    safetensors::SafeTensors::deserialize(&best).expect("a whole one");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((step_of(&run), history(&run).len()), (3 * STEPS as u64, 3));

    let writes = spans(&trace, "write best.safetensors");
    let (begun, ended, _) = *writes.first().expect("a best network");
    let within = |&(from, to, _): &(f64, f64, _)| begun < from && to < ended;
    // All but those that were done before the other thread had come that far.
    let steps: Vec<u64> = spans(&trace, "step").into_iter().filter(within).filter_map(|(_, _, step)| step).collect();
    assert!(
        steps.contains(&(2 * STEPS as u64)) && steps.iter().all(|step| *step > STEPS as u64),
        "{steps:?} in {writes:?}"
    );
    let checkpoints = spans(&trace, "checkpoint");
    assert!(checkpoints.windows(2).all(|two| two[0].1 <= two[1].0), "one at a time: {checkpoints:?}");
}

#[cfg(unix)]
#[test]
fn steps_go_on_while_a_checkpoint_is_written() {
    steps_go_on(&["--engine", "cpu"]);
}

#[cfg(unix)]
#[test]
fn steps_go_on_while_a_checkpoint_is_written_on_a_gpu() {
    steps_go_on(&["--engine", "gpu", "--adapter", "llvmpipe"]);
}

#[cfg(unix)]
#[test]
fn a_checkpoint_that_fails_ends_the_training_and_leaves_the_one_before() {
    let runs = tempfile::tempdir().expect("a folder");
    let (run, trace) = (runs.path().join("demo-a"), runs.path().join("trace.json"));
    begin(runs.path(), "demo-whole", &["--engine", "cpu"], &[]);
    with_a_pipe(runs.path(), "demo-a", &["--engine", "cpu"]);
    let mut child = resumed(runs.path(), "demo-a", &["--engine", "cpu"], &trace);
    wait(&mut child, "the second epoch", || lines(&run.join("steps.jsonl")) == 2 * STEPS);
    // Whoever reads goes away: the rest cannot be written.
    drop(File::open(run.join("best.safetensors")).expect("a pipe"));
    let output = child.wait_with_output().expect("ends");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("cannot write") && told.contains("best.safetensors"), "{told}");
    assert_eq!((step_of(&run), lines(&run.join("history.jsonl"))), (1, 0));
    assert_eq!(lines(&run.join("steps.jsonl")), 2 * STEPS, "it went on after the failure");
    assert_eq!(settings(&run).origin.stopped_by, "error");

    // The same of last.safetensors, ahead of which best and history have been written.
    fs::remove_file(run.join("best.safetensors")).expect("removed");
    let partial = run.join(".last.safetensors.partial");
    fs::create_dir(&partial).expect("a folder in its way");
    let mut again = vggkit(&["train", "--quiet", "--engine", "cpu", "--resume", "demo-a", "--runs"]);
    again.arg(runs.path());
    let told = fails(again, 1);
    assert!(told.contains(".last.safetensors.partial"), "{told}");
    assert_eq!((step_of(&run), history(&run).len()), (1, 1));

    // And what is left goes on to the bits of a training that nothing happened to.
    fs::remove_dir(&partial).expect("removed");
    let mut again = vggkit(&["train", "--quiet", "--engine", "cpu", "--resume", "demo-a", "--runs"]);
    again.arg(runs.path());
    ok(again);
    assert!(crate::exactness::fingerprint(&run) == crate::exactness::fingerprint(&runs.path().join("demo-whole")));
}

#[test]
fn a_trace_that_cannot_be_written_is_told_before_anything_is_done() {
    let runs = tempfile::tempdir().expect("a folder");
    let nowhere = runs.path().join("nowhere").join("trace.json");
    let error = fails(train(runs.path(), "demo-a", &["--trace", &nowhere.to_string_lossy()]), 1);
    assert!(error.contains("cannot write") && error.contains("trace.json"), "{error}");
    assert!(!runs.path().join("demo-a").exists());
}
