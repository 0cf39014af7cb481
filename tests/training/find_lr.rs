//! `--find-lr`: what it shows, and that it leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{data, fails, ok, vggkit};

/// The range test on the demo data, with runs below `folder`.
fn find(folder: &Path, more: &[&str]) -> Command {
    let mut command = vggkit(&["train", "--find-lr", "--engine", "cpu", "--width", "0.05", "-i", "32", "-b", "8"]);
    command.arg("--data").arg(data()).arg("--runs").arg(folder.join("runs")).args(more);
    command
}

#[test]
fn a_learning_rate_is_found_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = ok(find(folder.path(), &["--max-steps", "60"]));
    assert!(text.contains("rate") && text.contains("loss") && text.contains('█'), "{text}");
    let json = ok(find(folder.path(), &["--max-steps", "60", "--json"]));
    assert_eq!(json, ok(find(folder.path(), &["--max-steps", "60", "--json", "--threads", "1"])), "the same bits");
    let found: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(found["schema"], "vggkit/find-lr/1");
    let points = found["points"].as_array().expect("points");
    let rates: Vec<f64> = points.iter().map(|point| point["rate"].as_f64().expect("a rate")).collect();
    assert!(points.len() <= 60 && rates.is_sorted() && (rates[0] / 1e-6 - 1.0).abs() < 1e-9, "{rates:?}");
    // Adam on separable shapes learns somewhere between a rate that does nothing and one that ruins.
    let suggestion = found["suggestion"].as_f64().expect("a suggestion");
    assert!((1e-5..1.0).contains(&suggestion), "{suggestion}");
    assert!(fs::read_dir(folder.path()).expect("a folder").next().is_none(), "nothing is written");
    assert!(fails(find(folder.path(), &["--max-steps", "3"]), 2).contains("at least 20 steps"));
    assert!(fails(find(folder.path(), &["--all"]), 2).contains("--all"));
    assert!(fails(find(folder.path(), &["--distill", "a"]), 2).contains("--distill none"));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = find(folder.path(), &["--max-steps", "100000"]);
    let child = command.stderr(std::process::Stdio::piped()).spawn().expect("the command runs");
    std::thread::sleep(std::time::Duration::from_secs(2));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    let output = child.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("nothing was written"), "{told}");
    assert!(fs::read_dir(folder.path()).expect("a folder").next().is_none(), "nothing is written");
}
