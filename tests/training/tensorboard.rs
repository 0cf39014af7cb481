//! `train --tensorboard`: event files, read back by a reader of these tests' own. `make tensorboard` asks TensorBoard's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vggkit::training::checkpoint;
use vggkit::training::history::StepLine;
use vggkit::vgg::Network;

use crate::exactness::fingerprint;
use crate::{fails, history, ok, resume, settings, train};

/// What a file says of a step.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    FileVersion(String),
    Start,
    Scalar(String, f32),
    /// Count, sum, limits and counts of the parts.
    Histogram(String, f64, f64, Vec<f64>, Vec<f64>),
    Text(String, String),
}

/// CRC-32C a bit at a time.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

fn check(bytes: &[u8], masked: &[u8]) {
    let turned = u32::from_le_bytes(masked.try_into().expect("four bytes")).wrapping_sub(0xa282_ead8);
    assert_eq!(turned.rotate_left(15), crc32c(bytes), "a wrong checksum");
}

/// The number that begins `bytes`, seven bits a byte.
fn varint(bytes: &mut &[u8]) -> u64 {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0).expect("an end");
    let number = bytes[..=end].iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
    *bytes = &bytes[end + 1..];
    number
}

/// The fields of a protocol buffer in order, by their numbers: the bytes of each, a varint as eight.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            5 => 4,
            2 => varint(&mut bytes) as usize,
            kind => panic!("wire type {kind}"),
        };
        found.push((key >> 3, bytes[..length].to_vec()));
        bytes = &bytes[length..];
    }
    found
}

fn double(bytes: &[u8]) -> f64 {
    f64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

fn doubles(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks_exact(8).map(double).collect()
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// A value of a summary.
fn value(bytes: &[u8]) -> Said {
    let parts: BTreeMap<u64, Vec<u8>> = fields(bytes).into_iter().collect();
    let tag = string(&parts[&1]);
    if let Some(number) = parts.get(&2) {
        return Said::Scalar(tag, f32::from_le_bytes(number[..].try_into().expect("four bytes")));
    }
    if let Some(histogram) = parts.get(&5) {
        let parts: BTreeMap<u64, Vec<u8>> = fields(histogram).into_iter().collect();
        let number = |at| parts.get(&at).map_or(0.0, |bytes| double(bytes)); // what is 0 is left out
        return Said::Histogram(tag, number(3), number(4), doubles(&parts[&6]), doubles(&parts[&7]));
    }
    let plugin = fields(&fields(&parts[&9])[0].1);
    assert_eq!(plugin, [(1, b"text".to_vec())]);
    let tensor: BTreeMap<u64, Vec<u8>> = fields(&parts[&8]).into_iter().collect();
    assert_eq!(tensor[&1], 7_u64.to_le_bytes(), "DT_STRING");
    Said::Text(tag, string(&tensor[&8]))
}

/// The records of a file with their steps. Fails on a wrong checksum and on half a record.
fn records(path: &Path) -> Vec<(u64, Said)> {
    let bytes = fs::read(path).expect("a file");
    let (mut rest, mut all) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        check(&rest[..8], &rest[8..12]);
        let length = u64::from_le_bytes(rest[..8].try_into().expect("eight bytes")) as usize;
        let message = &rest[12..12 + length];
        check(message, &rest[12 + length..16 + length]);
        rest = &rest[16 + length..];
        let parts: BTreeMap<u64, Vec<u8>> = fields(message).into_iter().collect();
        assert!(double(&parts[&1]) > 1.7e9, "seconds since 1970");
        let step = parts.get(&2).map_or(0, |step| u64::from_le_bytes(step[..].try_into().expect("eight bytes")));
        if let Some(version) = parts.get(&3) {
            all.push((step, Said::FileVersion(string(version))));
        } else if let Some(session) = parts.get(&7) {
            assert_eq!(fields(session), [(1, 1_u64.to_le_bytes().to_vec())]);
            all.push((step, Said::Start));
        } else {
            all.extend(fields(&parts[&5]).iter().map(|(_, bytes)| (step, value(bytes))));
        }
    }
    all
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let events = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("events.out.tfevents."))
    };
    let mut found: Vec<PathBuf> = entries.filter(events).collect();
    found.sort();
    found
}

