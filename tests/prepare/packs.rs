//! Small data sets: the same packs from a folder and a zip, parts, greyscale, boxes, re-runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use predicates::prelude::*;
use vggkit::dataset::{Manifest, Pack, decode};
use zip::write::SimpleFileOptions;

use super::{PREPARE, raw, vggkit};

fn files_below(root: &Path) -> BTreeMap<String, Vec<u8>> {
    walkdir::WalkDir::new(root)
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let below = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            (below, fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn zip_up(root: &Path, prefix: &str, to: &Path, deflated: bool) {
    let mut zip = zip::ZipWriter::new(File::create(to).unwrap());
    let method = if deflated { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    let options = SimpleFileOptions::default().compression_method(method);
    zip.add_directory(format!("{prefix}train/"), options).unwrap();
    for (name, bytes) in files_below(root) {
        zip.start_file(format!("{prefix}{name}"), options).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.start_file("__MACOSX/train/n1/images/._x.JPEG", options).unwrap();
    zip.finish().unwrap();
}

fn prepared(data: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = files_below(data);
    files.retain(|name, _| !["manifest.json", "verify.json", ".prepare.lock"].contains(&&name[..]));
    files
}

#[test]
fn a_folder_and_any_zip_of_it_give_the_same_bytes() {
    let (work, raw) = raw(3, 8);
    zip_up(&raw, "tiny-imagenet-200/", &work.path().join("a.zip"), true);
    zip_up(&raw, "", &work.path().join("b.zip"), false);
    let from = |source: &str, data: &str, threads: &str| {
        let arguments = ["prepare", "--source", source, "--data", data, "--threads", threads];
        vggkit(work.path()).args(arguments).assert().success();
        prepared(&work.path().join(data))
    };
    let folder = from("raw", "of-folder", "2");
    assert!(folder == from("a.zip", "of-a", "1"));
    assert!(folder == from("b.zip", "of-b", "3"));
    let names: Vec<&str> = folder.keys().map(String::as_str).collect();
    assert_eq!(names.len(), 24 + 6 + 3 + 3);
    for name in ["packs/train.safetensors", "train/n90000002/n90000002_7.JPEG", "test/images/test_2.JPEG"] {
        assert!(names.contains(&name), "{name} of {names:?}");
    }
    for (name, bytes) in
        files_below(&raw).iter().filter(|(name, _)| name.starts_with("train") && name.ends_with("JPEG"))
    {
        assert_eq!(folder[&name.replace("/images/", "/")], *bytes, "{name} is the original");
    }

    let manifest = Manifest::load(&work.path().join("of-a")).unwrap();
    assert_eq!((manifest.source.kind.as_str(), manifest.source.sha256.len(), manifest.synthetic), ("zip", 64, true));
    let named: Vec<_> = manifest.classes.iter().map(|c| (c.wnid.as_str(), c.name.as_str())).collect();
    assert_eq!(named, [("n90000001", "disc"), ("n90000002", "ring"), ("n90000003", "square")]);
    for (name, split) in &manifest.splits {
        let pack = work.path().join("of-a").join(&split.pack);
        assert_eq!(split.pack_sha256, vggkit::files::sha256(&pack).unwrap(), "{name}");
    }
}

#[test]
fn labels_boxes_and_pixels_are_those_of_the_source() {
    let (work, raw) = raw(3, 12);
    vggkit(work.path()).args(PREPARE).assert().success();
    let data = work.path().join("data");
    let train = Pack::open(&data, "train").unwrap();
    let mut greyscale = 0;
    for (i, file) in train.files.iter().enumerate() {
        let wnid = &train.wnids[train.images.labels[i] as usize];
        assert!(file.starts_with(wnid.as_str()));
        let jpeg = fs::read(raw.join("train").join(wnid).join("images").join(file)).unwrap();
        let image = decode::decode(&jpeg).unwrap();
        greyscale += usize::from(image.greyscale);
        assert_eq!(train.pixels(i), image.pixels);
        let boxes = fs::read_to_string(raw.join("train").join(wnid).join(format!("{wnid}_boxes.txt"))).unwrap();
        let [x0, y0, x1, y1] = train.boxes[i];
        assert!(boxes.contains(&format!("{file}\t{x0}\t{y0}\t{x1}\t{y1}\n")));
    }
    assert!(greyscale > 0, "the set has greyscale images, or this shows nothing");
    let manifest = Manifest::load(&data).unwrap();
    assert_eq!(manifest.splits["train"].greyscale, greyscale);
    let order: Vec<(u32, &String)> = train.images.labels.iter().copied().zip(&train.files).collect();
    assert!(order.is_sorted(), "ImageFolder's order");

    let val = Pack::open(&data, "val").unwrap();
    let annotations = fs::read_to_string(raw.join("val/val_annotations.txt")).unwrap();
    for (i, file) in val.files.iter().enumerate() {
        let [x0, y0, x1, y1] = val.boxes[i];
        let wnid = &val.wnids[val.images.labels[i] as usize];
        assert!(annotations.contains(&format!("{file}\t{wnid}\t{x0}\t{y0}\t{x1}\t{y1}\n")));
        assert!(data.join("val").join(wnid).join(file).is_file());
    }
    let test = Pack::open(&data, "test").unwrap();
    assert!(test.images.labels.is_empty() && test.boxes.is_empty() && test.images.count == 6);
    // Mean and deviation, the long way.
    let all: &[u8] = (*train.images.pixels).as_ref();
    for channel in 0..3 {
        let values: Vec<f64> = all.chunks(3).map(|p| f64::from(p[channel]) / 255.0).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((mean - f64::from(manifest.mean[channel])).abs() < 1e-6);
        assert!((variance.sqrt() - f64::from(manifest.std[channel])).abs() < 1e-6);
    }
}

#[test]
fn parts_are_the_first_of_the_whole() {
    let (work, _raw) = raw(4, 6);
    let source = PREPARE;
    vggkit(work.path()).args(source).args(["--classes", "2", "--per-class", "3", "--no-folders"]).assert().success();
    let data = work.path().join("data");
    let train = Pack::open(&data, "train").unwrap();
    assert_eq!(train.wnids, ["n90000001", "n90000002"]);
    assert_eq!(*train.images.labels, [0, 0, 0, 1, 1, 1]);
    assert_eq!(train.files[..3], ["n90000001_0.JPEG", "n90000001_1.JPEG", "n90000001_2.JPEG"]);
    let val = Pack::open(&data, "val").unwrap();
    assert_eq!(*val.images.labels, [0, 0, 1, 1]);
    assert!(!data.join("train").exists());
    assert_eq!(Pack::open(&data, "test").unwrap().images.count, 4);

    let mut command = vggkit(work.path());
    command.args(source).args(["--classes", "5"]).assert().code(2).stderr(predicate::str::contains("has 4 classes"));
}

#[test]
fn a_second_run_is_recognised_and_a_change_is_not() {
    let (work, raw) = raw(2, 4);
    fs::create_dir(work.path().join("data")).unwrap();
    fs::rename(&raw, work.path().join("data/tiny-imagenet-200")).unwrap(); // found without --source
    let run = |more: &[&str]| {
        let output = vggkit(work.path()).args(["prepare", "--json"]).args(more).assert().success().get_output().clone();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["schema"], "vggkit/prepare/1");
        report["unchanged"].as_bool().unwrap()
    };
    assert!(!run(&[]));
    assert!(run(&[]));
    // Runs know their data by the manifest's checksum: what is the same keeps the time of the first.
    let path = work.path().join("data/manifest.json");
    let earlier = fs::read_to_string(&path).unwrap().replace("\"created\": \"2", "\"created\": \"1");
    fs::write(&path, &earlier).unwrap();
    assert!(!run(&["--force"]));
    assert_eq!(fs::read_to_string(&path).unwrap(), earlier);
    assert!(!run(&["--per-class", "2"]));
    assert!(!fs::read_to_string(&path).unwrap().contains("\"created\": \"1"), "other data is new");
    assert!(run(&["--per-class", "2"]));
    assert!(!run(&[]));
    fs::remove_file(work.path().join("data/train/n90000001/n90000001_0.JPEG")).unwrap();
    assert!(!run(&[]), "an image is gone");
    let raw = work.path().join("data/tiny-imagenet-200");
    let (from, to) = (raw.join("test/images/test_0.JPEG"), raw.join("test/images/test_9.JPEG"));
    fs::rename(from, to).unwrap();
    assert!(!run(&[]), "the source changed");
    assert!(work.path().join("data/test/images/test_9.JPEG").exists());
    assert!(!work.path().join("data/test/images/test_0.JPEG").exists());
}

#[test]
fn the_demo_set_keeps_to_its_own_folder() {
    let (work, _raw) = raw(2, 4);
    vggkit(work.path()).args(PREPARE).assert().success();
    let before = files_below(&work.path().join("data"));
    let demo = ["prepare", "--demo", "--classes", "2", "--per-class", "5", "--seed", "9"];
    let said = predicate::str::contains("SYNTHETIC").and(predicate::str::contains("--data data/demo"));
    vggkit(work.path()).args(demo).assert().success().stdout(said);
    let mut after = files_below(&work.path().join("data"));
    after.retain(|name, _| !name.starts_with("demo/"));
    assert!(before == after);
    let manifest = Manifest::load(&work.path().join("data/demo")).unwrap();
    assert!(manifest.synthetic && Pack::open(&work.path().join("data/demo"), "val").unwrap().synthetic);
    assert_eq!((manifest.settings.seed, manifest.splits["train"].images), (Some(9), 10));
    vggkit(work.path()).args(demo).assert().success().stdout(predicate::str::contains("nothing changed"));
    vggkit(work.path()).args(demo).arg("--quiet").assert().success().stdout("").stderr("");
    // Taken for a source, what was drawn would pass for photographs: whole, begun, or of a change that was cut short.
    let data = work.path().join("data/demo");
    let (drawn, half) = (data.join("tiny-imagenet-demo"), data.join("manifest.partial.json"));
    let plain = || {
        let said = predicate::str::contains("holds the demo set").and(predicate::str::contains("prepare --demo`"));
        vggkit(work.path()).args(["prepare", "--data", "data/demo"]).assert().code(2).stderr(said);
        assert_eq!(Manifest::load(&data).unwrap(), manifest);
    };
    plain();
    fs::rename(&drawn, data.join("tiny-imagenet-demo.partial")).unwrap();
    plain();
    fs::rename(data.join("manifest.json"), half).unwrap();
    let verify = ["verify", "--data", "data/demo"];
    vggkit(work.path()).args(verify).assert().code(1).stderr(predicate::str::contains("prepare --demo` again"));
    let train = ["train", "-d", "11", "--engine", "cpu", "--data", "data/demo"];
    vggkit(work.path()).args(train).assert().code(1).stderr(predicate::str::contains("prepare --demo`"));
    plain();
    vggkit(work.path()).args(verify).assert().success();
}
