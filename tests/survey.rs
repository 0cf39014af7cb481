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
                --only devices,vgg11,train,evaluate -- -d 11 --width 0.05 -i 32 -b 8 -e 2";
    let first = vggkit(folder, line);
    let said = String::from_utf8_lossy(&first.stderr);
    assert!(first.status.success(), "{said}");
    for expected in ["7 of 7 stages to do, about", "2/7 bench-train-vgg11, about 14 s: vggkit bench", "train took "] {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
    let benches = ["bench-train-vgg11", "bench-train-vgg11-f16", "bench-infer-vgg11", "bench-infer-vgg11-f16"];
    for name in ["devices.json", "README.md", "demo-run/evaluation.json"].map(str::to_owned) {
        assert!(out.join(&name).exists(), "{name}");
    }
    for name in benches {
        let file = std::fs::read(out.join(format!("{name}.json"))).expect("read");
        let bench: Value = serde_json::from_slice(&file).expect("JSON");
        assert!(bench["networks"][0]["images_per_s"].as_f64().expect("a rate") > 0.0);
        assert_eq!(bench["precision"], if name.ends_with("f16") { "f16" } else { "f32" });
        assert_eq!(bench["networks"][0]["rounds"].as_array().map(Vec::len), Some(2));
    }
    let readme = || std::fs::read_to_string(out.join("README.md")).expect("a README");
    for expected in
        ["3 checks passed", "## Training, 2 images a step", "## Inference, 2 images a step", "| f32 | f16 |"]
    {
        assert!(readme().contains(expected), "{expected} is not in\n{}", readme());
    }
    for expected in ["| VGG-11, width 0.05 | f16 |", "| 2 |", "Best weights on val", "llvmpipe", "--precision f16"] {
        assert!(readme().contains(expected), "{expected} is not in\n{}", readme());
    }
    let stages = || std::fs::read_to_string(out.join("stages.jsonl")).expect("stages").lines().count();
    assert_eq!(stages(), 7, "devices, four benches, train, evaluate");
    let second = vggkit(folder, &line.replace(" --only", " --before survey --only"));
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(stages(), 7, "nothing is done again");
    for expected in ["Before: llvmpipe", "| f32 / before | f16 / before |", "| 1.00 | 1.00 |"] {
        assert!(readme().contains(expected), "{expected} is not in\n{}", readme());
    }
}

#[test]
fn a_budget_ends_a_survey_and_says_what_is_left() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let line = "survey --engine cpu --width 0.05 -i 32 -b 2 --seconds 40 --minutes 1 --only devices,vgg11";
    let output = vggkit(folder.path(), line);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let left = "left: 2 stages from bench-train-vgg11 on, about 3 min; the same command goes on there";
    assert!(said.contains("3 of 3 stages to do, about 3 min") && said.contains(left), "{said}");
    let readme = std::fs::read_to_string(folder.path().join("survey/README.md")).expect("a README");
    assert!(readme.contains("| devices |") && !readme.contains("bench"), "{readme}");
}

#[test]
fn words_that_name_nothing_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (line, said) in [
        ("survey --engine cpu --only selftest", "--only leaves no stage"),
        ("survey --engine cpu --only bench --before nowhere", "nowhere: holds no result of a benchmark"),
        ("survey --engine cpu --only train", "vggkit prepare"),
    ] {
        let output = vggkit(folder.path(), line);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(said), "{line}: {text}");
        assert!(!folder.path().join("survey").exists(), "{line}");
    }
}

#[test]
#[cfg(unix)]
fn a_signal_keeps_what_a_stage_had_and_the_next_call_does_it_again() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let python = folder.join("python");
    // Says that it has PyTorch, and answers one question of two.
    let script = |second: &str| {
        format!(
            "#!/bin/sh\necho '{{\"version\": \"9\", \"device\": \"cpu\"}}'\nwhile read -r line; do\n\
             case $line in *contiguous*) {second} ;; esac\necho '{{\"images_per_s\": 5, \"memory_bytes\": 1}}'\ndone\n"
        )
    };
    std::fs::write(&python, script("touch waits; exec sleep 600")).expect("written");
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let line =
        "survey --engine cpu --threads 2 --width 0.05 -i 32 -b 2 --seconds 1 --only train-vgg11 --pytorch ./python";
    let child = Command::new(assert_cmd::cargo::cargo_bin!("vggkit"))
        .args(line.split_whitespace())
        .current_dir(folder)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let begun = std::time::Instant::now();
    while !folder.join("waits").exists() {
        assert!(begun.elapsed().as_secs() < 120, "the second question is never asked");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs").success());
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("stopped by a signal in bench-train-vgg11; what there is is in survey"), "{said}");
    let result = || -> Value {
        let file = std::fs::read(folder.join("survey/bench-train-vgg11.json")).expect("kept");
        serde_json::from_slice(&file).expect("JSON")
    };
    assert_eq!(result()["networks"][0]["pytorch"][0]["images_per_s"], 5.0);
    let readme = || std::fs::read_to_string(folder.join("survey/README.md")).expect("a README");
    assert!(readme().contains("`bench-train-vgg11.json` is not whole: stopped by a signal"), "{}", readme());
    std::fs::write(&python, script("true")).expect("written");
    let again = vggkit(folder, line);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(result()["partial"], Value::Null);
    let peer = "| PyTorch float32 | f32 / float32 |";
    assert!(readme().contains(peer) && readme().contains("| 5.0, ") && !readme().contains("not whole"), "{}", readme());
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
    for name in ["devices", "selftest", "bench-train-vgg11", "bench-infer-vgg11"] {
        std::fs::write(out.join(format!("{name}.json")), "{}").expect("written");
    }
    // The first attempt at devices failed and the second did not; that of the benchmark was killed while it wrote.
    let before = stage("devices", 1) + &stage("devices", 0) + &stage("selftest", 1) + &stage("bench-train-vgg11", 0);
    std::fs::write(out.join("stages.jsonl"), before.clone() + "{\"name\":\"ben").expect("written");
    assert_eq!(
        vggkit(folder, "survey --adapter nothing-like-it --data data/demo --only devices,selftest,vgg11,train")
            .status
            .code(),
        Some(1)
    );
    let after = std::fs::read_to_string(out.join("stages.jsonl")).expect("stages");
    let added = after.strip_prefix(&before).expect("the whole lines stay");
    let names: Vec<Value> =
        added.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["name"].clone()).collect();
    assert_eq!(names, ["selftest", "train"]);
    let readme = std::fs::read_to_string(out.join("README.md")).expect("a README");
    assert!(readme.contains("| bench-train-vgg11 | 1 | 0 |"), "{readme}");
}
