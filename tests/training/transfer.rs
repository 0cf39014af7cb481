//! Weights from elsewhere: torchvision's files by their names and shapes, and first layers that stay as they are.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use vggkit::training::checkpoint;
use vggkit::training::run::Run;
use vggkit::vgg::{Freeze, Network, transfer, weights};

use super::{fails, ok, on, resume, settings, train, vggkit};

/// torchvision's `cfgs`: channels of convolutions, and 0 for a pooling.
const CFGS: [(usize, &[usize]); 4] = [
    (11, &[64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0]),
    (13, &[64, 64, 0, 128, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0]),
    (16, &[64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]),
    (19, &[64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512, 0]),
];

/// Names and shapes of torchvision's `vgg<depth>` or `vgg<depth>_bn` for ImageNet, in the order of `state_dict()`, with all
/// channels divided by `narrower`.
fn torchvisions(depth: usize, batch_norm: bool, narrower: usize) -> Vec<(String, Vec<usize>)> {
    let (_, channels) = CFGS.iter().find(|(of, _)| *of == depth).expect("such a depth");
    let (mut tensors, mut index, mut inputs) = (Vec::new(), 0, 3);
    for outputs in channels.iter().map(|channels| channels / narrower) {
        if outputs == 0 {
            index += 1;
            continue;
        }
        let mut layer = |index: usize, parts: &[(&str, Vec<usize>)]| {
            tensors.extend(parts.iter().map(|(part, shape)| (format!("features.{index}.{part}"), shape.clone())));
        };
        layer(index, &[("weight", vec![outputs, inputs, 3, 3]), ("bias", vec![outputs])]);
        if batch_norm {
            let parts = ["weight", "bias", "running_mean", "running_var"].map(|part| (part, vec![outputs]));
            layer(index + 1, &parts);
            layer(index + 1, &[("num_batches_tracked", vec![])]);
        }
        index += if batch_norm { 3 } else { 2 };
        inputs = outputs;
    }
    let hidden = 4096 / narrower;
    for (index, outputs, inputs) in [(0, hidden, inputs * 49), (3, hidden, hidden), (6, 1000, hidden)] {
        tensors.push((format!("classifier.{index}.weight"), vec![outputs, inputs]));
        tensors.push((format!("classifier.{index}.bias"), vec![outputs]));
    }
    tensors
}

