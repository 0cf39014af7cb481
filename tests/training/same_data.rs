//! Data is known by what is in it: prepared again, elsewhere, without class folders, it is the data that a run began with.

use std::fs;
use std::path::Path;

use vggkit::dataset::{Identity, Manifest};
use vggkit::files;

use crate::{fails, history, ok, settings, vggkit};

/// The demo set, in a folder of its own that goes with the test.
fn prepare(data: &Path, more: &[&str]) {
    let small = ["prepare", "--demo", "--quiet", "--classes", "3", "--per-class", "9", "--data"];
    let mut command = vggkit(&small);
    command.arg(data).args(more);
    ok(command);
}

/// The content's name, and the manifest's checksum.
fn names(demo: &Path) -> (String, String) {
    let (_, identity) = Identity::of(demo).expect("prepared data");
    (identity.content_sha256, files::sha256(&Manifest::path(demo)).expect("a manifest"))
}

/// A time that no manifest here has, so that two of them differ without waiting for the clock.
fn of_another_time(demo: &Path) {
    let mut manifest = Manifest::load(demo).expect("a manifest");
    manifest.created = "2020-01-01T00:00:00Z".into();
    files::write_json(&Manifest::path(demo), &manifest).expect("written");
}

fn train(work: &Path, more: &[&str]) -> std::process::Command {
    let mut command = vggkit(&["train", "--quiet", "--engine", "cpu"]);
    command.args(more).current_dir(work);
    command
}

const NEW: [&str; 12] = ["--width", "0.05", "-i", "32", "-b", "8", "-e", "1", "--data", "a/demo", "--run", "demo-a"];

#[test]
fn a_run_goes_on_and_is_found_on_the_same_data_prepared_again_elsewhere() {
    let work = tempfile::tempdir().expect("a folder");
    let at = |name: &str| work.path().join(name);
    prepare(&at("a"), &[]);
    of_another_time(&at("a/demo"));
    ok(train(work.path(), &NEW));
    prepare(&at("b"), &["--no-folders"]);
    assert_eq!(names(&at("a/demo")).0, names(&at("b/demo")).0);
    assert_ne!(names(&at("a/demo")).1, names(&at("b/demo")).1);

    fs::remove_dir_all(at("a")).expect("removed");
    let gone = fails(train(work.path(), &["--resume", "demo-a", "-e", "2"]), 1);
    assert!(gone.contains("a/demo") && gone.contains("--resume runs/demo-a --data DIR"), "{gone}");
    let mut named = vggkit(&["evaluate", "demo-a", "--quiet"]);
    named.current_dir(work.path());
    let gone = fails(named, 1);
    assert!(gone.contains("name it with --data DIR"), "{gone}");
    ok(train(work.path(), &["--resume", "demo-a", "-e", "2", "--data", "b/demo"]));
    assert_eq!(history(&at("runs/demo-a")).len(), 2);
    assert_eq!(settings(&at("runs/demo-a")).data.folder, "b/demo");

    prepare(&at("c"), &[]); // from here on the run's own folder is not the one at hand
    fs::remove_dir_all(at("b")).expect("removed");
    for command in ["evaluate", "predict"] {
        let mut command = vggkit(&[command, "--quiet", "--engine", "cpu", "--data", "c/demo"]);
        command.current_dir(work.path());
        ok(command);
    }
    assert!(at("runs/demo-a/evaluation.json").exists());
    let mut report = vggkit(&["report", "--quiet", "--data", "c/demo"]);
    report.current_dir(work.path());
    ok(report);
    let rows = fs::read_to_string(at("site/index_files/raw/runs.csv")).expect("rows");
    assert!(rows.contains(&names(&at("c/demo")).0), "{rows}");
    let page = fs::read_to_string(at("site/index.html")).expect("a page");
    assert!(page.contains("mistakes-run-demo-a"), "the run's mistakes are shown by the images at hand");

    prepare(&at("other"), &["--seed", "1"]);
    let other = fails(train(work.path(), &["--resume", "demo-a", "-e", "3", "--data", "other/demo"]), 1);
    assert!(other.contains("not the data set this run began with") && other.contains("--data DIR"), "{other}");
}

/// Makes a run one of a version that knew its data by the manifest alone.
fn as_it_was(run: &Path, manifest_sha256: &str) {
    let mut run_toml = settings(run);
    run_toml.data.content_sha256.clear();
    run_toml.data.manifest_sha256 = manifest_sha256.to_owned();
    files::write_toml(&run.join("run.toml"), &run_toml).expect("written");
    assert!(!fs::read_to_string(run.join("run.toml")).expect("text").contains("content_sha256"));
}

#[test]
fn a_run_of_an_older_version_keeps_its_data() {
    let work = tempfile::tempdir().expect("a folder");
    let at = |name: &str| work.path().join(name);
    let (run, data) = (at("runs/demo-a"), at("a/demo"));
    prepare(&at("a"), &[]);
    of_another_time(&data);
    ok(train(work.path(), &NEW));
    let (content, manifest) = names(&data);
    as_it_was(&run, &manifest);

    let predict = |data: &str| {
        let mut command = vggkit(&["predict", "--quiet", "--engine", "cpu", "--data", data]);
        command.current_dir(work.path());
        command
    };
    ok(predict("a/demo"));
    prepare(&at("b"), &[]);
    ok(predict("b/demo")); // by the manifest that a/demo still has
    prepare(&at("a"), &["--no-folders"]); // another manifest, the same packs
    assert_ne!(names(&data).1, manifest);
    assert_eq!(Manifest::load(&data).expect("a manifest").former, std::slice::from_ref(&manifest));
    ok(predict("a/demo"));
    ok(predict("b/demo"));
    prepare(&at("a"), &[]);
    assert!(Manifest::load(&data).expect("a manifest").former.contains(&manifest), "however often");
    ok(train(work.path(), &["--resume", "demo-a", "-e", "2"]));
    assert_eq!(settings(&run).data.content_sha256, content, "from now on it is known by its content");

    as_it_was(&run, &"ab".repeat(32));
    fails(predict("a/demo"), 2);
    as_it_was(&run, &manifest);
    prepare(&at("a"), &["--seed", "1"]);
    assert!(Manifest::load(&data).expect("a manifest").former.is_empty(), "other data is another's");
    fails(predict("a/demo"), 2);
}