/// What TensorBoard shows of a folder: all files in the order of their names, without what a later session voids.
fn shown(folder: &Path) -> Vec<(u64, Said)> {
    let mut all: Vec<(u64, Said)> = Vec::new();
    for file in files(folder) {
        let records = records(&file);
        if records.is_empty() {
            continue; // it failed ahead of the first
        }
        assert_eq!(records[0], (0, Said::FileVersion("brain.Event:2".into())));
        assert_eq!(records[1].1, Said::Start);
        all.retain(|(step, _)| *step < records[1].0);
        all.extend(records.into_iter().skip(2));
    }
    all
}

/// The scalars of a tag, by step; each step once, in order.
fn scalars(shown: &[(u64, Said)], tag: &str) -> Vec<(u64, f32)> {
    let own = shown.iter().filter_map(|(step, said)| match said {
        Said::Scalar(name, number) if name == tag => Some((*step, *number)),
        _ => None,
    });
    let all: Vec<(u64, f32)> = own.collect();
    assert!(all.windows(2).all(|two| two[0].0 < two[1].0), "{tag}: {all:?}");
    all
}

/// The scalars of epochs are the lines of the history, number by number, but for one of an epoch that has not ended.
fn agrees_with_the_history(run: &Path, shown: &[(u64, Said)]) {
    let done = checkpoint::progress_of(&checkpoint::last_path(run)).expect("a checkpoint").epoch - 1;
    let lines: Vec<_> = history(run).into_iter().filter(|line| line.epoch <= done).collect();
    for (tag, key) in [
        ("epoch", "epoch"),
        ("loss/train", "train_loss"),
        ("loss/val", "val_loss"),
        ("top1/train", "train_top1"),
        ("top1/val", "val_top1"),
        ("top5/val", "val_top5"),
        ("learning_rate", "lr"),
        ("images_per_second", "images_per_s"),
        ("loss/held_out", "held_out_loss"),
        ("top1/held_out", "held_out_top1"),
        ("top5/held_out", "held_out_top5"),
    ] {
        let number =
            |line: &Value| line[key].as_f64().map(|number| (line["step"].as_u64().expect("a step"), number as f32));
        let expected = lines.iter().filter_map(|line| number(&serde_json::to_value(line).expect("JSON")));
        assert_eq!(scalars(shown, tag), expected.collect::<Vec<_>>(), "{tag}");
    }
}

/// Every step is in a point, whose loss is the mean over its steps.
fn agrees_with_the_steps(run: &Path, shown: &[(u64, Said)]) {
    let log = fs::read_to_string(run.join("steps.jsonl")).expect("a log");
    let steps: Vec<StepLine> = log.lines().map(|line| serde_json::from_str(line).expect("a step")).collect();
    let (losses, rates) = (scalars(shown, "step/loss"), scalars(shown, "step/learning_rate"));
    let mut from = 0;
    for ((to, loss), (_, rate)) in losses.into_iter().zip(rates) {
        let own = &steps[from as usize..to as usize];
        let all: f64 = own.iter().map(|step| samples(step.step)).sum();
        let mean = own.iter().map(|step| step.loss * samples(step.step)).sum::<f64>() / all;
        assert!((mean - f64::from(loss)).abs() < 1e-5 * mean, "steps {from} to {to}: {mean} and {loss}");
        assert_eq!(own.last().map(|step| step.lr as f32), Some(rate));
        from = to;
    }
    assert_eq!(from as usize, steps.len());
    for tag in ["step/top1", "step/images_per_second"] {
        assert!(scalars(shown, tag).iter().all(|(_, number)| *number >= 0.0));
    }
}

/// 27 images in batches of 8, so that four steps are an epoch and its last has 3 images.
fn samples(step: u64) -> f64 {
    if step.is_multiple_of(4) { 3.0 } else { 8.0 }
}

const RECIPE: [&str; 8] = ["-e", "3", "-es", "0", "--log-steps", "--schedule", "cosine", "--threads=1"];

