//! Options of an update through the command line: resumed to the bit on every engine, and the averaged weights in what is
//! validated, kept, evaluated and begun from.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use vggkit::training::checkpoint;
use vggkit::vgg::weights;

use crate::exactness::fingerprint;
use crate::{fails, history, ok, on, resume, settings, step_of, train, vggkit};

const NESTEROV: [&str; 7] = ["--optimizer", "sgd", "--momentum", "0.9", "--nesterov", "--weight-decay", "0.01"];
const ADAMW: [&str; 2] = ["--optimizer", "adamw"];
const MORE: [&str; 6] = ["--no-decay", "norm,bias", "--clip-norm", "0.5", "--ema", "0.9"];

#[test]
fn every_option_of_an_update_resumes_to_the_bit() {
    let runs = tempfile::tempdir().expect("a folder");
    let cpu = &["--engine", "cpu"][..];
    let gpu = &["--engine", "gpu", "--adapter", "llvmpipe"][..];
    for (name, engine, half, rule, stops) in [
        ("cpu", cpu, false, &NESTEROV[..], &["1", "4", "6", "9"][..]),
        ("cpu-adamw", cpu, false, &ADAMW, &["5"]),
        // Another engine goes on with the average where images grow.
        ("cpu-sizes", cpu, false, &["--optimizer", "adamw", "-i", "32:0,37:1"], &["2", "4", "6"]),
        ("gpu", gpu, false, &NESTEROV, &["6"]),
        ("gpu-f16", gpu, true, &NESTEROV, &["5"]),
    ] {
        // 27 images in batches of 8: 4 steps an epoch.
        let recipe = [rule, &MORE, &["-e", "3", "--log-steps", "--dropout", "0.3"], engine].concat();
        let recipe = if half { [&recipe[..], &["--precision", "f16"]].concat() } else { recipe };
        let of = |part: &str| format!("demo-{name}-{part}");
        ok(train(runs.path(), &of("whole"), &recipe));
        let whole = fingerprint(&runs.path().join(of("whole")));
        for k in stops {
            ok(train(runs.path(), &of(k), &[&recipe[..], &["--max-steps", k, "--threads", "1"]].concat()));
            assert_eq!(step_of(&runs.path().join(of(k))).to_string(), *k);
            ok(resume(runs.path(), &of(k), &[&["--log-steps", "--threads", "2"], engine].concat()));
            assert!(fingerprint(&runs.path().join(of(k))) == whole, "{name}: stopped after step {k}");
        }
    }
    let text = |name: &str| fs::read_to_string(runs.path().join(name).join("run.toml")).expect("run.toml");
    let (nesterov, adamw) = (text("demo-cpu-whole"), text("demo-cpu-adamw-whole"));
    for (text, line) in [
        (&nesterov, "nesterov = true"),
        (&nesterov, "no_decay = \"norm,bias\""),
        (&nesterov, "clip_norm = 0.5"),
        (&nesterov, "ema = 0.9"),
        (&adamw, "name = \"adamw\""),
        (&adamw, "weight_decay = 0.01"),
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    // Without any of it nothing is said of it.
    ok(train(runs.path(), "demo-plain", &["--optimizer", "sgd", "-e", "1", "--max-steps", "1"]));
    let plain = text("demo-plain");
    let silent = ["nesterov", "no_decay", "clip_norm", "\nema"].iter().all(|key| !plain.contains(key));
    assert!(silent, "{plain}");
}

/// The tensors of a weight file by name, without those whose name begins with `optimizer.`.
fn tensors(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(path).expect("a file");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let all = file.tensors().into_iter().filter(|(name, _)| !name.starts_with("optimizer."));
    all.map(|(name, view)| (name, view.data().to_vec())).collect()
}

#[test]
fn the_average_is_validated_kept_and_evaluated_and_the_live_weights_go_on() {
    let runs = tempfile::tempdir().expect("a folder");
    let recipe = [&NESTEROV[..], &["-e", "1", "--ema", "0.5", "--lr", "0.02"]].concat();
    ok(train(runs.path(), "demo-averaged", &recipe));
    ok(train(runs.path(), "demo-live", &[&recipe[..], &["--ema", "0"]].concat()));
    let (averaged, live) = (runs.path().join("demo-averaged"), runs.path().join("demo-live"));
    let (best, last) = (tensors(&checkpoint::best_path(&averaged)), tensors(&checkpoint::last_path(&averaged)));
    let of_others = tensors(&checkpoint::last_path(&live));
    for (name, values) in best.iter().filter(|(name, _)| !name.ends_with("num_batches_tracked")) {
        assert!(last[&format!("averaged.{name}")] == *values, "{name}: the best network is the average");
        assert!(last[name] == of_others[name], "{name}: the live weights are those of a training without average");
        // A bias ahead of batch normalisation has no gradient, and is not decayed from 0.
        assert!(last[name] != *values || values.iter().all(|byte| *byte == 0), "{name} is averaged");
    }
    let [line] = &history(&averaged)[..] else { panic!("one epoch") };
    assert!(!of_others.keys().any(|name| name.starts_with("averaged.")), "0 is no average");
    assert_ne!(line.val_loss, history(&live)[0].val_loss);
    let evaluated = ok(on(vggkit(&["evaluate", "demo-averaged", "--engine", "cpu", "--json"]), runs.path()));
    let evaluated: Value = serde_json::from_str(evaluated.lines().next().expect("a line")).expect("JSON");
    assert_eq!((evaluated["loss"].as_f64(), evaluated["top1"].as_f64()), (Some(line.val_loss), Some(line.val_top1)));
    // Its checkpoint is a file to begin from, and then it is the live weights.
    let plan = settings(&averaged).network.plan().expect("a network");
    let path = checkpoint::last_path(&averaged);
    let read = weights::load(&path, &plan).expect("weights");
    let spec = &plan.tensors()[0];
    assert_eq!(bytemuck::cast_slice::<f32, u8>(&read.tensors[0]), last[&spec.name]);
    let init = path.display().to_string();
    ok(train(runs.path(), "demo-again", &["-e", "1", "--init", &init]));
    ok(train(runs.path(), "demo-part", &["-e", "1", "--init", &init, "--init-partial"]));
    let again = settings(&runs.path().join("demo-part")).origin;
    assert!(again.init_drawn.is_empty() && again.init_unused.is_empty(), "{again:?}");
}

#[test]
fn a_run_that_goes_on_keeps_its_options() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["-e", "2", "--ema", "0.9", "--max-steps", "2"]));
    for (flags, part) in [
        (&["--ema", "0.5"][..], "--ema 0.5, where the run has 0.9"),
        (&["--clip-norm", "1"], "--clip-norm 1, where the run has 0"),
        (&["--optimizer", "adamw"], "--optimizer adamw, where the run has adam"),
    ] {
        let error = fails(resume(runs.path(), "demo-a", flags), 2);
        assert!(error.contains(part), "{error}");
    }
    // An average that a run was not begun with starts from the weights that are there.
    let path = runs.path().join("demo-a").join("run.toml");
    let text = fs::read_to_string(&path).expect("run.toml");
    fs::write(&path, text.replace("ema = 0.9\n", "")).expect("written");
    ok(resume(runs.path(), "demo-a", &["--max-steps", "3"]));
    assert!(tensors(&checkpoint::last_path(&runs.path().join("demo-a"))).keys().all(|name| !name.contains("averaged")));
    let text = fs::read_to_string(&path).expect("run.toml");
    fs::write(&path, text.replace("epochs = 2\n", "epochs = 2\nema = 0.9\n")).expect("written");
    ok(resume(runs.path(), "demo-a", &[]));
    assert!(tensors(&checkpoint::last_path(&runs.path().join("demo-a"))).keys().any(|name| name.contains("averaged")));
}
