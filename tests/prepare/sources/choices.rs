//! `--classes` and `--per-class`: which images they take.

use std::fs;

use predicates::prelude::*;
use predicates::str::contains;
use vggkit::dataset::classes::Classes;
use vggkit::dataset::{Manifest, Pack};

use super::{PREPARE, raw, vggkit};

#[test]
fn classes_by_name_and_by_file() {
    let (work, _raw) = raw(4, 3);
    fs::write(work.path().join("mine.txt"), "# mine\nn90000004\ttriangle\nn90000002\n").unwrap();
    for (choice, data) in [("n90000004,n90000002", "a"), ("mine.txt", "b")] {
        vggkit(work.path()).args(PREPARE).args(["--classes", choice, "--data", data]).assert().success();
        let data = work.path().join(data);
        let train = Pack::open(&data, "train").unwrap();
        assert_eq!(train.wnids, ["n90000002", "n90000004"]);
        assert_eq!(*train.images.labels, [0, 0, 0, 1, 1, 1]);
        assert!(train.files[3].starts_with("n90000004_"));
        assert_eq!(Pack::open(&data, "val").unwrap().images.count, 2);
        let named = Classes::Named(vec!["n90000002".into(), "n90000004".into()]);
        assert_eq!(Manifest::load(&data).unwrap().settings.classes, Some(named));
        vggkit(work.path()).args(["verify", "--data"]).arg(&data).assert().success();
    }
    let mut command = vggkit(work.path());
    let wrong = contains("no class `n90000014`").and(contains("raw has 4 classes; the nearest is `n90000004`"));
    command.args(PREPARE).args(["--classes", "n90000014"]).assert().code(2).stderr(wrong);
    vggkit(work.path()).args(PREPARE).args(["--classes", "no/file.txt"]).assert().code(2);
    vggkit(work.path()).args(PREPARE).args(["--classes", "0"]).assert().code(2);
    vggkit(work.path()).args(["prepare", "--demo", "--classes", "n1"]).assert().code(2);
}

#[test]
fn a_seed_draws_the_same_again_and_another_seed_others() {
    let (work, _raw) = raw(8, 30);
    let draw = |seed: &str, data: &str, classes: &str| {
        let arguments = ["--classes", classes, "--per-class", "4", "--seed", seed, "--data", data];
        vggkit(work.path()).args(PREPARE).args(arguments).assert().success();
        let pack = Pack::open(&work.path().join(data), "train").unwrap();
        (pack.wnids, pack.files)
    };
    let one = draw("1", "one", "3");
    assert_eq!((one.0.len(), one.1.len()), (3, 12));
    assert!(one.0.is_sorted());
    assert_eq!(one, draw("1", "again", "3"));
    assert_ne!(one.1, draw("2", "two", "3").1);
    // Whatever classes are taken, the drawn images of each are the same.
    let all = draw("1", "all", "8");
    assert!(one.1.iter().all(|file| all.1.contains(file)));
    vggkit(work.path()).args(PREPARE).args(["--seed", "1"]).assert().code(2).stderr(contains("--seed draws"));
}
