//! Going on with other settings, with all five networks, and what is refused because it would have no effect.

use std::fs;
use std::path::Path;
use std::process::Command;

use vggkit::files;
use vggkit::training::history::Epoch;
use vggkit::training::run::Run;

use crate::exactness::fingerprint;
use crate::{fails, history, ok, on, resume, settings, step_of, train, vggkit};

/// What a command says on standard error, which must succeed.
fn told(mut command: Command) -> String {
    let output = command.output().expect("the command runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}\n{told}");
    told
}

fn aloud(runs: &Path, name: &str, more: &[&str]) -> Command {
    let mut command = vggkit(&["train", "--engine", "cpu", "--resume", name]);
    command.args(more).arg("--runs").arg(runs);
    command
}

/// Lines that do not depend on the clock.
fn figures(run: &Path) -> Vec<Epoch> {
    let still = |epoch| Epoch { seconds: 0.0, images_per_s: 0.0, time: String::new(), ..epoch };
    history(run).into_iter().map(still).collect()
}

#[test]
fn a_training_that_early_stopping_has_ended_goes_on_with_a_larger_patience() {
    let runs = tempfile::tempdir().expect("a folder");
    let run = runs.path().join("demo-a");
    let ruinous = ["--lr", "0.05", "-e", "40"];
    ok(train(runs.path(), "demo-whole", &[&ruinous[..], &["-es", "0", "--max-steps", "60"]].concat()));
    ok(train(runs.path(), "demo-a", &[&ruinous[..], &["-es", "1"]].concat()));
    let (ended, before) = (settings(&run), figures(&run));
    assert_eq!(ended.origin.stopped_by, "early stopping");
    for nothing in
        [&["-e", "60"][..], &["-es", "1"], &["-lr", "0.01"], &["--schedule", "plateau"], &["--max-steps", "500"]]
    {
        let error = fails(resume(runs.path(), "demo-a", nothing), 2);
        assert!(error.contains("early stopping") && error.contains("-es 0"), "{nothing:?}: {error}");
        assert_eq!(settings(&run), ended, "{nothing:?}");
    }
    let most = ["-es", "0", "--max-steps", "60"];
    assert!(told(aloud(runs.path(), "demo-a", &most)).contains("patience was 1 and is 0"));
    let after = settings(&run);
    assert_eq!(after.training.patience, 0);
    let [change] = after.changes.as_slice() else { panic!("one change: {:?}", after.changes) };
    let done = before.last().expect("an epoch");
    assert_eq!((change.epoch, change.step), (done.epoch + 1, done.step));
    assert_eq!((change.setting.as_str(), change.before.as_str(), change.after.as_str()), ("patience", "1", "0"));
    assert!(change.command.contains("-es 0") && !change.time.is_empty());
    // It is the training that never stopped.
    assert_eq!(figures(&run), figures(&runs.path().join("demo-whole")));
    assert_eq!(step_of(&run), 60);
    // A larger patience does as well, and what was changed stays changed and is not written down again.
    ok(resume(runs.path(), "demo-a", &["--max-steps", "62"]));
    assert_eq!((settings(&run).training.patience, settings(&run).changes.len()), (0, 1));
    let mut report = vggkit(&["report", "--quiet", "--out"]);
    report.arg(runs.path().join("site"));
    ok(on(report, runs.path()));
    let page = fs::read_to_string(runs.path().join("site/index.html")).expect("a page");
    assert!(page.contains("patience 1 to 0 from epoch"), "the page says what was changed");
}

