//! Trainings whose standard output goes away or cannot be written: the work is in files, so it is done all the same.

use std::fs::File;
use std::process::Stdio;

use crate::{history, on, settings, vggkit};

#[test]
fn a_training_does_not_end_with_the_reader_of_its_lines() {
    let runs = tempfile::tempdir().expect("a folder");
    let train = |name: &str, stdout: Stdio| {
        let tiny = ["--width", "0.05", "-i", "32", "-b", "8", "-e", "2"];
        let mut command = vggkit(&["train", "--engine", "cpu", "--run", name]);
        command.args(tiny).stdout(stdout).stderr(Stdio::piped());
        let output = on(command, runs.path()).output().expect("it runs");
        let run = runs.path().join(name);
        assert_eq!((history(&run).len(), settings(&run).origin.stopped_by.as_str()), (2, "epochs"), "{name}");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let (code, error) = train("demo-a", writer.into());
    assert!(code == Some(0) && !error.contains("error"), "{error}");
    if cfg!(target_os = "linux") {
        let full = File::options().write(true).open("/dev/full").expect("a device");
        let (code, error) = train("demo-b", full.into());
        assert_eq!(code, Some(1), "{error}");
        assert_eq!(error.matches("standard output").count(), 1, "told once: {error}");
    }
}
