//! Trainings that are taught by the networks of earlier runs.

use std::fs;

use vggkit::dataset::Pack;
use vggkit::engine::Pick;
use vggkit::engines::{Choice, Target};
use vggkit::inference::teachers;
use vggkit::training::chosen::Chosen;

use crate::exactness::fingerprint;
use crate::{data, fails, history, ok, resume, settings, train};

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

#[test]
fn teachers_are_asked_about_the_images_that_are_trained_on() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["-e", "1"]));
    let recipe = ["--distill", "a", "--limit-train", "20", "--hold-out", "0.2", "--mixup", "0.3", "-e", "2"];
    ok(train(runs.path(), "demo-whole", &[&recipe[..], &["--log-steps"]].concat()));
    ok(train(runs.path(), "demo-part", &[&recipe[..], &["--log-steps", "--max-steps", "2"]].concat()));
    ok(resume(runs.path(), "demo-part", &["--log-steps"]));
    let run = |name: &str| runs.path().join(name);
    assert!(fingerprint(&run("demo-part")) == fingerprint(&run("demo-whole")));

    let pack = Pack::open(data(), "train").expect("train");
    let trained = Chosen::new(&settings(&run("demo-whole")).training, &pack.images.labels).expect("images").trained;
    assert!((1..20).contains(&trained.len()) && pack.images.count > 20, "{trained:?}");
    let target = Target { choice: Choice::Cpu, ..Target::default() };
    let ask = |images: &[u32]| {
        let mut done = 0;
        let told = |images| done = images;
        let said = teachers::ask(&[run("demo-a")], (&pack, images.to_vec()), &target, 2, told).expect("an answer");
        assert_eq!((done, said.images()), (images.len(), images), "no others");
        let (mut rows, picks) = (Vec::new(), trained.iter().copied().map(Pick::of));
        said.rows(&picks.collect::<Vec<_>>(), 32, &mut rows);
        rows
    };
    let every: Vec<u32> = (0..).take(pack.images.count).collect();
    let (of_some, of_all) = (ask(&trained), ask(&every));
    assert_eq!(of_some.len(), trained.len() * pack.wnids.len());
    assert_eq!(of_some, of_all, "the same as among others");
}
