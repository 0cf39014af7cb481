//! The command line as a person or a script meets it: spellings, suggestions, exit codes, streams.

use assert_cmd::Command;
use predicates::prelude::*;
use serde_json::Value;

const SUBCOMMANDS: [&str; 13] = [
    "prepare", "verify", "describe", "train", "evaluate", "predict", "export", "report", "bench", "tune", "devices",
    "selftest", "survey",
];

/// The binary in an empty folder of its own, so that no data and no run is found.
struct Empty(tempfile::TempDir);

impl Empty {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn vggkit(&self, line: &str) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
        command.current_dir(self.0.path()).args(line.split_whitespace());
        command
    }
}

fn vggkit(line: &str) -> assert_cmd::assert::Assert {
    Empty::new().vggkit(line).assert()
}

fn contains(text: &str) -> predicates::str::ContainsPredicate {
    predicate::str::contains(text)
}

#[test]
fn the_replaced_projects_spelling_is_understood() {
    // With no data to train on, what is understood fails for want of data (1), what is not for its flags (2).
    for line in [
        "train -d 16 -c11 -e 50 -es 5 -b 50",
        "train -t train -v val -d 16 -c11 -e 50 -es 5 -b 50 -i 64 -lr 0.001",
        "train --train data/train --val data/val --depth 16 --conv1_1 --epochs 50 --early_stopping 5 --batchsize 50 --imagesize 64",
        "train -es5 -lr=1e-3 -d11",
        "train -c11 -d 16 --lr 0.1 --patience 0",
    ] {
        vggkit(line).code(1).stderr(contains("vggkit prepare"));
    }
    for (line, part) in [
        ("train -es -1", "a whole number of at least 0; the nearest is 0"),
        ("train -lr 0", "a number above 0"),
        ("train -c11 -d 11", "depth 16 only"),
        ("train -- -es 5", "unexpected argument"),
    ] {
        vggkit(line).code(2).stderr(contains(part));
    }
}

#[test]
fn the_last_of_a_repeated_flag_counts() {
    let output = vggkit("describe -d 11 --depth 13 -d16 --json --json").success().get_output().stdout.clone();
    let description: Value = serde_json::from_slice(&output).expect("one JSON object");
    assert_eq!(description["network"]["depth"], 16);
    // Of the replaced project's spellings too.
    vggkit("train -lr 0.1 -es 2 -lr 0 -es5").code(2).stderr(contains("a number above 0"));
    for line in
        ["prepare --per-class 1 --per-class 0", "verify --near 1 --near 99", "bench -b 1 -b 0", "tune -b 1 -b 0"]
    {
        vggkit(line).code(2).stderr(contains("the nearest is"));
    }
    vggkit("report --out a --out b --json").success().stdout(contains("b/index.html"));
}

#[test]
fn wrong_words_get_the_nearest_right_one() {
    for (line, part) in [
        ("trian", "'train'"),
        ("train --epoch 5", "'--epochs'"),
        ("train --schedule cosin", "'cosine'"),
        ("train -d 17", "choose 11, 13, 16 or 19; the nearest is 16"),
        ("describe -d 12", "the nearest is 11"),
        ("describe --imagesize 20", "the nearest is 32"),
        ("describe --engine tpu", "choose auto, gpu or cpu"),
        ("verify --near 99", "choose from 0 to 10 bits; the nearest is 10"),
        ("verify --near -1", "the nearest is 0"),
        ("prepare --per-class 0", "the nearest is 1"),
        ("prepare --seed -1", "the nearest is 0"),
        ("train -b 99999999999999999999", "this one is too large"),
    ] {
        vggkit(line).code(2).stdout("").stderr(contains(part));
    }
}

#[test]
fn help_and_version_are_results() {
    vggkit("--version").code(0).stdout(contains(env!("CARGO_PKG_VERSION"))).stderr("");
    vggkit("--help").code(0).stdout(contains("vggkit prepare --source").and(contains("Exit codes"))).stderr("");
    for command in SUBCOMMANDS {
        let help = vggkit(&format!("{command} --help")).code(0).stderr("");
        help.stdout(contains("Examples:").and(contains(&format!("  vggkit {command}"))).and(contains("--data <DIR>")));
    }
    let both = ["--conv1_1", "-c11", "--batchsize", "--early_stopping", "-es", "--imagesize", "-lr", "--patience"];
    for spelling in both {
        vggkit("train --help").stdout(contains(spelling));
    }
    vggkit("").code(2).stderr(contains("Usage: vggkit"));
}

#[test]
fn what_is_not_there_is_said_with_what_to_do() {
    for line in ["train", "evaluate", "predict", "evaluate nothing", "train --resume nothing"] {
        vggkit(line).code(predicate::in_iter([1, 2])).stdout("").stderr(contains("error: ").and(contains("help: ")));
    }
}

