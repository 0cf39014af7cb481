//! What is done with runs: not overwriting them, starting from their weights, evaluating, predicting.

use std::fs;

use serde_json::Value;
use vggkit::files;
use vggkit::inference::answers::Answers;
use vggkit::inference::inside::Inside;
use vggkit::report::{self, Options, Sources};
use vggkit::training::checkpoint;
use vggkit::training::history::Epoch;

use crate::{data, fails, history, ok, on, resume, settings, train, vggkit};

#[test]
fn runs_are_not_overwritten_and_init_says_what_does_not_fit() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["--max-steps", "1"]));
    let error = fails(train(runs.path(), "demo-a", &["--max-steps", "1"]), 2);
    assert!(error.contains("--overwrite") && error.contains("--resume"), "{error}");
    ok(train(runs.path(), "demo-a", &["--max-steps", "1", "--overwrite"]));

    let weights = checkpoint::best_path(&runs.path().join("demo-a"));
    let weights = weights.to_str().expect("text");
    ok(train(runs.path(), "demo-b", &["--max-steps", "1", "--init", weights]));
    let error = fails(train(runs.path(), "demo-c", &["--init", weights, "-d", "13"]), 1);
    assert!(error.contains("best.safetensors") && error.contains("features."), "{error}");
    for wrong in [runs.path().to_str().expect("text"), "nothing"] {
        let error = fails(train(runs.path(), "demo-c", &["--init", wrong]), 1);
        assert!(error.contains(wrong) && error.contains("help: --init takes a weight file"), "{error}");
    }
    assert!(!runs.path().join("demo-c").exists(), "a run that cannot start leaves nothing");
}

#[test]
fn another_number_of_classes_takes_the_layers_that_fit() {
    let work = tempfile::tempdir().expect("a folder");
    let runs = work.path().join("runs");
    ok(train(&runs, "demo-a", &["-e", "1"]));
    let weights = checkpoint::best_path(&runs.join("demo-a"));
    let weights = weights.to_str().expect("text");
    // The same images of two of the three classes.
    for split in ["train", "val"] {
        for class in ["n90000001", "n90000002"] {
            let (from, to) = (data().join(split).join(class), work.path().join("source").join(split).join(class));
            fs::create_dir_all(&to).expect("a folder");
            for image in fs::read_dir(from).expect("images") {
                let image = image.expect("an image");
                fs::copy(image.path(), to.join(image.file_name())).expect("copied");
            }
        }
    }
    let two = |arguments: &[&str]| {
        let mut command = vggkit(arguments);
        command.current_dir(work.path()).args(["--data", "two"]);
        command
    };
    ok(two(&["prepare", "--source", "source", "--quiet"]));
    let train = |name: &str, more: &[&str]| {
        let mut command = two(&["train", "--engine", "cpu", "--width", "0.05", "-i", "32", "-b", "8"]);
        command.args(["--run", name]).args(more);
        command
    };
    let whole = fails(train("demo-b", &["--init", weights]), 1);
    assert!(whole.contains("classifier.6.bias has shape [3]") && whole.contains("--init-partial"), "{whole}");
    let output =
        train("demo-b", &["--init", weights, "--init-partial", "--max-steps", "1"]).output().expect("the command runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let run = settings(&runs.join("demo-b"));
    assert!(said.contains(&format!("taken from {weights}: features.0, features.1, features.4")), "{said}");
    assert!(said.contains(&format!("drawn anew beside {weights}: classifier.6 (weight [3, 204]")), "{said}");
    assert!(run.origin.init_taken.contains(&"classifier.3".to_owned()), "{:?}", run.origin.init_taken);
    assert_eq!(run.origin.init_drawn, ["classifier.6 (weight [3, 204] in the file, [2, 204] here)"]);
    assert!(run.training.init_partial && run.origin.init_unused.is_empty());
    // It goes on to the same bits as a training that did not stop, from what it took and not from the file.
    let digest = |name: &str| checkpoint::digest_of(&checkpoint::last_path(&runs.join(name))).expect("a checkpoint");
    ok(train("demo-c", &["--init", weights, "--init-partial", "--max-steps", "3"]));
    fs::remove_file(weights).expect("removed");
    ok(two(&["train", "--engine", "cpu", "--resume", "demo-b", "--max-steps", "3"]));
    assert_eq!(digest("demo-b"), digest("demo-c"));
    assert_eq!(settings(&runs.join("demo-b")).origin.init_drawn, run.origin.init_drawn);
    fails(train("demo-d", &["--init-partial"]), 2);
}

#[test]
fn weights_that_are_not_finite_are_named_before_a_training_starts() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["--max-steps", "1"]));
    let weights = checkpoint::last_path(&runs.path().join("demo-a"));
    let mut bytes = fs::read(&weights).expect("weights");
    let header = 8 + u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize;
    let names: Value = serde_json::from_slice(&bytes[8..header]).expect("a header");
    let at = header + names["features.4.weight"]["data_offsets"][0].as_u64().expect("a place") as usize;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let path = runs.path().join("nan.safetensors");
    fs::write(&path, bytes).expect("written");
    for more in [&[][..], &["--init-partial"]] {
        let init = [&["--init", path.to_str().expect("text")], more].concat();
        let error = fails(train(runs.path(), "demo-b", &init), 1);
        assert!(
            error.contains("nan.safetensors") && error.contains("features.4.weight has NaN as number 0"),
            "{error}"
        );
        assert!(!runs.path().join("demo-b").exists(), "nothing has begun");
    }
}

