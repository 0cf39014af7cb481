//! Trainings that are taught by the networks of earlier runs.

use std::fs;

use crate::exactness::fingerprint;
use crate::{fails, history, ok, resume, settings, train};

#[test]
fn a_taught_network_learns_what_its_teachers_say_and_resumes_to_the_bit() {
    let runs = tempfile::tempdir().expect("a folder");
    for (name, seed) in [("demo-a", "1"), ("demo-b", "2")] {
        ok(train(runs.path(), name, &["-e", "2", "--seed", seed]));
    }
    let recipe = ["-e", "2", "--log-steps", "--cutmix", "1", "--distill", "a,demo-b", "--distill-weight", "0.75"];
    ok(train(runs.path(), "demo-whole", &recipe));
    let whole = fingerprint(&runs.path().join("demo-whole"));
    ok(train(runs.path(), "demo-part", &[&recipe[..], &["--max-steps", "5"]].concat()));
    ok(resume(runs.path(), "demo-part", &["--log-steps", "--threads", "1"]));
    assert!(fingerprint(&runs.path().join("demo-part")) == whole);

    let run = settings(&runs.path().join("demo-whole"));
    assert_eq!((run.training.distill.join(" "), run.training.distill_weight), ("a demo-b".into(), 0.75));
    let best = |name: &str| settings(&runs.path().join(name)).origin.best_sha256;
    assert_eq!(run.origin.teachers.len(), 2);
    assert_ne!(best("demo-whole"), best("demo-a"));
    // Other teachers, another network.
    ok(train(runs.path(), "demo-one", &["-e", "2", "--log-steps", "--cutmix", "1", "--distill", "a"]));
    assert!(fingerprint(&runs.path().join("demo-one")) != whole);
    assert!(history(&runs.path().join("demo-whole")).iter().all(|epoch| epoch.train_loss.is_finite()));
}

#[test]
fn teachers_that_are_missing_or_others_now_are_told_before_anything_is_lost() {
    let runs = tempfile::tempdir().expect("a folder");
    let error = fails(train(runs.path(), "demo-x", &["--distill", "nobody"]), 2);
    assert!(error.contains("nobody"), "{error}");
    assert!(!runs.path().join("demo-x").exists(), "nothing was begun");
    let error = fails(train(runs.path(), "demo-x", &["--distill-weight", "0.3"]), 2);
    assert!(error.contains("--distill"), "{error}");

    for (name, seed) in [("demo-a", "1"), ("demo-b", "2")] {
        ok(train(runs.path(), name, &["-e", "1", "--seed", seed]));
    }
    ok(train(runs.path(), "demo-x", &["-e", "1", "--distill", "a", "--max-steps", "2"]));
    let [best, other] = ["demo-a", "demo-b"].map(|name| runs.path().join(name).join("best.safetensors"));
    let kept = fs::read(&best).expect("weights");
    fs::copy(&other, &best).expect("weights");
    let error = fails(resume(runs.path(), "demo-x", &[]), 1);
    assert!(error.contains("other weights than a"), "{error}");
    fs::write(&best, kept).expect("weights");
    ok(resume(runs.path(), "demo-x", &[]));
}