#[test]
fn it_says_what_the_logs_say_and_changes_no_bit() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &RECIPE));
    ok(train(runs.path(), "demo-b", &[&RECIPE[..], &["--tensorboard-histograms"]].concat()));
    let [plain, run] = ["demo-a", "demo-b"].map(|name| runs.path().join(name));
    assert!(fingerprint(&plain) == fingerprint(&run));
    assert!(files(&plain).is_empty() && settings(&plain).origin.tensorboard.is_none());
    let shown = shown(&run);
    agrees_with_the_history(&run, &shown);
    agrees_with_the_steps(&run, &shown);

    let Said::Text(tag, text) = &shown[0].1 else { panic!("{:?}", shown[0]) };
    assert_eq!((shown[0].0, tag.as_str()), (1, "settings"));
    let expected = fs::read_to_string(run.join("run.toml")).expect("run.toml");
    for line in expected.lines().take_while(|line| !line.starts_with("[origin]")) {
        assert!(text.lines().any(|own| own.strip_prefix("    ") == Some(line)), "{line} in {text}");
    }

    // Histograms of the weights that the last checkpoint has, and of two epochs before.
    let network: Network = settings(&run).network;
    let last =
        checkpoint::load(&checkpoint::last_path(&run), &network.plan().expect("a plan"), None).expect("a checkpoint");
    for (spec, tensor) in network.plan().expect("a plan").tensors().iter().zip(&last.state.tensors) {
        let own = shown.iter().filter_map(|(step, said)| match said {
            Said::Histogram(tag, num, sum, limits, counts) if tag == &format!("weights/{}", spec.name) => {
                Some((*step, *num, *sum, limits, counts))
            }
            _ => None,
        });
        let all: Vec<_> = own.collect();
        assert_eq!(all.iter().map(|(step, ..)| *step).collect::<Vec<_>>(), [4, 8, 12], "{}", spec.name);
        let (_, num, sum, limits, counts) = all[2];
        let largest = tensor.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!((num, counts.iter().sum()), (tensor.len() as f64, tensor.len() as f64));
        assert_eq!((limits.len(), limits.last()), (counts.len(), Some(&f64::from(largest))));
        let expected: f64 = tensor.iter().map(|v| f64::from(*v)).sum();
        assert!((sum - expected).abs() < 1e-9 * (1.0 + expected.abs()), "{}: {sum} and {expected}", spec.name);
        let middle = limits[counts.len() / 2];
        let below = tensor.iter().filter(|v| f64::from(**v) < middle).count() as f64;
        let counted: f64 = counts[..=counts.len() / 2].iter().sum();
        assert!(counts.len() == 1 || (below - counted).abs() <= 1.0, "{}: {below} and {counted}", spec.name);
    }
}

#[test]
fn a_resumed_training_is_shown_once_whatever_a_crash_left() {
    let runs = tempfile::tempdir().expect("a folder");
    let run = runs.path().join("demo-a");
    let held_out = ["--hold-out", "0.2", "--max-steps"]; // 21 images are trained on, in three steps
    ok(train(runs.path(), "demo-a", &[&RECIPE[..], &held_out, &["1", "--tensorboard"]].concat()));
    // Lines of an epoch that has not ended stay away; then a crash after the fourth step.
    for to in ["2", "4"] {
        ok(resume(runs.path(), "demo-a", &["--max-steps", to]));
        let shown = shown(&run);
        agrees_with_the_history(&run, &shown);
        assert_eq!(scalars(&shown, "step/loss").last().map(|(step, _)| step.to_string()).as_deref(), Some(to));
    }
    let kept = ["run.toml", "last.safetensors"].map(|name| (name, fs::read(run.join(name)).expect("a file")));
    ok(resume(runs.path(), "demo-a", &["--max-steps", "100"]));
    assert_eq!(history(&run).len(), 3);
    for (name, bytes) in kept {
        fs::write(run.join(name), bytes).expect("written"); // as if nothing later had reached the disk
    }
    let newest = files(&run).pop().expect("a file");
    let bytes = fs::read(&newest).expect("a file");
    ok(resume(runs.path(), "demo-a", &["--max-steps", "100", "--tensorboard-histograms"]));
    let shown_now = shown(&run);
    agrees_with_the_history(&run, &shown_now);
    // The steps that were trained twice are there once.
    let steps: Vec<u64> = scalars(&shown_now, "step/loss").into_iter().map(|(step, _)| step).collect();
    assert!(steps.starts_with(&[1, 2]) && steps.contains(&4) && steps.ends_with(&[9]), "{steps:?}");
    let texts = shown_now.iter().filter(|(_, said)| matches!(said, Said::Text(..))).map(|(step, _)| *step);
    assert_eq!(texts.collect::<Vec<_>>(), [1, 2, 3, 5]);
    assert!(settings(&run).origin.tensorboard.is_some_and(|wanted| wanted.histograms && wanted.folder.is_none()));
    assert!(shown_now.iter().any(|(step, said)| *step == 9 && matches!(said, Said::Histogram(..))));
    assert!(fs::read(&newest).expect("a file") == bytes, "earlier files stay as they are");
    assert_eq!(files(&run).len(), 5);

    // A run that takes its place begins with a file of its own.
    ok(train(runs.path(), "demo-a", &[&RECIPE[..], &["--overwrite", "--tensorboard"]].concat()));
    assert_eq!(files(&run).len(), 1);
    let own = shown(&run);
    agrees_with_the_history(&run, &own);
    agrees_with_the_steps(&run, &own);
    ok(train(runs.path(), "demo-a", &[&RECIPE[..], &["--overwrite"]].concat()));
    assert!(files(&run).is_empty());
}