#[test]
fn more_epochs_go_on_and_a_cosine_is_not_stretched_unasked() {
    let runs = tempfile::tempdir().expect("a folder");
    let run = runs.path().join("demo-a");
    ok(train(runs.path(), "demo-a", &["-e", "2", "-es", "0", "--schedule", "cosine"]));
    let ended = settings(&run);
    for (same, schedule) in
        [(["-e", "2"], "cosine"), (["--schedule", "constant"], "constant"), (["-lr", "0.5"], "cosine")]
    {
        let error = fails(resume(runs.path(), "demo-a", &same), 2);
        assert!(
            error.contains("2 epochs") && error.contains(&format!("-e 4 --schedule {schedule}")),
            "{same:?}: {error}"
        );
    }
    let error = fails(resume(runs.path(), "demo-a", &["-e", "4"]), 2);
    assert!(error.contains("cosine over 2 epochs") && error.contains("5.00e-4"), "what it would do: {error}");
    assert_eq!(settings(&run), ended);
    // As the error says.
    let told = told(aloud(runs.path(), "demo-a", &["-e", "4", "--schedule", "cosine"]));
    assert!(told.contains("the learning rate was 3.81e-5 at the last step and goes on from 5.00e-4"), "{told}");
    let rates: Vec<f64> = history(&run).iter().map(|epoch| epoch.lr).collect();
    let cosine = |step: f64, steps: f64| 0.0005 * (1.0 + (std::f64::consts::PI * step / steps).cos());
    for (rate, expected) in
        rates.iter().zip([cosine(3.0, 8.0), cosine(7.0, 8.0), cosine(11.0, 16.0), cosine(15.0, 16.0)])
    {
        assert!((rate - expected).abs() < 1e-12, "{rates:?}");
    }
    ok(resume(runs.path(), "demo-a", &["-e", "5", "--schedule", "constant", "-lr", "0.0001"]));
    assert_eq!(history(&run)[4].lr, 0.0001);
    let changed: Vec<String> =
        settings(&run).changes.into_iter().map(|c| format!("{} {}", c.setting, c.after)).collect();
    assert_eq!(changed, ["epochs 4", "epochs 5", "learning_rate 0.0001", "schedule constant"]);
}

#[test]
fn a_learning_rate_that_is_given_is_the_one_that_follows() {
    let runs = tempfile::tempdir().expect("a folder");
    let run = runs.path().join("demo-a");
    let plateau = ["--lr", "0.05", "-e", "20", "-es", "0", "--schedule", "plateau"];
    ok(train(runs.path(), "demo-a", &[&plateau[..], &["--max-steps", "48"]].concat()));
    assert!(history(&run).last().expect("an epoch").lr < 0.05, "the plateau has divided it");
    ok(resume(runs.path(), "demo-a", &["-lr", "0.002", "--max-steps", "50"]));
    ok(resume(runs.path(), "demo-a", &["--max-steps", "52"]));
    let last = history(&run).pop().expect("an epoch");
    assert_eq!((last.step, last.lr), (52, 0.002));
    let error = fails(resume(runs.path(), "demo-a", &["--max-steps", "52"]), 2);
    assert!(error.contains("52 steps"), "{error}");
}

#[test]
fn a_training_killed_with_its_last_step_saved_is_closed_by_the_same_command() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["-e", "2", "--log-steps", "--max-steps", "3"]));
    let folder = runs.path().join("demo-a");
    let whole = fingerprint(&folder);
    // As it lay there before its network, its line of history and how it ended were written.
    fs::remove_file(folder.join("best.safetensors")).expect("a network");
    fs::write(folder.join("history.jsonl"), "").expect("a log");
    let mut run = settings(&folder);
    run.origin.stopped_by.clear();
    run.origin.finished.clear();
    run.origin.best_sha256.clear();
    files::write_toml(&folder.join("run.toml"), &run).expect("run.toml");
    ok(resume(runs.path(), "demo-a", &["--log-steps", "--max-steps", "3"]));
    assert!(fingerprint(&folder) == whole);
    assert_eq!(settings(&folder).origin.stopped_by, "max steps");
    let error = fails(resume(runs.path(), "demo-a", &["--max-steps", "3"]), 2);
    assert!(error.contains("leaves none"), "{error}");
}

#[test]
fn what_cannot_change_is_named_and_what_is_the_same_may_be_typed_again() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["-e", "2", "--max-steps", "3"]));
    let before = settings(&runs.path().join("demo-a"));
    let error = fails(resume(runs.path(), "demo-a", &["-b", "4", "--seed", "0", "-i", "32"]), 2);
    assert!(error.contains("--batch-size 4, where the run has 8") && !error.contains("--seed"), "{error}");
    let way = runs.path().join("demo-a/last.safetensors");
    assert!(error.contains(&format!("--init {}", way.display())), "{error}");
    assert_eq!(settings(&runs.path().join("demo-a")), before);
    ok(train(runs.path(), "demo-b", &["-e", "1", "-b", "4", "--init", way.to_str().expect("text")])); // as it says
    ok(resume(runs.path(), "demo-a", &["-b", "8", "--width", "0.05", "--augment", "crop", "-e", "2"]));
    assert!(fails(resume(runs.path(), "demo-a", &["--run", "demo-c"]), 2).contains("--run"));
    assert!(fails(vggkit(&["train", "--resume"]), 2).contains("--all"));
}