#[test]
fn a_run_on_demo_data_is_found_by_the_name_it_was_given() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "r", &["-e", "2", "--max-steps", "1"]));
    let folder = runs.path().join("demo-r");
    assert!(folder.join("run.toml").exists() && !runs.path().join("r").exists());
    // Without --quiet, the messages say what it is called.
    let resumed = vggkit(&["train", "--engine", "cpu", "--resume", "r", "--runs"]).arg(runs.path()).output();
    let resumed = resumed.expect("it runs");
    assert!(resumed.status.success(), "{resumed:?}");
    let said = [resumed.stdout, resumed.stderr].concat();
    assert!(String::from_utf8_lossy(&said).contains(folder.to_str().expect("text")), "the true name");
    let by_path = runs.path().join("r");
    for name in ["r", "demo-r", by_path.to_str().expect("text")] {
        ok(on(vggkit(&["evaluate", name, "--json"]), runs.path()));
    }
    assert!(folder.join("evaluation.json").exists());
    let out = runs.path().join("p.csv");
    let said = ok(on(vggkit(&["predict", "r", "--out", out.to_str().expect("text")]), runs.path()));
    assert!(said.contains("predicted by demo-r"), "{said}");
    // A real run of that name comes first.
    fs::create_dir(runs.path().join("r")).expect("a folder");
    fs::copy(folder.join("run.toml"), runs.path().join("r/run.toml")).expect("a copy");
    let error = fails(on(vggkit(&["evaluate", "r"]), runs.path()), 1);
    assert!(!error.contains("demo-r"), "{error}");
    let error = fails(on(vggkit(&["evaluate", "nothing"]), runs.path()), 2);
    assert!(error.contains("there is no run nothing"), "{error}");
}

