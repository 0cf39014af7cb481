//! What a user is told when a GPU fails, and what is left then: failures are provoked by `VGGKIT_FAULT` where no driver
//! can be made to show them. Runs on a software adapter.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use vggkit::engine::gpu::plumbing::readback::Staging;
use vggkit::engine::gpu::{Gpu, Options};
use vggkit::error::Kind;

/// The binary with a cache folder of its own.
fn vggkit(arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
    command.args(arguments).env("VGGKIT_CACHE", folder().join("cache"));
    command
}

/// A folder with a demo set of 3 classes of 9 train images each, made once.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let mut prepare = Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
            prepare.args(["prepare", "--demo", "--quiet", "--classes", "3", "--per-class", "9", "--data"]);
            assert!(prepare.arg(folder.path().join("data")).status().expect("it runs").success());
            // What is fastest is measured once, so that all runs have the same variants and so the same bits.
            let mut tune = Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
            tune.args(["tune", "--json", "--width", "0.05", "-i", "32", "-b", "8", "--classes", "3"]);
            tune.args(["--adapter", "llvmpipe"]).env("VGGKIT_CACHE", folder.path().join("cache"));
            assert!(tune.output().expect("it runs").status.success());
            folder
        })
        .path()
}

/// Two epochs of four steps on the GPU, with what goes wrong.
fn train(run: &str, fault: &str, more: &[&str]) -> Output {
    let tiny = ["--width", "0.05", "-i", "32", "-e", "2", "-es", "0", "--engine", "gpu"];
    let mut command = vggkit(&["train", "--run", run, "--overwrite", "--adapter", "llvmpipe"]);
    command
        .args(if more.contains(&"-b") { &[][..] } else { &["-b", "8"] })
        .args(tiny)
        .args(more)
        .arg("--data")
        .arg(folder().join("data/demo"))
        .arg("--runs")
        .arg(folder().join("runs"));
    if !fault.is_empty() {
        command.env("VGGKIT_FAULT", fault);
    }
    command.output().expect("the binary runs")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Exit code and message of a failure that ends the training.
fn fails(fault: &str, expected: &[&str]) {
    let output = train(&format!("demo-{}", fault.replace(':', "-")), fault, &[]);
    let text = told(&output);
    assert_eq!(output.status.code(), Some(1), "{fault}: {text}");
    for expected in expected {
        assert!(text.contains(expected), "{fault}: \"{expected}\" is not in\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

/// The tensors of a run's checkpoint, as bytes.
fn weights(run: &str) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(folder().join("runs").join(run).join("last.safetensors")).expect("a checkpoint");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut names: Vec<_> = file.names();
    names.sort_unstable();
    names.iter().map(|name| file.tensor(name).expect("there").data().to_vec()).collect()
}

#[test]
fn a_lost_device_is_opened_again_and_nothing_is_lost() {
    let whole = train("demo-whole", "", &[]);
    assert!(whole.status.success(), "{}", told(&whole));
    let lost = train("demo-lost", "lost:6", &[]);
    assert!(lost.status.success(), "{}", told(&lost));
    assert!(told(&lost).contains("opening it again"), "{}", told(&lost));
    assert!(weights("demo-lost") == weights("demo-whole"));
}

/// A checkpoint is read on a thread of its own, while the training finds that the device was lost.
#[test]
fn what_is_looked_at_outlives_its_device() {
    let options = Options { adapter: Some("llvmpipe".into()), ..Options::default() };
    let gpu = &Gpu::open(&options).expect("llvmpipe (Debian: mesa-vulkan-drivers)");
    let numbers = &(0..1 << 20).map(|i| i as f32).collect::<Vec<f32>>();
    let slices = [gpu.upload("numbers", numbers).expect("memory")];
    let staging = Staging::new(gpu, &slices).expect("memory");
    let submission = gpu.submit([], 0, &staging.copies(&slices));
    let readback = staging.submitted(&slices, submission);
    readback.wait(gpu).expect("it arrives");

    let (looking, looks) = channel();
    let readback = thread::scope(|scope| {
        let seen = scope.spawn(move || {
            let same = readback.look(gpu, 0, |seen| {
                looking.send(()).expect("somebody waits");
                thread::sleep(Duration::from_millis(200)); // the device is polled meanwhile
                seen == numbers
            });
            (same, readback)
        });
        looks.recv().expect("it looks");
        gpu.lose();
        assert_eq!(gpu.wait(None).expect_err("it is lost").kind(), Kind::DeviceLost);
        let (same, readback) = seen.join().expect("no fault");
        assert!(same.expect("it had begun to look"));
        readback
    });
    assert_eq!(readback.look(gpu, 0, |_| ()).expect_err("it is lost").kind(), Kind::DeviceLost);
}

/// A device that is lost ahead of a submission: while the engine is opened nothing has begun, later it is opened again and the
/// training comes to the same bits. Every so manieth submission; `make torture` takes all.
#[allow(clippy::print_stderr, reason = "a test of minutes tells what it did")]
#[test]
fn a_device_lost_at_any_submission_ends_ahead_of_the_training_or_changes_nothing() {
    let short = ["-e", "1", "--max-steps", "4"];
    let whole = train("demo-submitted", "", &short);
    assert!(whole.status.success(), "{}", told(&whole));
    let expected = weights("demo-submitted");
    let stride = if std::env::var("TORTURE").is_ok_and(|how| how == "all") { 1 } else { 7 };
    let (mut opened_again, mut ended) = (0, 0);
    for number in (1..).step_by(stride) {
        let run = format!("demo-submission-{number}");
        let output = train(&run, &format!("submission:{number}"), &short);
        let text = told(&output);
        assert!(!text.contains("panicked"), "submission {number}: {text}");
        let again = text.contains("opening it again");
        match output.status.code() {
            Some(0) => assert!(weights(&run) == expected, "submission {number}: {text}"),
            Some(1) => {
                assert!(text.contains("lost"), "submission {number}: {text}");
                let begun = folder().join("runs").join(&run).join("run.toml").exists();
                assert!(!begun, "submission {number} of a training that had begun: {text}");
                ended += 1;
            }
            code => panic!("submission {number}: {code:?}: {text}"),
        }
        opened_again += usize::from(again);
        if output.status.success() && !again {
            eprintln!(
                "{number} submissions or fewer: {ended} ended ahead of the training, {opened_again} were opened again"
            );
            break; // there are fewer submissions
        }
    }
    assert!(opened_again > 0);
}

#[test]
fn a_driver_that_hangs_is_told_of_and_the_checkpoint_stays() {
    fails("hang:6", &["has not answered", "driver"]);
    let resumed = vggkit(&["train", "--quiet", "--engine", "cpu", "--resume", "demo-hang-6"])
        .arg("--runs")
        .arg(folder().join("runs"))
        .output()
        .expect("the binary runs");
    assert!(resumed.status.success(), "{}", told(&resumed));
}

#[test]
fn a_rejected_shader_is_named() {
    fails("shader:2", &["refused the shader", "selftest"]);
}

#[test]
fn too_little_memory_leads_to_micro_batches_and_at_last_to_advice() {
    // Beside 1.5 MB of parameters and moments there is room for the activations of some images, whatever variants are
    // the fastest, but not for those of 24.
    let tight = train("demo-tight", "memory:3000000", &["-b", "24"]);
    assert!(tight.status.success(), "{}", told(&tight));
    assert!(told(&tight).contains("micro-batches of a batch of 24"), "{}", told(&tight));
    fails("memory:100000", &["even one image at a time needs", "--engine cpu"]);
}

#[test]
fn images_that_do_not_fit_travel_with_their_batch_and_change_nothing() {
    let whole = train("demo-resident", "", &["--max-steps", "3"]);
    assert!(whole.status.success(), "{}", told(&whole));
    // The batch is computed at once in both; images are what is left out.
    let streamed = train("demo-streamed", "images:0", &["--max-steps", "3"]);
    assert!(streamed.status.success(), "{}", told(&streamed));
    assert!(told(&streamed).contains("travel with it"), "{}", told(&streamed));
    let history = |run: &str| {
        let text = std::fs::read_to_string(folder().join("runs").join(run).join("history.jsonl")).expect("a history");
        let line: serde_json::Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        (line["train_loss"].as_f64(), line["val_loss"].as_f64())
    };
    assert_eq!(history("demo-resident"), history("demo-streamed"));
}