#[test]
fn the_last_of_a_repeated_flag_counts() {
    let runs = tempfile::tempdir().expect("a folder");
    // `train` gives -i 32 and -b 8 already.
    ok(train(
        runs.path(),
        "demo-a",
        &["-lr", "0.1", "-lr", "0.2", "--max-steps", "9", "--max-steps", "1", "--quiet", "-b4"],
    ));
    let training = settings(&runs.path().join("demo-a")).training;
    assert_eq!((training.learning_rate, training.batch_size, training.max_steps), (0.2, 4, Some(1)));
}

/// `vggkit train --all` with a tiny network.
fn all(runs: &Path, more: &[&str]) -> Command {
    let mut command = vggkit(&["train", "--all", "--engine", "cpu"]);
    command.args(more);
    on(command, runs)
}

#[test]
fn all_five_go_on_where_they_were_stopped() {
    let runs = tempfile::tempdir().expect("a folder");
    let run = |name: &str| runs.path().join(name);
    let recipe = ["--width", "0.05", "-i", "32", "-b", "8", "--augment", "crop", "-e", "2"];
    // One is done, one was stopped in its second epoch; the same without a stop, to compare.
    ok(train(runs.path(), "demo-vgg11", &["-e", "2"]));
    ok(train(runs.path(), "demo-vgg13", &["-e", "2", "-d", "13", "--max-steps", "6"]));
    ok(train(runs.path(), "demo-whole", &["-e", "2", "-d", "13"]));
    let done = fs::read(Run::path(&run("demo-vgg11"))).expect("a run");

    let error = fails(all(runs.path(), &[&recipe[..], &["--seed", "1", "-e", "3"]].concat()), 2);
    for part in
        ["demo-vgg11: --epochs 3, where the run has 2; --seed 1, where", "demo-vgg13: ", "--overwrite", "--resume"]
    {
        assert!(error.contains(part), "\"{part}\" is not in {error}");
    }
    assert!(!run("demo-vgg16").exists(), "nothing begins before all fit");

    let told = told(all(runs.path(), &recipe));
    assert!(told.contains("demo-vgg11 is done") && told.contains("goes on after step 6"), "{told}");
    assert!(fs::read(Run::path(&run("demo-vgg11"))).expect("a run") == done, "what is done stays");
    assert_eq!(figures(&run("demo-vgg13")), figures(&run("demo-whole")));
    for name in ["demo-vgg16", "demo-vgg16c", "demo-vgg19"] {
        assert_eq!(history(&run(name)).len(), 2, "{name}");
    }

    // With --resume the settings are those of the runs, and what can change does.
    fs::remove_dir_all(run("demo-vgg19")).expect("removed");
    let mut again = vggkit(&["train", "--all", "--resume", "-e", "3", "--engine", "cpu", "--quiet", "--runs"]);
    again.arg(runs.path());
    ok(again);
    for name in ["demo-vgg11", "demo-vgg13", "demo-vgg16", "demo-vgg16c", "demo-vgg19"] {
        let settings = settings(&run(name));
        assert_eq!(
            (history(&run(name)).len(), settings.training.epochs, settings.training.batch_size),
            (3, 3, 8),
            "{name}"
        );
        assert_eq!(
            (settings.network.width, settings.changes.len()),
            (0.05, usize::from(name != "demo-vgg19")),
            "{name}"
        );
    }
    assert!(fails(all(runs.path(), &["--resume", "demo-vgg11"]), 2).contains("no RUN"));
}

#[test]
fn a_training_that_diverged_goes_on_at_another_rate_as_its_error_says() {
    let runs = tempfile::tempdir().expect("a folder");
    let error = fails(train(runs.path(), "demo-a", &["--no-batch-norm", "--lr", "1e30", "-e", "2"]), 1);
    let run = runs.path().join("demo-a");
    assert!(error.contains(&format!("`vggkit train --resume {} -lr X`", run.display())), "{error}");
    ok(resume(runs.path(), "demo-a", &["-lr", "0.001"]));
    assert_eq!(settings(&run).origin.stopped_by, "epochs");
}

#[test]
fn a_run_from_before_changes_were_written_down_is_read() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["-e", "1"]));
    let path = Run::path(&runs.path().join("demo-a"));
    assert!(!files::read_to_string(&path).expect("run.toml").contains("changes"), "only where there are any");
}
