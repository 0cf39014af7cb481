//! A pack that another program cuts or writes to while a training reads it.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::{ok, resume, settings, step_of, vggkit};

/// A demo set of its own, to be damaged.
fn prepare(folder: &Path) {
    let mut command = vggkit(&["prepare", "--demo", "--quiet", "--classes", "3", "--per-class", "9"]);
    command.current_dir(folder);
    ok(command);
}

#[cfg(unix)]
#[test]
fn a_pack_that_is_cut_is_named_and_the_training_goes_on_once_it_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    prepare(folder.path());
    let runs = folder.path().join("runs");
    let (run, pack) = (runs.join("demo-a"), folder.path().join("data/demo/packs/train.safetensors"));
    let tiny = ["--width", "0.05", "-i", "32", "-b", "8", "-e", "1000000", "-es", "0", "--data", "data/demo"];
    let mut command = vggkit(&["train", "--quiet", "--engine", "cpu", "--run", "demo-a"]);
    let child = command.args(tiny).current_dir(folder.path()).stderr(Stdio::piped()).spawn().expect("starts");
    let patience = Instant::now();
    // The second epoch's line comes after the checkpoint of the first, which is written while the second goes on.
    while !fs::read_to_string(run.join("history.jsonl")).is_ok_and(|log| log.lines().count() > 1) {
        assert!(patience.elapsed() < Duration::from_secs(120), "the training does not get anywhere");
        std::thread::sleep(Duration::from_millis(2));
    }
    File::options().write(true).open(&pack).and_then(|file| file.set_len(1000)).expect("cut");
    let output = child.wait_with_output().expect("ends");
    let told = String::from_utf8_lossy(&output.stderr);
    // While a step reads it, or ahead of the next epoch.
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("data/demo/packs/train.safetensors: ") && told.contains("in use"), "{told}");
    assert!(told.contains("`vggkit prepare --demo`") && told.contains("--resume"), "{told}");
    let step = step_of(&run);
    assert!(step > 0);
    prepare(folder.path()); // as the message says
    let mut again = resume(&runs, "demo-a", &["--max-steps", &(step + 1).to_string()]);
    again.current_dir(folder.path());
    ok(again);
    assert_eq!((step_of(&run), settings(&run).origin.stopped_by.as_str()), (step + 1, "max steps"));
}