#[test]
fn describe_adds_up() {
    for (line, parameters) in [
        ("describe -d 16", 40_716_552_u64),
        ("describe -d 16 -c11", 35_997_960),
        ("describe --depth 11 --lrn", 35_219_400),
        ("describe -d 19 -q", 46_028_808),
    ] {
        let output = vggkit(&format!("{line} --json")).success().get_output().stdout.clone();
        let description: Value = serde_json::from_slice(&output).expect("one JSON object");
        assert_eq!(description["schema"], "vggkit/describe/1");
        assert_eq!(description["totals"]["parameters"], parameters, "{line}");
        let layers = description["layers"].as_array().expect("layers");
        for what in ["parameters", "macs", "activation_bytes"] {
            let sum: u64 = layers.iter().filter_map(|layer| layer[what].as_u64()).sum();
            assert_eq!(description["totals"][what], sum, "{line}: {what}");
        }
        let memory = &description["training"];
        let parts = ["parameters", "gradients", "moments", "activations", "scratch"];
        let sum: u64 = parts.iter().filter_map(|part| memory[part].as_u64()).sum();
        assert_eq!(memory["total"], sum, "{line}");
        assert!(memory["gradients"].as_u64() >= Some(4 * parameters), "{line}");
    }
    vggkit("describe -d 16").success().stdout(contains("40,716,552")).stderr("");
}

#[test]
fn describe_follows_its_flags() {
    let total = |line: &str| -> Value {
        let output = vggkit(&format!("describe --json {line}")).success().get_output().stdout.clone();
        serde_json::from_slice(&output).expect("one JSON object")
    };
    assert_eq!(total("")["training"]["batch_size"], 64);
    let small = total("-b 1");
    let large = total("-b 128");
    let bytes = |description: &Value| description["training"]["total"].as_u64().expect("a number");
    assert!(bytes(&large) > bytes(&small) + 100 * 1024 * 1024);
    assert_eq!(small["totals"], large["totals"]);
    assert_eq!(total("--classes 10")["network"]["classes"], 10);
    assert_eq!(total("-i 224")["layers"][0]["output"]["height"], 224);
    let plain = total("--no-batch-norm");
    assert!(plain["layers"].as_array().is_some_and(|l| l.iter().all(|l| l["operation"]["kind"] != "batch_norm2d")));
}

#[test]
fn describe_does_not_ask_a_gpu_to_train_what_it_cannot() {
    let output = vggkit("describe -d 11 -i 4096 -b 1 --json").success().get_output().stdout.clone();
    let description: Value = serde_json::from_slice(&output).expect("one JSON object");
    assert!(description["training_gpu"].is_null() && description["training"]["total"].is_u64());
    let text = vggkit("describe -d 11 -i 4096 -b 1").success().get_output().stdout.clone();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.lines().any(|line| line.trim() == "CPU") && text.contains("cannot train it"), "{text}");
    assert!(!text.contains("  images"), "a row of nothing: {text}");
}

#[test]
fn a_reader_that_left_is_not_an_error() {
    for line in ["describe -d 19", "describe --json", "--help", "train --help"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = std::process::Command::new(assert_cmd::cargo::cargo_bin!("vggkit"))
            .args(line.split_whitespace())
            .stdout(writer)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{line}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    for line in ["describe -d 19", "describe --json", "--help"] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a device");
        let output = std::process::Command::new(assert_cmd::cargo::cargo_bin!("vggkit"))
            .args(line.split_whitespace())
            .stdout(full)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{line}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.starts_with("error: cannot write to standard output"), "{line}: {error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn threads_that_cannot_be_started_are_said_once_with_what_to_do() {
    let empty = Empty::new();
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -v 1000000; exec \"$0\" verify --threads 1000"]) // with stacks of 2 MiB
        .arg(assert_cmd::cargo::cargo_bin!("vggkit"))
        .current_dir(empty.0.path())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error.matches("os error").count(), 1, "{error}");
    assert!(error.contains("1000 worker threads") && error.contains("--threads"), "{error}");
}

#[test]
fn a_place_that_cannot_be_used_is_said_with_what_to_do() {
    let empty = Empty::new();
    std::fs::write(empty.0.path().join("file"), "").expect("written");
    for (line, part) in [
        ("verify --data file", "--source"),
        ("prepare --demo --data file", "a file is where a folder is needed"),
        ("survey --data nothere", "vggkit prepare"),
    ] {
        empty.vggkit(line).assert().code(1).stderr(contains("help: ").and(contains(part)));
    }
    assert!(!empty.0.path().join("survey").exists(), "nothing is measured where nothing can be trained");
}

#[test]
fn no_colour_when_piped() {
    for line in ["--help", "train --help", "describe", "trian", "train -d 17", "train", "evaluate nothing"] {
        let output = vggkit(line).get_output().clone();
        for stream in [&output.stdout, &output.stderr] {
            assert!(!stream.contains(&0x1b), "{line}: {}", String::from_utf8_lossy(stream));
        }
        assert!(!output.stdout.is_empty() || !output.stderr.is_empty(), "{line}");
    }
}
