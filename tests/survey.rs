//! `vggkit survey` at a small size on a software adapter: its files, its README, and that what is there is not done again.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn vggkit(folder: &Path, line: &str) -> Output {
    Command::new(assert_cmd::cargo::cargo_bin!("vggkit"))
        .args(line.split_whitespace())
        .current_dir(folder)
        .env("VGGKIT_CACHE", folder.join("cache"))
        .output()
        .expect("the binary runs")
}

#[test]
fn a_survey_leaves_what_it_measured_and_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    assert!(vggkit(folder, "prepare --demo --quiet --classes 3 --per-class 9").status.success());
    let out = folder.join("survey");
    std::fs::create_dir(&out).expect("a folder");
    // Another test runs the whole selftest.
    std::fs::write(out.join("selftest.json"), r#"{"passed": 3, "failed": 0, "seconds": 1.0}"#).expect("written");
    let line = "survey --adapter llvmpipe --width 0.05 -i 32 -b 2 --seconds 1 --data data/demo \
                -- -d 11 --width 0.05 -i 32 -b 8 -e 2";
    let first = vggkit(folder, line);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    for name in ["devices.json", "bench-train.json", "bench-infer.json", "README.md", "demo-run/evaluation.json"] {
        assert!(out.join(name).exists(), "{name}");
    }
    let bench: Value =
        serde_json::from_slice(&std::fs::read(out.join("bench-train.json")).expect("read")).expect("JSON");
    assert_eq!(bench["networks"].as_array().expect("networks").len(), 5);
    assert!(bench["networks"][4]["images_per_s"].as_f64().expect("a rate") > 0.0);
    let readme = || std::fs::read_to_string(out.join("README.md")).expect("a README");
    for expected in ["3 checks passed", "| VGG-19, width 0.05 |", "| 2 |", "Best weights on val", "llvmpipe"] {
        assert!(readme().contains(expected), "{expected} is not in\n{}", readme());
    }
    let stages = || std::fs::read_to_string(out.join("stages.jsonl")).expect("stages").lines().count();
    assert_eq!(stages(), 5, "devices, two benches, train, evaluate");
    let second = vggkit(folder, line);
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(stages(), 6, "only the evaluation is done again");
}

#[test]
fn a_stage_that_fails_is_told_and_does_not_stop_the_rest() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    assert!(vggkit(folder, "prepare --demo --quiet --classes 3 --per-class 9").status.success());
    let failed = vggkit(folder, "survey --adapter nothing-like-it --seconds 1 --data data/demo");
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("no adapter"), "{failed:?}");
    let readme = std::fs::read_to_string(folder.join("survey/README.md")).expect("a README");
    assert!(readme.contains("Selftest: not done") && readme.contains("| train |"), "{readme}");
}

#[test]
fn a_stage_that_failed_is_done_again_whatever_file_it_left() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    assert!(vggkit(folder, "prepare --demo --quiet --classes 3 --per-class 9").status.success());
    let out = folder.join("survey");
    std::fs::create_dir(&out).expect("a folder");
    let stage = |name: &str, exit_code: i32| {
        format!(r#"{{"name":"{name}","command":"","exit_code":{exit_code},"seconds":1.0,"time":""}}"#) + "\n"
    };
    for name in ["devices", "selftest", "bench-train", "bench-infer"] {
        std::fs::write(out.join(format!("{name}.json")), "{}").expect("written");
    }
    // The first attempt at devices failed and the second did not; that of the benchmark was killed while it wrote.
    let before = stage("devices", 1) + &stage("devices", 0) + &stage("selftest", 1) + &stage("bench-train", 0);
    std::fs::write(out.join("stages.jsonl"), before.clone() + "{\"name\":\"ben").expect("written");
    assert_eq!(vggkit(folder, "survey --adapter nothing-like-it --data data/demo").status.code(), Some(1));
    let after = std::fs::read_to_string(out.join("stages.jsonl")).expect("stages");
    let added = after.strip_prefix(&before).expect("the whole lines stay");
    let names: Vec<Value> =
        added.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["name"].clone()).collect();
    assert_eq!(names, ["selftest", "train"]);
    let readme = std::fs::read_to_string(out.join("README.md")).expect("a README");
    assert!(readme.contains("| bench-train | 1 | 0 |"), "{readme}");
}
