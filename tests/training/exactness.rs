//! Resuming to the bit, signals, kill -9, damaged checkpoints.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;
use vggkit::training::checkpoint;

use crate::{fails, history, ok, resume, settings, step_of, train};

/// `history.csv` says what `history.jsonl` says, cell by cell.
pub fn the_table_agrees(run: &Path) {
    let mut table = csv::Reader::from_path(run.join("history.csv")).expect("a table");
    let columns: Vec<String> = table.headers().expect("a header").iter().map(str::to_owned).collect();
    let rows: Vec<_> = table.records().map(|row| row.expect("a row")).collect();
    let log = fs::read_to_string(run.join("history.jsonl")).expect("a log");
    assert_eq!(rows.len(), log.lines().count());
    for (row, line) in rows.iter().zip(log.lines()) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let known = line.as_object().expect("an object").keys().all(|key| columns.contains(key));
        assert!(known, "{columns:?} for {line}");
        for (column, cell) in columns.iter().zip(row) {
            match &line[column.as_str()] {
                Value::Number(number) => assert_eq!(number.as_f64(), cell.parse().ok(), "{column} of {line}"),
                Value::String(text) => assert_eq!(text, cell),
                other => assert!(other.is_null() && cell.is_empty(), "{column} of {line}: {cell}"),
            }
        }
    }
}

/// Every tensor of both checkpoints of a run, as bytes, and the parts of its logs that do not depend on the clock.
pub fn fingerprint(run: &Path) -> (Vec<Vec<u8>>, Vec<Value>) {
    the_table_agrees(run);
    let mut tensors = Vec::new();
    for path in [checkpoint::last_path(run), checkpoint::best_path(run)] {
        let bytes = fs::read(&path).expect("a checkpoint");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
        let mut names: Vec<_> = file.names();
        names.sort_unstable();
        tensors.extend(names.iter().map(|name| file.tensor(name).expect("there").data().to_vec()));
    }
    let mut lines = Vec::new();
    for log in ["history.jsonl", "steps.jsonl"] {
        for line in fs::read_to_string(run.join(log)).expect("a log").lines() {
            let mut line: Value = serde_json::from_str(line).expect("JSON");
            for clock in ["seconds", "images_per_s", "time"] {
                line.as_object_mut().expect("an object").remove(clock);
            }
            lines.push(line);
        }
    }
    (tensors, lines)
}

#[test]
fn resuming_gives_the_bits_of_an_uninterrupted_run() {
    let runs = tempfile::tempdir().expect("a folder");
    // 27 images in batches of 8: 4 steps an epoch, the last of them with 3 images.
    let recipe = ["-e", "3", "-es", "0", "--log-steps", "--schedule", "cosine", "--dropout", "0.3"];
    ok(train(runs.path(), "demo-whole", &recipe));
    let whole = fingerprint(&runs.path().join("demo-whole"));
    assert_eq!(whole.1.len(), 3 + 12);
    for k in ["1", "3", "4", "7", "11"] {
        let name = format!("demo-{k}");
        ok(train(runs.path(), &name, &[&recipe[..], &["--max-steps", k, "--threads", "1"]].concat()));
        assert_eq!(step_of(&runs.path().join(&name)).to_string(), k);
        ok(resume(runs.path(), &name, &["--log-steps", "--threads", "2"]));
        assert!(fingerprint(&runs.path().join(&name)) == whole, "stopped after step {k}");
    }
}

#[test]
fn sgd_and_plateau_resume_as_well_and_checkpoints_within_an_epoch_change_nothing() {
    let runs = tempfile::tempdir().expect("a folder");
    let sgd = ["--optimizer", "sgd", "--momentum", "0.9", "--lr", "0.01", "--weight-decay", "5e-4"];
    let rest = ["-e", "4", "-es", "0", "--log-steps", "--schedule", "plateau", "--warmup", "0.5"];
    let recipe = [&sgd[..], &rest[..], &["--label-smoothing", "0.1"]].concat();
    ok(train(runs.path(), "demo-a", &[&recipe[..], &["--checkpoint-every", "3"]].concat()));
    ok(train(runs.path(), "demo-b", &[&recipe[..], &["--max-steps", "6"]].concat()));
    ok(resume(runs.path(), "demo-b", &["--log-steps", "--max-steps", "10"]));
    ok(resume(runs.path(), "demo-b", &["--log-steps"]));
    assert!(fingerprint(&runs.path().join("demo-a")) == fingerprint(&runs.path().join("demo-b")));
}