#[test]
fn evaluate_and_predict_agree_with_the_history() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["-e", "2"]));
    ok(train(runs.path(), "demo-b", &["-e", "1", "-d", "13"]));
    let evaluated = ok(on(vggkit(&["evaluate", "demo-a", "--json"]), runs.path()));
    let evaluation: Value = serde_json::from_str(&evaluated).expect("one JSON object");
    assert_eq!(evaluation["schema"], "vggkit/evaluation/1");
    let history = history(&runs.path().join("demo-a"));
    let best = history.iter().min_by(|a, b| a.val_loss.total_cmp(&b.val_loss)).expect("an epoch");
    assert_eq!(evaluation["loss"], best.val_loss);
    assert_eq!(evaluation["top1"], best.val_top1);
    let rows = evaluation["confusion"].as_array().expect("rows");
    let counts = rows.iter().flat_map(|row| row.as_array().expect("columns"));
    assert_eq!(Some(counts.map(|n| n.as_u64().expect("a count")).sum()), evaluation["images"].as_u64());
    let answers = Answers::read(&Answers::path(&runs.path().join("demo-a"), "val"), 3).expect("evaluation.csv");
    let mut confusion = [[0_u64; 3]; 3];
    answers.rows.iter().for_each(|a| confusion[a.truth as usize][a.predicted as usize] += 1);
    assert_eq!(serde_json::json!(confusion), evaluation["confusion"], "the answers add up to the evaluation");
    let mistake = &evaluation["mistakes"][0];
    let at = answers.files.iter().position(|f| mistake["file"] == f.as_str()).expect("its image");
    assert!(
        (mistake["probability"].as_f64().expect("a number") - f64::from(answers.rows[at].probability)).abs() < 1e-6
    );

    let inside: Inside = files::read_json(&Inside::path(&runs.path().join("demo-a"))).expect("inside.json");
    assert_eq!((inside.split.as_str(), inside.kernel, inside.attention.len()), ("val", 3, 3), "an image a class");
    assert!(!inside.filters.is_empty() && inside.filters.iter().all(|f| f.len() == 27));
    for look in &inside.attention {
        let at = answers.files.iter().position(|f| *f == look.file).expect("its image");
        let answer = answers.rows[at];
        assert_eq!((look.truth, look.predicted), (answer.truth as usize, answer.predicted as usize));
        assert!((look.probability - answer.probability).abs() < 1e-4, "the same network on another path");
        assert_eq!(look.map.len(), look.height * look.width);
        assert!(look.map.contains(&255) || look.map.iter().all(|v| *v == 0), "in steps of its largest value");
    }

    let csv = runs.path().join("predictions.csv");
    let mut predict = vggkit(&["predict", "--quiet", "--out"]);
    predict.arg(&csv);
    ok(on(predict, runs.path()));
    let mut reader = csv::Reader::from_path(&csv).expect("a table");
    let header: Vec<String> = reader.headers().expect("a header").iter().map(str::to_owned).collect();
    let expected = "image demo-a demo-b vote vote_wnid vote_name mean_softmax mean_softmax_wnid vote_probability";
    assert_eq!(header.join(" "), expected);
    let rows: Vec<_> = reader.records().map(|row| row.expect("a row")).collect();
    assert!(!rows.is_empty());
    for row in &rows {
        assert!(row[3] == row[1] || row[3] == row[2], "the vote is one of the two: {row:?}");
        assert!(row[1] != row[2] || row[3] == row[1], "agreement wins: {row:?}");
        let confidence: f64 = row[8].parse().expect("a number");
        assert!((1.0 / 3.0 - 1e-6..=1.0).contains(&confidence) || row[3] != row[6], "{row:?}");
    }

    let files = walkdir::WalkDir::new(data().join("test")).into_iter().flatten();
    let image = files.into_iter().find(|e| e.file_type().is_file()).expect("a test image");
    let mut predict = vggkit(&["predict", "demo-a", "--json", "--image"]);
    predict.arg(image.path());
    let top: Value = serde_json::from_str(&ok(on(predict, runs.path()))).expect("one JSON object");
    assert_eq!(top["top"].as_array().map(Vec::len), Some(3), "three classes have a top-3: {top}");
}

#[test]
fn an_evaluation_does_not_outlive_the_weights_that_it_is_about() {
    let runs = tempfile::tempdir().expect("a folder");
    let run = runs.path().join("demo-a");
    ok(train(runs.path(), "demo-a", &["-e", "1", "--max-steps", "1"]));
    for split in ["val", "train"] {
        ok(on(vggkit(&["evaluate", "demo-a", "--quiet", "--split", split]), runs.path()));
    }
    let written = ["evaluation.json", "evaluation.csv", "evaluation-train.json", "evaluation-train.csv", "inside.json"];
    assert!(written.iter().all(|file| run.join(file).exists()));
    ok(resume(runs.path(), "demo-a", &[])); // ends its first epoch, so that there is a new best network
    assert!(written.iter().all(|file| !run.join(file).exists()));
}

