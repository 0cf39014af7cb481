//! What a training comes to: divergence, early stopping, overfitting.

use vggkit::training::checkpoint;
use vggkit::training::history::Epoch;
use vggkit::training::run::Run;

use crate::{fails, history, ok, on, resume, settings, step_of, train, vggkit};

#[test]
fn divergence_is_an_error_that_keeps_the_last_good_checkpoint() {
    let runs = tempfile::tempdir().expect("a folder");
    let error = fails(train(runs.path(), "demo-a", &["--no-batch-norm", "--lr", "1e30", "-e", "50"]), 1);
    assert!(error.contains("diverged") && error.contains("last good weights") && error.contains("-lr"), "{error}");
    let run = runs.path().join("demo-a");
    step_of(&run);
    assert_eq!(settings(&run).origin.stopped_by, "diverged");
}

#[test]
fn early_stopping_keeps_the_best_and_stops() {
    let runs = tempfile::tempdir().expect("a folder");
    // A learning rate that ruins the network: validation loss does not go on falling.
    ok(train(runs.path(), "demo-a", &["--lr", "0.05", "-e", "60", "-es", "3"]));
    let run = runs.path().join("demo-a");
    let history = history(&run);
    let losses: Vec<f64> = history.iter().map(|epoch| epoch.val_loss).collect();
    let best = (0..losses.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).expect("an epoch");
    assert!(losses.len() < 60, "it never stopped");
    assert_eq!(losses.len(), best + 1 + 3, "{losses:?}");
    let settings = settings(&run);
    assert_eq!(settings.origin.stopped_by, "early stopping");
    let plan = settings.network.plan().expect("a network");
    let kept = checkpoint::load(&checkpoint::best_path(&run), &plan, None).expect("best");
    assert_eq!(kept.progress.best_epoch, best + 1);
    assert_eq!(kept.progress.step, history[best].step);
}

#[test]
fn a_run_that_has_ended_says_so_and_keeps_its_record() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["-e", "2"]));
    let run = runs.path().join("demo-a");
    let error = fails(resume(runs.path(), "demo-a", &["-e", "1"]), 2);
    assert!(error.contains("2 epochs") && settings(&run).training.epochs == 2, "{error}");

    let mut before = settings(&run);
    before.origin.finished = "2001-01-01T00:00:00Z".into();
    vggkit::files::write_toml(&Run::path(&run), &before).expect("written");
    let mut again = vggkit(&["train", "--engine", "cpu", "--resume", "demo-a", "--runs"]);
    let output = again.arg(runs.path()).output().expect("it runs");
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains("ended after 2 epochs") && told.contains("-e"), "{told}");
    let best = history(&run).into_iter().min_by(|a, b| a.val_loss.total_cmp(&b.val_loss)).expect("an epoch");
    assert!(said.contains(&format!("best epoch {} with val loss {:.4}", best.epoch, best.val_loss)), "{said}");
    assert_eq!(settings(&run), before);
    ok(resume(runs.path(), "demo-a", &["-e", "3"]));
    assert_eq!((history(&run).len(), settings(&run).origin.finished == before.origin.finished), (3, false));
}

#[test]
fn a_small_network_overfits_its_images() {
    let runs = tempfile::tempdir().expect("a folder");
    let network = ["train", "--quiet", "--json", "--run", "demo-a", "--width", "0.125", "-i", "32"];
    let recipe = ["-b", "9", "--augment", "none", "-v", "train", "-e", "40", "-es", "0"];
    let output = ok(on(vggkit(&[&network[..], &recipe[..]].concat()), runs.path()));
    let last: Epoch = serde_json::from_str(output.lines().last().expect("a line")).expect("an epoch");
    assert!(last.val_top1 == 1.0, "{last:?}");
}