/// All that is drawn for a sample at once, over the epoch after which nothing is mixed; on the GPU engine the same samples.
#[test]
fn every_augmentation_resumes_to_the_bit() {
    let runs = tempfile::tempdir().expect("a folder");
    let shape = ["--augment", "resized-crop", "--crop-scale", "0.3", "--trivial-augment", "--head", "average"];
    let mixed = ["--color-shift", "0.1", "--erase", "0.5", "--mixup", "0.4", "--cutmix", "1", "--mix-off", "1"];
    let recipe = [&shape[..], &mixed[..], &["-e", "3", "--log-steps", "--label-smoothing", "0.1"]].concat();
    for (engine, stops) in
        [(&["--engine", "cpu"][..], &["3", "6", "9"][..]), (&["--engine", "gpu", "--adapter", "llvmpipe"], &["6"])]
    {
        let recipe = [&recipe[..], engine].concat();
        let name = |part: &str| format!("demo-{}-{part}", engine[1]);
        ok(train(runs.path(), &name("whole"), &recipe));
        let whole = fingerprint(&runs.path().join(name("whole")));
        for k in stops {
            ok(train(runs.path(), &name(k), &[&recipe[..], &["--max-steps", k, "--threads", "1"]].concat()));
            ok(resume(runs.path(), &name(k), &[&["--log-steps", "--threads", "2"], engine].concat()));
            assert!(fingerprint(&runs.path().join(name(k))) == whole, "{engine:?}: stopped after step {k}");
        }
        let text = fs::read_to_string(runs.path().join(name("whole")).join("run.toml")).expect("run.toml");
        for line in
            ["augment = \"resized-crop\"", "crop_scale = 0.3", "cutmix = 1.0", "mix_off = 1", "head = \"average\""]
        {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
    // Without any of it nothing is said of it.
    ok(train(runs.path(), "demo-plain", &["-e", "1", "--max-steps", "1"]));
    let text = fs::read_to_string(runs.path().join("demo-plain/run.toml")).expect("run.toml");
    assert!(!text.contains("crop_scale") && !text.contains("mix") && !text.contains("head"), "{text}");
}

#[test]
fn stopping_within_an_epoch_keeps_the_best_network_of_those_that_ended() {
    let runs = tempfile::tempdir().expect("a folder");
    // With these the network after step 9 is better than all that ended an epoch.
    let recipe = ["-e", "3", "--seed", "2", "--lr", "0.02", "--log-steps"];
    ok(train(runs.path(), "demo-whole", &recipe));
    ok(train(runs.path(), "demo-part", &[&recipe[..], &["--max-steps", "9"]].concat()));
    let (whole, part) = (runs.path().join("demo-whole"), runs.path().join("demo-part"));
    let history = history(&part);
    assert_eq!(history.iter().map(|epoch| epoch.step).collect::<Vec<_>>(), [4, 8], "the epochs that ended");
    let best = history.iter().min_by(|a, b| a.val_loss.total_cmp(&b.val_loss)).expect("an epoch");
    let plan = settings(&part).network.plan().expect("a network");
    let kept = checkpoint::load(&checkpoint::best_path(&part), &plan, None).expect("best");
    assert_eq!(kept.progress.step, best.step);
    ok(resume(runs.path(), "demo-part", &[]));
    assert!(fingerprint(&part) == fingerprint(&whole));
}

/// Waits until `condition` holds; `false` when the child ended first.
fn wait(child: &mut Child, condition: impl Fn() -> bool) -> bool {
    let patience = Instant::now();
    while !condition() {
        assert!(patience.elapsed() < Duration::from_secs(120), "the training does not get anywhere");
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

#[cfg(unix)]
#[test]
fn signals_finish_the_step_save_and_exit_with_their_code() {
    let runs = tempfile::tempdir().expect("a folder");
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let name = format!("demo-{signal}");
        let run = runs.path().join(&name);
        let endless = ["-e", "100000", "-es", "0", "--log-steps"];
        let mut child = train(runs.path(), &name, &endless).spawn().expect("starts");
        let begun = || fs::metadata(run.join("history.jsonl")).is_ok_and(|m| m.len() > 0);
        assert!(wait(&mut child, begun), "ended before the signal");
        let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        assert_eq!(child.wait().expect("ends").code(), Some(code));
        let step = step_of(&run);
        let steps = fs::read_to_string(run.join("steps.jsonl")).expect("a log").lines().count();
        assert_eq!(step, steps as u64, "the checkpoint is that of the last step");
        assert_eq!(settings(&run).origin.stopped_by, "signal");
        ok(resume(runs.path(), &name, &["--max-steps", &(step + 2).to_string()]));
        assert_eq!(step_of(&run), step + 2);
    }
}

#[test]
fn kill_at_any_moment_leaves_a_checkpoint_that_loads() {
    let runs = tempfile::tempdir().expect("a folder");
    let run = runs.path().join("demo-k");
    let begun = Instant::now();
    ok(train(runs.path(), "demo-usual", &["--max-steps", "1"]));
    let usual = begun.elapsed();
    let mut resumable = 0;
    for turn in 0..24 {
        let mut child = if run.join("run.toml").exists() {
            resume(runs.path(), "demo-k", &["--checkpoint-every", "1"]).spawn().expect("starts")
        } else {
            let flags = ["-e", "100000", "-es", "0", "--checkpoint-every", "1"];
            train(runs.path(), "demo-k", &flags).spawn().expect("starts")
        };
        // From the first millisecond to well into the run, at moments that no step is in step with.
        std::thread::sleep(Duration::from_millis(1) + usual * turn / 10);
        child.kill().expect("SIGKILL");
        child.wait().expect("ends");
        if run.join("run.toml").exists() {
            resumable += 1;
            step_of(&run);
        }
    }
    assert!(resumable > 12, "only {resumable} of 24 got as far as a run");
    let step = step_of(&run);
    assert!(step > 0, "no run got as far as a step");
    ok(resume(runs.path(), "demo-k", &["--max-steps", &(step + 1).to_string()]));
}

#[test]
fn a_table_that_is_missing_or_wrong_is_written_anew_by_the_next_resume() {
    let runs = tempfile::tempdir().expect("a folder");
    let run = runs.path().join("demo-a");
    let table = run.join("history.csv");
    ok(train(runs.path(), "demo-a", &["-e", "2", "--hold-out", "0.2", "--max-steps", "4"]));
    the_table_agrees(&run);
    assert!(fs::read_to_string(&table).expect("a table").starts_with("epoch,step,lr,train_loss,"));
    assert!(history(&run)[0].held_out.is_some());
    fs::write(&table, "epoch\n1\n2\n3\n").expect("written");
    ok(resume(runs.path(), "demo-a", &["--max-steps", "5"]));
    the_table_agrees(&run);
    fs::remove_file(&table).expect("removed"); // a run of an older version
    ok(resume(runs.path(), "demo-a", &["--max-steps", "100"]));
    assert_eq!(history(&run).len(), 2);
    the_table_agrees(&run);
    fs::remove_file(&table).expect("removed");
    ok(resume(runs.path(), "demo-a", &[])); // nothing is left to train
    the_table_agrees(&run);
    ok(train(runs.path(), "demo-a", &["-e", "1", "--max-steps", "1", "--overwrite"]));
    the_table_agrees(&run);
}

#[test]
fn what_a_killed_process_left_half_written_goes_with_the_next_write() {
    let runs = tempfile::tempdir().expect("a folder");
    let run = runs.path().join("demo-a");
    ok(train(runs.path(), "demo-a", &["-e", "1", "--max-steps", "1"]));
    let files = ["best.safetensors", "history.csv", "history.jsonl", "last.safetensors", "run.toml"];
    for file in files {
        fs::write(run.join(format!(".{file}.partial")), "half").expect("written");
    }
    ok(resume(runs.path(), "demo-a", &[])); // ends its epoch, so that each of them is written
    let names = fs::read_dir(&run).expect("a run").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, [&[".lock"], &files[..]].concat());
}

#[test]
fn a_damaged_checkpoint_is_recognised_and_named() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["--max-steps", "1"]));
    let path = checkpoint::last_path(&runs.path().join("demo-a"));
    let good = fs::read(&path).expect("a checkpoint");
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let damages = [
        good[..good.len() - 7].to_vec(),
        good[..5].to_vec(),
        Vec::new(),
        flipped(3),
        flipped(40),
        flipped(good.len() / 2),
        flipped(good.len() - 2),
    ];
    for (turn, damaged) in damages.into_iter().enumerate() {
        fs::write(&path, damaged).expect("written");
        let error = fails(resume(runs.path(), "demo-a", &[]), 1);
        assert!(error.contains("last.safetensors"), "damage {turn}: {error}");
    }
}