#[test]
fn a_damaged_run_that_nobody_named_is_left_out_and_told() {
    let runs = tempfile::tempdir().expect("a folder");
    for name in ["demo-a", "demo-b", "demo-c"] {
        ok(train(runs.path(), name, &["--max-steps", "1"]));
    }
    let best = checkpoint::best_path(&runs.path().join("demo-a"));
    let bytes = fs::read(&best).expect("weights");
    fs::write(&best, &bytes[..bytes.len() / 2]).expect("written");
    fs::write(runs.path().join("demo-b/run.toml"), "schema = ").expect("written");
    let csv = runs.path().join("predictions.csv");
    let mut predict = vggkit(&["predict", "--quiet", "--out"]);
    predict.arg(&csv);
    for command in [vggkit(&["evaluate", "--quiet"]), predict] {
        let told = fails(on(command, runs.path()), 1);
        assert_eq!(told.matches("left out: ").count(), 2, "{told}");
        assert!(told.contains("best.safetensors") && told.contains("run.toml"), "{told}");
        assert!(told.contains("restore it from a backup, or remove the run"), "{told}");
    }
    assert!(runs.path().join("demo-c/evaluation.json").exists());
    assert!(fs::read_to_string(&csv).expect("predictions").starts_with("image,demo-c,vote,"));
    let named = fails(on(vggkit(&["evaluate", "--quiet", "demo-a"]), runs.path()), 1);
    assert!(named.starts_with("error: "), "{named}");

    let mut twice = vggkit(&["predict", "--quiet", "demo-c", "demo-c", "--out"]);
    twice.arg(&csv);
    ok(on(twice, runs.path()));
    assert!(
        fs::read_to_string(&csv).expect("predictions").starts_with("image,demo-c,vote,"),
        "named twice, once there"
    );
}

#[test]
fn a_page_says_what_its_evaluations_are_not_about() {
    let (runs, site) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let run = runs.path().join("demo-a");
    let problems = || {
        let sources = Sources {
            runs: runs.path().to_owned(),
            data: data().to_owned(),
            predictions: runs.path().join("predictions.csv"),
        };
        report::render(&sources, site.path(), Options::default()).expect("a page").problems
    };
    ok(train(runs.path(), "demo-a", &["-e", "1"]));
    ok(on(vggkit(&["evaluate", "demo-a", "--quiet"]), runs.path()));
    assert_eq!(problems(), []);
    // Killed after the best network and before its line: an evaluation of it cannot agree with the history.
    let log = run.join("history.jsonl");
    let line = fs::read_to_string(&log).expect("history");
    let other = Epoch { val_top1: 1.0, ..history(&run)[0].clone() };
    fs::write(&log, serde_json::to_string(&other).expect("JSON") + "\n").expect("written");
    let found = problems();
    assert!(found.len() == 1 && found[0].help.contains("--resume"), "{found:?}");
    fs::write(&log, line).expect("written");
    // A better network was kept while the one before was evaluated.
    ok(train(runs.path(), "demo-b", &["-e", "1", "--seed", "1"]));
    fs::copy(checkpoint::best_path(&runs.path().join("demo-b")), checkpoint::best_path(&run)).expect("copied");
    let found = problems();
    assert!(found.len() == 1 && found[0].what.contains("best.safetensors"), "{found:?}");
    assert!(found[0].place.ends_with("evaluation.json") && found[0].help.contains("vggkit evaluate"), "{found:?}");
}

#[test]
fn nothing_to_work_on_is_said_clearly() {
    let empty = tempfile::tempdir().expect("a folder");
    let at = |arguments: &[&str]| {
        let mut command = vggkit(arguments);
        command.current_dir(empty.path());
        command
    };
    assert!(fails(at(&["train"]), 1).contains("prepare"));
    assert!(fails(at(&["evaluate", "nothing"]), 2).contains("no run nothing"));
    assert!(fails(at(&["train", "--resume", "runs/nothing"]), 2).contains("no run"));
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["--max-steps", "1"]));
    let text = empty.path().join("note.txt");
    fs::write(&text, "no image").expect("written");
    let mut predict = vggkit(&["predict", "demo-a", "--image"]);
    predict.arg(&text);
    assert!(fails(on(predict, runs.path()), 1).contains("note.txt"));
}