#[test]
fn a_folder_of_ones_own_has_one_for_each_run_and_is_gone_on_with() {
    let work = tempfile::tempdir().expect("a folder");
    let (runs, logs) = (work.path().join("runs"), work.path().join("logs"));
    let to = ["--tensorboard", logs.to_str().expect("text"), "-e", "2", "-es", "0", "--max-steps"];
    ok(train(&runs, "demo-a", &[&to[..], &["5"]].concat()));
    ok(train(&runs, "demo-b", &[&to[..], &["3"]].concat()));
    ok(resume(&runs, "demo-a", &["--max-steps", "100"]));
    assert_eq!((files(&logs.join("demo-a")).len(), files(&logs.join("demo-b")).len()), (2, 1));
    assert!(files(&runs.join("demo-a")).is_empty());
    agrees_with_the_history(&runs.join("demo-a"), &shown(&logs.join("demo-a")));
    let others = logs.join("demo-a/events.out.tfevents.1700000000.host.1.0");
    fs::write(&others, "").expect("written");
    ok(train(&runs, "demo-a", &[&to[..], &["1", "--overwrite"]].concat()));
    assert_eq!(files(&logs.join("demo-a")).len(), 2, "what another program wrote stays");
    assert!(others.exists());

    // Where it cannot be written, that is said with how to go on.
    fs::write(work.path().join("file"), "").expect("written");
    let file = work.path().join("file");
    let error = fails(train(&runs, "demo-c", &["-e", "1", "--tensorboard", file.to_str().expect("text")]), 1);
    assert!(error.contains("file/demo-c") && error.contains("--resume"), "{error}");
    ok(resume(&runs, "demo-c", &["--tensorboard", logs.to_str().expect("text")]));
    agrees_with_the_history(&runs.join("demo-c"), &shown(&logs.join("demo-c")));
    fails(train(&runs, "demo-d", &["--find-lr", "--tensorboard"]), 2);
}

#[test]
fn a_full_disk_names_the_file_and_the_training_goes_on_from_its_checkpoint() {
    let runs = tempfile::tempdir().expect("a folder");
    let flags = ["-e", "2", "-es", "0", "--tensorboard", "--log-steps"];
    ok(train(runs.path(), "demo-whole", &flags));
    let whole = fingerprint(&runs.path().join("demo-whole"));
    let mut met = 0;
    for number in 1..60 {
        if met == 4 {
            break;
        }
        let mut command = train(runs.path(), "demo-a", &[&flags[..], &["--overwrite"]].concat());
        command.env("VGGKIT_FAULT", format!("write:{number}"));
        let output = command.output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let hit = told.lines().find(|line| line.starts_with(&format!("VGGKIT_FAULT: write {number}: ")));
        if !hit.is_some_and(|line| line.contains("events.out.tfevents.")) {
            continue;
        }
        met += 1;
        assert_eq!(output.status.code(), Some(1), "{told}");
        let error = told.lines().find(|line| line.starts_with("error: ")).expect("an error");
        assert!(error.contains("cannot append to") && error.contains("events.out.tfevents."), "{told}");
        assert!(told.contains("disk is full") && told.contains("train --resume"), "{told}");
        ok(resume(runs.path(), "demo-a", &[]));
        assert!(fingerprint(&runs.path().join("demo-a")) == whole);
        agrees_with_the_history(&runs.path().join("demo-a"), &shown(&runs.path().join("demo-a")));
    }
    assert_eq!(met, 4);
}
