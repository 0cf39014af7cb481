//! Which epoch's network is kept, and train images that are held out to say so.

use std::fs;
use std::path::Path;

use vggkit::training::checkpoint;
use vggkit::training::history::Epoch;

use crate::{fails, history, ok, on, resume, settings, train, vggkit};

/// The epoch whose network `best.safetensors` is.
fn kept(run: &Path) -> usize {
    let path = checkpoint::best_path(run);
    checkpoint::progress_of(&path).expect("a checkpoint").epoch - 1
}

/// The epoch with the lowest or highest figure, the first of equals.
fn first(history: &[Epoch], better: impl Fn(&Epoch, &Epoch) -> bool) -> usize {
    history.iter().reduce(|a, b| if better(b, a) { b } else { a }).expect("an epoch").epoch
}

#[test]
fn the_network_kept_is_that_of_the_epoch_that_is_asked_for() {
    let runs = tempfile::tempdir().expect("a folder");
    // So high a rate that loss and accuracy go up and down.
    let recipe = ["--lr", "0.03", "-e", "7", "-es", "0"];
    for select in ["loss", "top1", "last"] {
        ok(train(runs.path(), &format!("demo-{select}"), &[&recipe[..], &["--select", select]].concat()));
    }
    let run = |select: &str| runs.path().join(format!("demo-{select}"));
    let lines = history(&run("loss"));
    let (loss, top1) = (first(&lines, |a, b| a.val_loss < b.val_loss), first(&lines, |a, b| a.val_top1 > b.val_top1));
    assert!(loss != top1 && loss != 7 && top1 != 7, "the data tell them apart: {loss}, {top1}");
    assert_eq!([kept(&run("loss")), kept(&run("top1")), kept(&run("last"))], [loss, top1, 7]);
    // The training is the same: only what is kept differs.
    let last = |select: &str| checkpoint::digest_of(&checkpoint::last_path(&run(select))).expect("a digest");
    assert_eq!(last("loss"), last("top1"));
    let error = fails(resume(runs.path(), "demo-loss", &["-e", "8", "--select", "last"]), 2);
    assert!(error.contains("--select last, where the run has loss"), "{error}");
    // The page knows which.
    let mut report = vggkit(&["report", "--quiet", "--out"]);
    report.arg(runs.path().join("site"));
    ok(on(report, runs.path()));
    let page = fs::read_to_string(runs.path().join("site/index.html")).expect("a page");
    for told in ["selected by top-1", "last epoch kept", &format!("Best at epoch {top1} of 7"), "Best at epoch 7 of 7"]
    {
        assert!(page.contains(told), "{told}");
    }
}

#[test]
fn held_out_images_select_and_are_not_trained_on() {
    let runs = tempfile::tempdir().expect("a folder");
    let recipe = ["--lr", "0.02", "-e", "4", "-es", "0", "--hold-out", "0.34", "--dropout", "0.2"];
    let run = |name: &str| runs.path().join(name);
    // Of 3 classes of 9 images 3 each are held out: 18 are trained on, in 3 batches of at most 8.
    ok(train(runs.path(), "demo-whole", &recipe));
    let lines = history(&run("demo-whole"));
    assert_eq!(lines.iter().map(|line| line.step).collect::<Vec<_>>(), [3, 6, 9, 12]);
    let held_out = |line: &Epoch| line.held_out.expect("figures of held-out images");
    assert!(lines.iter().all(|line| held_out(line).held_out_top5 == 1.0), "of three classes the label is among five");
    assert!(lines.iter().all(|line| (held_out(line).held_out_top1 * 9.0).fract().abs() < 1e-9), "nine images");
    assert!(lines.iter().any(|line| held_out(line).held_out_loss != line.val_loss), "which are not those of val");
    assert_eq!(kept(&run("demo-whole")), first(&lines, |a, b| held_out(a).held_out_loss < held_out(b).held_out_loss));
    assert_eq!(settings(&run("demo-whole")).training.hold_out, 0.34);
    // Stopped between and within epochs, it is the same training, to the bit.
    ok(train(runs.path(), "demo-parts", &[&recipe[..], &["--max-steps", "5"]].concat()));
    ok(resume(runs.path(), "demo-parts", &["--max-steps", "9"]));
    ok(resume(runs.path(), "demo-parts", &[]));
    let figures = |name: &str| {
        let lines = history(&run(name)).into_iter();
        lines.map(|line| (line.train_loss, line.val_loss, line.held_out)).collect::<Vec<_>>()
    };
    assert_eq!(figures("demo-whole"), figures("demo-parts"));
    for path in [checkpoint::best_path, checkpoint::last_path] {
        let digest = |name: &str| checkpoint::digest_of(&path(&run(name))).expect("a digest");
        assert_eq!(digest("demo-whole"), digest("demo-parts"));
    }
    let mut again = vggkit(&["train", "--engine", "cpu", "--resume", "demo-whole", "--runs"]);
    again.arg(runs.path());
    let said = ok(again);
    assert!(said.contains(" (the one with the lowest loss on train images that were held out) with val"), "{said}");
    let error = fails(resume(runs.path(), "demo-whole", &["-e", "5", "--hold-out", "0.2"]), 2);
    assert!(error.contains("--hold-out 0.2, where the run has 0.34"), "{error}");
    let mut report = vggkit(&["report", "--quiet", "--out"]);
    report.arg(runs.path().join("site"));
    ok(on(report, runs.path()));
    let page = fs::read_to_string(runs.path().join("site/index.html")).expect("a page");
    for told in [
        "hold-out 0.34",
        "the lowest loss on train images that were held out",
        "of 4, the one with the lowest loss on train images that were held out",
        "Held out</th>",
        "chose nothing",
    ] {
        assert!(page.contains(told), "{told}");
    }
}

#[test]
fn early_stopping_reads_the_images_that_select() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["--lr", "0.05", "-e", "40", "-es", "1", "--hold-out", "0.34"]));
    let run = runs.path().join("demo-a");
    assert_eq!(settings(&run).origin.stopped_by, "early stopping");
    let losses: Vec<f64> = history(&run).iter().map(|line| line.held_out.expect("figures").held_out_loss).collect();
    let (last, before) = losses.split_last().expect("epochs");
    let lowest = |losses: &[f64]| losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(*last >= lowest(before), "{losses:?}");
    assert!(
        (1..before.len()).all(|epoch| before[epoch] < lowest(&before[..epoch])),
        "and in no epoch before: {losses:?}"
    );
    let error = fails(resume(runs.path(), "demo-a", &["-e", "60"]), 2);
    assert!(error.contains("without a lower loss on held-out train images"), "{error}");
    assert!(fails(train(runs.path(), "demo-b", &["--hold-out", "1"]), 2).contains("below 1"));
    let error = fails(train(runs.path(), "demo-b", &["--hold-out", "0.5", "--limit-train", "1"]), 2);
    assert!(error.contains("--hold-out") && !runs.path().join("demo-b").exists(), "{error}");
}
