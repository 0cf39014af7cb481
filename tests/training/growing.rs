//! Trainings whose images grow.

use std::fs;

use crate::exactness::fingerprint;
use crate::{fails, history, ok, resume, settings, step_of, train};
use vggkit::training::checkpoint;

const SIZES: [&str; 2] = ["--image-size", "32:0,40:1,48:2"];

#[test]
fn each_size_goes_on_from_the_one_before_and_resumes_to_the_bit() {
    let runs = tempfile::tempdir().expect("a folder");
    let recipe = [&SIZES[..], &["-e", "4", "--log-steps", "--schedule", "cosine", "--head", "average"]].concat();
    // Stopped within an epoch, at its end, and where the size changes.
    for (engine, stops) in
        [(&["--engine", "cpu"][..], &["3", "4", "6", "8"][..]), (&["--engine", "gpu", "--adapter", "llvmpipe"], &["5"])]
    {
        let recipe = [&recipe[..], engine].concat();
        let name = |part: &str| format!("demo-{}-{part}", engine[1]);
        ok(train(runs.path(), &name("whole"), &recipe));
        let folder = runs.path().join(name("whole"));
        let whole = fingerprint(&folder);
        for k in stops {
            ok(train(runs.path(), &name(k), &[&recipe[..], &["--max-steps", k, "--threads", "1"]].concat()));
            assert_eq!(step_of(&runs.path().join(name(k))).to_string(), *k);
            ok(resume(runs.path(), &name(k), &[&["--log-steps", "--threads", "2"], engine].concat()));
            assert!(fingerprint(&runs.path().join(name(k))) == whole, "{engine:?}: stopped after step {k}");
        }
        let run = settings(&folder);
        assert_eq!(run.network.image_size, 48);
        assert_eq!(run.training.image_sizes.map(|sizes| sizes.to_string()), Some("32:0,40:1,48:2".into()));
        // The network that is kept is the best of those that saw images of the last size.
        let last: Vec<_> = history(&folder).into_iter().filter(|epoch| epoch.epoch > 2).collect();
        let best = last.iter().min_by(|a, b| a.val_loss.total_cmp(&b.val_loss)).expect("two epochs");
        let plan = run.network.plan().expect("a plan");
        let kept = checkpoint::load(&checkpoint::best_path(&folder), &plan, None).expect("best");
        assert_eq!(kept.progress.step, best.step);
    }
    // The size is what tells it from a training with one.
    ok(train(
        runs.path(),
        "demo-one",
        &["-i", "48", "-e", "4", "--log-steps", "--schedule", "cosine", "--head", "average"],
    ));
    assert!(fingerprint(&runs.path().join("demo-one")) != fingerprint(&runs.path().join("demo-cpu-whole")));
    let text = fs::read_to_string(runs.path().join("demo-one/run.toml")).expect("run.toml");
    assert!(!text.contains("image_sizes"), "{text}");
}

#[test]
fn sizes_that_never_come_are_refused() {
    let runs = tempfile::tempdir().expect("a folder");
    let error = fails(train(runs.path(), "demo-x", &["-i", "32:0,64:9", "-e", "9"]), 2);
    assert!(error.contains("9 of 9 epochs"), "{error}");
    let error = fails(train(runs.path(), "demo-x", &["-i", "32:0,64"]), 2);
    assert!(error.contains("32:0,48:40,64:70"), "{error}");
    assert!(!runs.path().join("demo-x").exists());
    // Nor by a training that goes on with fewer epochs.
    ok(train(runs.path(), "demo-x", &["-i", "32:0,40:3", "-e", "5", "--max-steps", "2"]));
    let error = fails(resume(runs.path(), "demo-x", &["-e", "3"]), 2);
    assert!(error.contains("3 of 3 epochs"), "{error}");
    assert_eq!(settings(&runs.path().join("demo-x")).training.epochs, 5);
    let mixed = ["--cutmix", "1", "--mix-off", "2", "-e", "5", "--max-steps", "2"];
    ok(train(runs.path(), "demo-y", &mixed));
    assert!(fails(resume(runs.path(), "demo-y", &["-e", "2"]), 2).contains("--mix-off 2"));
}
