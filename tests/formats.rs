//! docs/formats.md says what the program writes: each example is read by the program's own types, and each key that
//! the program prints is in the example.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use vggkit::inference::answers::Answers;
use vggkit::inference::evaluation::Evaluation;
use vggkit::inference::fusion::Fusion;
use vggkit::inference::inside::Inside;
use vggkit::training::history::{self, Epoch, StepLine};
use vggkit::training::run::Run;

/// The first fenced example below a heading, by language and heading.
fn examples() -> BTreeMap<(String, String), String> {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/formats.md")).expect("docs/formats.md");
    let mut examples = BTreeMap::new();
    let mut heading = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let body: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            examples.entry((heading.clone(), language.to_owned())).or_insert(body.join("\n"));
        } else if line.starts_with('#') {
            heading = line.trim_start_matches(['#', ' ']).to_owned();
        }
    }
    examples
}

fn example(heading: &str, language: &str) -> String {
    let key = (heading.to_owned(), language.to_owned());
    examples().remove(&key).unwrap_or_else(|| panic!("no {language} example below {heading}"))
}

/// Reading an example into `T` and writing it again gives the same object: nothing is missing, nothing unknown.
fn is_exactly<T: Serialize + DeserializeOwned>(example: &str) {
    let value: T = serde_json::from_str(example).expect(example);
    let expected: Value = serde_json::from_str(example).expect(example);
    assert_eq!(serde_json::to_value(value).expect("JSON"), expected);
}

#[test]
fn runs_histories_steps_and_evaluations() {
    let text = example("run.toml", "toml");
    let run: Run = toml::from_str(&text).expect("run.toml");
    let expected: toml::Table = toml::from_str(&text).expect("TOML");
    assert_eq!(toml::Table::try_from(&run).expect("TOML"), expected);
    assert_eq!(run.schema, vggkit::training::run::SCHEMA);
    is_exactly::<Epoch>(&example("history.jsonl", "json"));
    is_exactly::<StepLine>(&example("steps.jsonl", "json"));
    is_exactly::<Evaluation>(&example("evaluation.json", "json"));
    is_exactly::<Fusion>(&example("fusion.json", "json"));
    is_exactly::<Inside>(&example("inside.json", "json"));
    let table = example("evaluation.csv", "csv") + "\n";
    let folder = tempfile::tempdir().expect("a folder");
    let (read, written) = (folder.path().join("read.csv"), folder.path().join("written.csv"));
    std::fs::write(&read, &table).expect("a file");
    Answers::read(&read, 3).and_then(|answers| answers.write(&written)).expect("evaluation.csv");
    assert_eq!(std::fs::read_to_string(&written).expect("a file"), table);
}

#[test]
fn a_history_as_a_table() {
    let run = tempfile::tempdir().expect("a folder");
    std::fs::write(history::path(run.path()), example("history.jsonl", "json") + "\n").expect("a log");
    history::tabulate(run.path()).expect("a table");
    let table = std::fs::read_to_string(history::table_path(run.path())).expect("a table");
    assert_eq!(table, example("history.csv", "csv") + "\n");
}

#[test]
fn the_table_at_the_top_has_every_format() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/formats.md")).expect("docs/formats.md");
    let (top, below) = text.split_once("\n## ").expect("headings");
    let formats: Vec<&str> = below.split("\"schema\": \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(formats.len() > 10, "{formats:?}");
    for format in formats {
        assert!(top.contains(&format!("| `{format}` |")), "{format}");
    }
}

#[test]
fn describe_prints_what_is_documented() {
    let output = std::process::Command::new(assert_cmd::cargo::cargo_bin!("vggkit"))
        .args(["describe", "--json", "-d", "11", "--threads", "2"])
        .output()
        .expect("it runs");
    let mut printed: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    printed["layers"].as_array_mut().expect("layers").truncate(1);
    let mut documented: Value = serde_json::from_str(&example("describe", "json")).expect("JSON");
    // How many bytes an engine needs differs between processors and versions; what they are for does not.
    for object in [&mut printed, &mut documented] {
        for part in ["training", "training_gpu"] {
            let training = object[part].as_object_mut().expect("an object");
            training.iter_mut().filter(|(key, _)| *key != "batch_size").for_each(|(_, bytes)| *bytes = Value::Null);
        }
    }
    assert_eq!(printed, documented);
}

/// `printed` has the keys of `documented` and values of the same types, in each element of an array; null fits anything.
fn fits(printed: &Value, documented: &Value, place: &str) {
    match (printed, documented) {
        (Value::Object(printed), Value::Object(documented)) => {
            assert_eq!(printed.keys().collect::<Vec<_>>(), documented.keys().collect::<Vec<_>>(), "keys of {place}");
            printed.iter().for_each(|(key, value)| fits(value, &documented[key], &format!("{place}.{key}")));
        }
        (Value::Array(printed), Value::Array(documented)) => {
            let first = documented.first().expect("an example of an element");
            printed.iter().for_each(|value| fits(value, first, place));
        }
        (Value::Null, _) | (_, Value::Null) => {}
        _ => assert_eq!(std::mem::discriminant(printed), std::mem::discriminant(documented), "{place}: {printed}"),
    }
}

#[test]
fn models_print_what_is_documented() {
    for (heading, line) in [
        ("bench --model", "bench --model 18.45 -d 16 --head average --json"),
        ("bench --model horovod", "bench --model horovod --json"),
    ] {
        let mut program = std::process::Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
        let output = program.args(line.split(' ')).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        let documented: Value = serde_json::from_str(&example(heading, "json")).expect("JSON");
        assert_eq!(printed["schema"], documented["schema"]);
        fits(&printed, &documented, heading);
    }
}

#[test]
fn measuring_commands_print_what_is_documented() {
    let small = "--json --adapter llvmpipe --width 0.05 -i 32 -b 2 --classes 3";
    for (heading, line) in [
        ("devices", "devices --json"),
        ("selftest", "selftest --json --only max_pool --adapter llvmpipe"),
        ("tune", &format!("tune {small}")),
        ("bench", &format!("bench --engine gpu --seconds 1 {small}")),
        ("bench --ranks", &format!("bench --ranks 1 --engine cpu --seconds 1 {small}")),
    ] {
        let output = std::process::Command::new(assert_cmd::cargo::cargo_bin!("vggkit"))
            .args(line.split(' '))
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut printed: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        if let Some(variants) = printed.get_mut("variants").and_then(Value::as_object_mut) {
            variants.retain(|key, _| key == "features.0 forward"); // its keys are the network's
        }
        let documented: Value = serde_json::from_str(&example(heading, "json")).expect("JSON");
        assert_eq!(printed["schema"], documented["schema"]);
        fits(&printed, &documented, heading);
    }
}
