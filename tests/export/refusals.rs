//! What cannot be exported is said with what to do, and what was there stays.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use vggkit::training::checkpoint;
use vggkit::training::run::Run;
use vggkit::vgg::weights;

use crate::{decode, export, fails, ok, property, train, vggkit};

fn run(flags: &[&str]) -> (TempDir, PathBuf) {
    let runs = tempfile::tempdir().expect("a folder");
    let tiny = ["--width", "0.05", "-i", "32", "-e", "1", "--head", "average"];
    let folder = train(runs.path(), "demo-a", &[&tiny, flags].concat());
    (runs, folder)
}

/// Puts `value` into two numbers of tensor `name`, with a digest that says that it belongs there.
fn spoil(run: &Path, name: &str, value: f32) {
    let (path, plan) = (checkpoint::best_path(run), Run::load(run).expect("a run").network.plan().expect("a plan"));
    let mut loaded = weights::load(&path, &plan).expect("weights");
    let index = plan.tensors().iter().position(|spec| spec.name == name).expect("a tensor");
    loaded.tensors[index][..2].fill(value);
    let mut hasher = Sha256::new();
    loaded.tensors.iter().for_each(|tensor| hasher.update(bytemuck::cast_slice::<f32, u8>(tensor)));
    let digest = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    loaded.metadata.insert("digest".to_owned(), digest);
    weights::save(&path, &plan, &loaded.tensors, 1, &loaded.metadata, &[]).expect("written");
}

#[test]
fn a_run_without_weights_and_what_is_no_run() {
    let (runs, run) = run(&[]);
    fs::remove_file(checkpoint::best_path(&run)).expect("removed");
    let error = fails(&mut export(&run, &[]), 1);
    assert!(error.contains("has not finished its first epoch") && error.contains("vggkit train --resume"), "{error}");
    let error = fails(export(Path::new("other"), &[]).arg("--runs").arg(runs.path()), 2);
    assert!(error.contains("there is no run other") && error.contains("demo-a"), "{error}");
    let error = fails(&mut vggkit(&["export"]), 2);
    assert!(error.contains("<RUN>"), "{error}");
}

#[test]
fn unknown_formats_and_flags_of_the_other_one() {
    for (flags, part) in [
        (&["--format", "onxx"][..], "onnx"),
        (&["--input", "u16"], "u8"),
        (&["--format", "torch", "--half"], "are of ONNX graphs"),
        (&["--format", "torch", "--no-fold"], "are of ONNX graphs"),
        (&["--format", "torch", "--input", "u8"], "are of ONNX graphs"),
    ] {
        let error = fails(&mut export(Path::new("a"), flags), 2);
        assert!(error.contains(part), "{flags:?}: {error}");
    }
}

#[test]
fn numbers_that_are_not_finite_are_named_by_their_tensor() {
    let (_runs, run) = run(&[]);
    ok(&mut export(&run, &[]));
    let before = fs::read(run.join("network.onnx")).expect("an export");
    spoil(&run, "features.4.bias", f32::NAN);
    for format in ["onnx", "torch"] {
        let error = fails(&mut export(&run, &["--format", format]), 1);
        assert!(error.contains("features.4.bias has 2 numbers that are not finite"), "{error}");
        assert!(error.contains("best.safetensors"), "{error}");
    }
    assert_eq!(fs::read(run.join("network.onnx")).expect("an export"), before);
    assert!(!run.join("torch").exists());
}

#[test]
fn what_folds_or_rounds_to_nothing_finite_is_named_with_the_way_out() {
    let (_runs, run) = run(&[]);
    spoil(&run, "features.1.running_var", -1.0);
    let error = fails(&mut export(&run, &[]), 1);
    assert!(
        error.contains("features.0.weight") && error.contains("not finite") && error.contains("--no-fold"),
        "{error}"
    );
    ok(&mut export(&run, &["--no-fold"]));
    spoil(&run, "features.1.running_var", 1.0);
    spoil(&run, "classifier.0.weight", -1e5);
    let error = fails(&mut export(&run, &["--half"]), 1);
    let part = "classifier.0.weight has 2 numbers that are beyond f16, whose largest is 65504";
    assert!(error.contains(part) && error.contains("without --half"), "{error}");
    ok(&mut export(&run, &[]));
}

#[test]
fn other_peoples_files_stay_unless_forced() {
    let (runs, run) = run(&[]);
    let weights = fs::read(checkpoint::best_path(&run)).expect("weights");
    let own = checkpoint::best_path(&run);
    let error = fails(export(&run, &["--out"]).arg(&own), 1);
    assert!(error.contains("was not written by `vggkit export`") && error.contains("--force"), "{error}");
    assert_eq!(fs::read(&own).expect("weights"), weights);
    let folder = runs.path().join("mine");
    fs::create_dir(&folder).expect("a folder");
    for (name, text) in [("network.py", "print(1)\n"), ("weights.safetensors", "mine")] {
        fs::write(folder.join(name), text).expect("a file");
        let error = fails(export(&run, &["--format", "torch", "--out"]).arg(&folder), 1);
        assert!(error.contains(name) && error.contains("--force"), "{error}");
        assert_eq!(fs::read_to_string(folder.join(name)).expect("a file"), text);
        fs::remove_file(folder.join(name)).expect("removed");
    }
    fs::write(folder.join("network.py"), "print(1)\n").expect("a file");
    ok(export(&run, &["--format", "torch", "--force", "--out"]).arg(&folder));
    // Nothing is lost by filling an empty file, or by exporting once more.
    let file = folder.join("a.onnx");
    fs::write(&file, "").expect("a file");
    ok(export(&run, &["--out"]).arg(&file));
    ok(export(&run, &["--input", "u8", "--out"]).arg(&file));
    assert_eq!(property(&decode(&file), "input"), "u8");
}

#[test]
fn a_place_that_cannot_be_written() {
    let (runs, run) = run(&[]);
    let file = runs.path().join("file");
    fs::write(&file, "x").expect("a file");
    for (flags, out) in
        [(&[][..], file.join("a.onnx")), (&["--format", "torch"], file.clone()), (&[], runs.path().to_owned())]
    {
        let error = fails(export(&run, flags).arg("--out").arg(&out), 1);
        assert!(error.contains(&*file.to_string_lossy()) || error.contains(&*out.to_string_lossy()), "{error}");
        assert!(error.contains("help: "), "{error}");
    }
    assert_eq!(fs::read_to_string(&file).expect("a file"), "x");
}

#[test]
fn what_was_written_is_told_in_text_and_as_json() {
    let (runs, run) = run(&["--ema", "0.5"]);
    let text = ok(vggkit(&["export", "demo-a", "--runs"]).arg(runs.path()));
    assert!(text.contains("VGG-11, width 0.05") && text.contains("network.onnx (0."), "{text}");
    let json = ok(vggkit(&["export", "a", "--json", "--format", "torch", "--runs"]).arg(runs.path()));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let bytes: u64 = ["network.py", "weights.safetensors"]
        .map(|name| fs::metadata(run.join("torch").join(name)).expect("a file").len())
        .iter()
        .sum();
    let out = run.join("torch").display().to_string();
    let expected = serde_json::json!({
        "schema": "vggkit/export/1", "run": "demo-a", "format": "torch", "out": out, "bytes": bytes,
    });
    assert_eq!(json, expected);
    assert_eq!(ok(&mut export(&run, &[])), "");
}