/// Writes a file of them: features of random numbers (variances above 0), the classifier of zeros that take no room on the disk.
/// Gives the features' numbers.
fn write(path: &Path, tensors: &[(String, Vec<usize>)]) -> BTreeMap<String, Vec<f32>> {
    let mut generator = ChaCha8Rng::seed_from_u64(7);
    let (mut header, mut numbers) = (serde_json::Map::new(), BTreeMap::new());
    let (mut bytes, mut end) = (Vec::new(), 0);
    // The counters first, so that all is aligned.
    for counter in [true, false] {
        for (name, shape) in tensors.iter().filter(|(name, _)| name.ends_with("num_batches_tracked") == counter) {
            let length = shape.iter().product::<usize>() * if counter { 8 } else { 4 };
            let kind = if counter { "I64" } else { "F32" };
            header.insert(name.clone(), json!({"dtype": kind, "shape": shape, "data_offsets": [end, end + length]}));
            end += length;
            if counter {
                bytes.extend(450_450_i64.to_le_bytes());
            } else if name.starts_with("features.") {
                let least = if name.ends_with("running_var") { 0.5 } else { -0.1 };
                let values: Vec<f32> = (0..length / 4).map(|_| generator.random_range(least..least + 0.2)).collect();
                values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
                numbers.insert(name.clone(), values);
            }
        }
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = fs::File::create(path).expect("a file");
    for part in [&(header.len() as u64).to_le_bytes()[..], &header, &bytes] {
        file.write_all(part).expect("written");
    }
    let length = (8 + header.len() + end) as u64;
    assert!(file.seek(SeekFrom::End(0)).expect("a place") <= length);
    file.set_len(length).expect("the classifier");
    numbers
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Tensors of a weight file by name.
fn tensors(path: &Path, run: &Run) -> BTreeMap<String, Vec<f32>> {
    let plan = run.network.plan().expect("a network");
    let loaded = weights::load(path, &plan).expect("weights");
    plan.tensors().into_iter().map(|spec| spec.name).zip(loaded.tensors).collect()
}

#[test]
fn each_of_torchvisions_files_fits_its_network() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("w.safetensors");
    for (depth, batch_norm) in [11, 13, 16, 19].into_iter().flat_map(|depth| [(depth, true), (depth, false)]) {
        let network = Network { depth, batch_norm, width: 0.0625, image_size: 32, classes: 5, ..Network::default() };
        let plan = network.plan().and_then(|plan| plan.freeze(Freeze::Features)).expect("a network");
        let numbers = write(&path, &torchvisions(depth, batch_norm, 16));
        let first = transfer::partial(&path, &plan, 1).expect("they fit");
        let ours: BTreeMap<String, Vec<f32>> =
            plan.tensors().into_iter().map(|spec| spec.name).zip(first.tensors).collect();
        for (name, values) in numbers {
            assert_eq!(bits(&ours[&name]), bits(&values), "{depth} {batch_norm} {name}");
        }
        // The first linear layer sees 7 x 7 maps there and 2 x 2 here; the last one has 1000 classes.
        let drawn: Vec<&str> = first.drawn.iter().filter_map(|layer| layer.split(' ').next()).collect();
        assert_eq!(drawn, ["classifier.0", "classifier.6"], "{depth} {batch_norm}");
        assert!(first.unused.is_empty(), "{:?}", first.unused);
        assert!(first.taken.iter().all(|layer| !layer.contains(' ')), "under its own name: {:?}", first.taken);
        assert_eq!(first.taken.len(), 1 + plan.layers.iter().take(plan.frozen).filter(|l| l.parameters > 0).count());
    }
}

#[test]
fn the_features_of_a_file_of_torchvisions_size_are_taken_and_kept_to_the_bit() {
    let runs = tempfile::tempdir().expect("a folder");
    let path = runs.path().join("vgg11_bn.safetensors");
    let listed = torchvisions(11, true, 1);
    let trained = listed.iter().filter(|(name, _)| !name.contains("running") && !name.contains("tracked"));
    let parameters: usize = trained.map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert_eq!(parameters, 132_868_840, "what torchvision says of vgg11_bn");
    let numbers = write(&path, &listed);
    let file = path.to_str().expect("text");
    let mut command =
        vggkit(&["train", "--engine", "cpu", "--run", "demo-a", "-i", "32", "-b", "4", "--max-steps", "2"]);
    command.args([
        "--head",
        "average",
        "--init",
        file,
        "--init-partial",
        "--freeze",
        "features",
        "--normalize",
        "imagenet",
    ]);
    let output = on(command, runs.path()).output().expect("the command runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("saw pixels"), "{said}");
    let folder = runs.path().join("demo-a");
    let run = settings(&folder);
    assert_eq!(run.training.normalisation.mean, [0.485, 0.456, 0.406]);
    let kept = tensors(&checkpoint::last_path(&folder), &run);
    for (name, values) in &numbers {
        assert_eq!(bits(&kept[name]), bits(values), "{name}");
    }
    assert_ne!(bits(&kept["classifier.0.bias"]), vec![0; 3], "the classifier is trained");
    // What came from where, for people and for programs.
    let describe = |more: &[&str]| ok(on(vggkit(&[&["describe", "demo-a"], more].concat()), runs.path()));
    let description: Value = serde_json::from_str(&describe(&["--json"])).expect("JSON");
    let weights = &description["run"]["weights"];
    assert_eq!([&weights["file"], &weights["sha256"]], [file, &vggkit::files::sha256(&path).expect("a file")]);
    assert_eq!(weights["taken"].as_array().expect("layers").len(), 16);
    assert_eq!(weights["frozen"], weights["taken"]);
    assert_eq!(weights["drawn"], json!(["classifier.0 (weight [4096, 25088] in the file, [3, 512] here)"]));
    assert_eq!(weights["unused"], json!(["classifier.3", "classifier.6"]));
    let text = describe(&[]);
    for part in
        [file, "SHA-256 of the file: ", "Layers frozen: features.0, features.1, ", "Layers drawn: classifier.0 ("]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn frozen_layers_of_an_own_run_stay_and_a_resume_keeps_to_it() {
    let runs = tempfile::tempdir().expect("a folder");
    let folder = |name: &str| runs.path().join(name);
    ok(train(runs.path(), "demo-a", &["-e", "1"]));
    let init = checkpoint::best_path(&folder("demo-a"));
    let tune = |name: &str, more: &[&str]| {
        let flags = ["--init", init.to_str().expect("text"), "--freeze", "features:3", "-lr", "0.01", "--ema", "0.9"];
        ok(train(runs.path(), name, &[&flags[..], &["--optimizer", "adamw", "--clip-norm", "1"], more].concat()));
    };
    tune("demo-b", &["-e", "2"]);
    let run = settings(&folder("demo-b"));
    assert_eq!((run.training.freeze, run.origin.init_sha256.len()), (Freeze::Convolutions(3), 64));
    let first = tensors(&init, &run);
    for path in [checkpoint::last_path(&folder("demo-b")), checkpoint::best_path(&folder("demo-b"))] {
        for (name, values) in tensors(&path, &run) {
            let layer: usize = name.split('.').nth(1).and_then(|index| index.parse().ok()).expect("an index");
            let frozen = name.starts_with("features.") && layer < 11; // features.11 is the fourth convolution
            let still = bits(&values) == bits(&first[&name]);
            assert!(still == frozen || values.iter().all(|value| *value == 0.0), "{name}");
        }
    }
    let text =
        String::from_utf8_lossy(&fs::read(checkpoint::last_path(&folder("demo-b"))).expect("bytes")).into_owned();
    assert!(
        text.contains("optimizer.exp_avg.features.11.weight") && !text.contains("optimizer.exp_avg.features.8.weight")
    );
    // Stopped on the way and resumed: the same bits, and the same settings.
    tune("demo-c", &["-e", "2", "--max-steps", "3"]);
    ok(resume(runs.path(), "demo-c", &["--freeze", "features:3"])); // what is the same may be typed again
    let digest = |name: &str| checkpoint::digest_of(&checkpoint::last_path(&folder(name))).expect("a checkpoint");
    assert_eq!(digest("demo-b"), digest("demo-c"));
    let error = fails(resume(runs.path(), "demo-c", &["--freeze", "features", "-e", "3"]), 2);
    assert!(error.contains("--freeze features, where the run has features:3"), "{error}");
    ok(on(vggkit(&["evaluate", "demo-b", "--engine", "cpu", "--quiet"]), runs.path()));
    ok(on(vggkit(&["report", "--quiet", "--out", runs.path().join("site").to_str().expect("text")]), runs.path()));
    let page = fs::read_to_string(runs.path().join("site/index.html")).expect("a page");
    for part in [
        &run.origin.init_sha256,
        "frozen features:3",
        "features.0, features.1, features.4, features.5, features.8, features.9<",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // Its settings for another network: what it froze goes with them, what it began from does not.
    let config = folder("demo-b");
    let config = ["--config", config.to_str().expect("text")];
    let error = fails(train(runs.path(), "demo-d", &config), 2);
    assert!(error.contains("--freeze features:3 keeps weights") && error.contains("--init FILE"), "{error}");
    let with_init = [&config[..], &["--init", init.to_str().expect("text")]].concat();
    assert!(
        ok(train(runs.path(), "demo-d", &[&with_init[..], &["--print-config"]].concat()))
            .contains("freeze = \"features:3\"")
    );
    ok(train(runs.path(), "demo-d", &[&config[..], &["--freeze", "none", "--max-steps", "1"]].concat()));
    assert!(settings(&folder("demo-d")).training.freeze.is_none());
    // Another head on the frozen features.
    let head = ["--init-partial", "--head", "average", "--freeze", "features", "--max-steps", "2"];
    ok(train(runs.path(), "demo-e", &[&["--init", init.to_str().expect("text")], &head[..]].concat()));
    let run = settings(&folder("demo-e"));
    let kept = tensors(&checkpoint::last_path(&folder("demo-e")), &run);
    let same =
        |(name, values): (&String, &Vec<f32>)| !name.starts_with("features.") || bits(values) == bits(&first[name]);
    assert!(kept.iter().all(same));
}

#[test]
fn what_cannot_be_frozen_is_said_before_anything_begins() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["--max-steps", "1"]));
    let init = checkpoint::last_path(&runs.path().join("demo-a"));
    let init = init.to_str().expect("text");
    for (more, code, parts) in [
        (&["--freeze", "features"][..], 2, ["there are none to keep", "--init FILE"]),
        (&["--freeze", "features:9", "--init", init], 2, ["VGG-11 has 8 convolutions", "features:8 at most"]),
        (&["--freeze", "features:0", "--init", init], 2, ["features:N", "always trained"]),
        (&["--freeze", "all", "--init", init], 2, ["features:N", "always trained"]),
        // A network of random layers that nothing trains.
        (
            &["--freeze", "features:2", "--init", init, "--init-partial", "-d", "13"],
            1,
            ["lacks layers that are to be frozen: features.3", "freeze fewer layers"],
        ),
    ] {
        let error = fails(train(runs.path(), "demo-b", more), code);
        assert!(parts.iter().all(|part| error.contains(part)), "{more:?}: {error}");
        assert!(!runs.path().join("demo-b").exists(), "{more:?}");
    }
    ok(train(
        runs.path(),
        "demo-b",
        &["--freeze", "features:1", "--init", init, "--init-partial", "-d", "13", "--max-steps", "1"],
    ));
}

#[test]
fn pixels_that_a_file_saw_otherwise_are_told() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["-e", "1"]));
    let own = checkpoint::best_path(&runs.path().join("demo-a"));
    let foreign = runs.path().join("w.safetensors");
    write(&foreign, &torchvisions(11, true, 16));
    let note = |file: &Path, more: &[&str]| {
        let mut command =
            vggkit(&["train", "--engine", "cpu", "--width", "0.0625", "-i", "32", "-b", "8", "--max-steps", "1"]);
        command.args(["--run", "demo-b", "--overwrite", "--init-partial", "--init"]).arg(file).args(more);
        let output = on(command, runs.path()).output().expect("the command runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said.lines().find(|line| line.contains("saw pixels")).map(str::to_owned).unwrap_or_default()
    };
    assert!(note(&foreign, &[]).contains("give --normalize imagenet"));
    assert_eq!(note(&foreign, &["--normalize", "imagenet"]), "");
    let same_width = ["--width", "0.05"];
    assert_eq!(note(&own, &same_width), "");
    assert!(note(&own, &[&same_width[..], &["--normalize", "dataset"]].concat()).contains("--normalize was half"));
}
