//! `vggkit bench` on a CPU: what it tells of a step adds up, and what an earlier result is worth beside it.
#![allow(missing_docs, reason = "a test")]

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    let small = "bench --engine cpu -d 11 --width 0.05 -i 32 -b 3 --seconds 1 --threads 2";
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
    command.args(small.split(' ')).args(arguments).output().expect("it runs")
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn edited(result: &Value, to: &Path, edit: impl Fn(&mut Value)) -> String {
    let mut result = result.clone();
    edit(&mut result);
    fs::write(to, result.to_string()).expect("a file");
    to.to_str().expect("text").to_owned()
}

#[test]
fn shares_add_up_and_an_earlier_result_is_set_beside() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("earlier.json");
    for more in [&["--json"][..], &["--json", "--no-batch-norm"], &["--json", "--mode", "infer"]] {
        let result = json(&bench(more));
        let operations = result["networks"][0]["operations"].as_array().expect("operations");
        let shares: f64 = operations.iter().map(|o| o["share_of_step"].as_f64().expect("a share")).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{more:?}: {shares}");
        let has = |name: &str| operations.iter().any(|o| o["name"] == name);
        let training = !more.contains(&"infer");
        assert!(has("features.0 forward") && has("gather") && has("update") == training, "{more:?}");
        assert!(!has("features.0 input gradient"), "the first layer's input has no gradient");
        // Eight convolutions, four of them pooled: a ReLU alone takes no pass of its own.
        let passes =
            operations.iter().filter(|o| o["name"].as_str().is_some_and(|n| n.ends_with("activation forward")));
        assert_eq!(passes.count(), if more.contains(&"--no-batch-norm") { 4 } else { 8 }, "{more:?}");
    }
    let result = json(&bench(&["--json"]));
    let then = edited(&result, &file, |r| {
        r["device"]["threads"] = 1.into();
        r["precise"] = true.into();
        r["networks"][0]["images_per_s"] = 1e-3.into();
    });
    let now = json(&bench(&["--json", "--compare", &then]));
    let earlier = &now["networks"][0]["earlier"];
    assert_eq!(earlier["otherwise"], serde_json::json!(["threads 1", "--precise"]));
    assert!(earlier["ratio"].as_f64().expect("a ratio") > 1000.0, "{earlier}");
}

#[test]
fn what_cannot_be_compared_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("earlier.json");
    let result = json(&bench(&["--json", "--no-layers"]));
    let compared = |path: &str| {
        let output = bench(&["--no-layers", "--compare", path]);
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    };
    for (part, value, code, said) in [
        ("schema", Value::from("vggkit/describe/1"), 1, "vggkit/bench/1"),
        ("batch_size", 64.into(), 2, "--batch-size 64"),
        ("time", Value::Null, 1, "not a whole result"),
        ("networks", Value::Array(Vec::new()), 0, "has no VGG-11"),
    ] {
        let path = edited(&result, &file, |r| r[part] = value.clone());
        let (status, text) = compared(&path);
        assert!(status == Some(code) && text.contains(said), "{part}: {status:?} {text}");
    }
    let (status, text) = compared("nowhere.json");
    assert!(status == Some(1) && text.contains("bench --json"), "{text}");
}
