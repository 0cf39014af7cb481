//! `vggkit predict`: tables, lists of paths, several images at a time, and features.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use image::RgbImage;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use vggkit::dataset::Pack;
use vggkit::training::checkpoint;

use crate::{data, fails, ok, on, settings, train, vggkit};

/// A picture of its own for each number, of two sizes in turn, and a bad file after every seventh.
fn photos(folder: &Path, count: u32) -> Vec<String> {
    fs::create_dir_all(folder.join("more")).expect("a folder");
    let mut names = Vec::new();
    for i in 0..count {
        let (width, height) = if i % 2 == 0 { (48, 40) } else { (33, 57) };
        let image = RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(5 * x + 37 * i) as u8, (3 * y * (i + 1)) as u8, (x * y * i % 251) as u8])
        });
        let name = format!("{}{i:02}.png", if i > 9 { "more/" } else { "" });
        image.save(folder.join(&name)).expect("a PNG");
        names.push(name);
    }
    names
}

fn predict(work: &Path, words: &[&str]) -> Command {
    let mut command = vggkit(&["predict", "--engine", "cpu"]);
    command.args(words).current_dir(work);
    on(command, &work.join("runs"))
}

/// With this on its standard input; what it prints.
fn fed(mut command: Command, input: &[u8]) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    child.stdin.take().expect("a pipe").write_all(input).expect("sent");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The probabilities that `--json` tells, by file and class.
fn told(printed: &str) -> BTreeMap<String, BTreeMap<u64, f64>> {
    let lines = printed.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let of = |top: &Value| (top["class"].as_u64().expect("a class"), top["probability"].as_f64().expect("a number"));
    lines
        .map(|line| {
            let top = line["top"].as_array().expect("classes").iter().map(of).collect();
            (line["file"].as_str().expect("a name").to_owned(), top)
        })
        .collect()
}

#[test]
fn a_table_has_a_row_an_image_and_says_what_json_says() {
    let work = tempfile::tempdir().expect("a folder");
    ok(train(&work.path().join("runs"), "demo-a", &["-e", "1"]));
    ok(train(&work.path().join("runs"), "demo-b", &["-e", "1", "--seed", "1"]));
    let names = photos(&work.path().join("photos"), 19);
    let json = told(&ok(predict(work.path(), &["--image", "photos", "--json", "--top", "2"])));
    assert!(json.len() == 19 && json.values().all(|top| top.len() == 2), "{json:?}");

    // A batch of eight, of two sizes, is told of in order, and as each image by itself.
    let said = ok(predict(work.path(), &["--image", "photos", "--top", "2", "--csv", "t.csv"]));
    assert_eq!(said, "19 images predicted by mean of 2 runs -> t.csv\n");
    let mut table = csv::Reader::from_path(work.path().join("t.csv")).expect("a table");
    let header: Vec<&str> = table.headers().expect("a header").iter().collect();
    assert_eq!(header.join(" "), "image class1 wnid1 name1 probability1 class2 wnid2 name2 probability2");
    let rows: Vec<_> = table.records().map(|row| row.expect("a row")).collect();
    let expected: Vec<String> = names.iter().map(|name| format!("photos/{name}")).collect();
    assert_eq!(rows.iter().map(|row| &row[0]).collect::<Vec<_>>(), expected);
    for row in &rows {
        for column in [1, 5] {
            let probability: f64 = row[column + 3].parse().expect("a number");
            let class: u64 = row[column].parse().expect("a class");
            assert!((json[&row[0]][&class] - probability).abs() < 1e-6, "{row:?}");
            assert_eq!(row[column + 1], format!("n{}", 90_000_001 + class));
        }
        assert!(row[4] >= row[8], "the likeliest first: {row:?}");
    }
    let single = told(&ok(predict(work.path(), &["--image", "photos/03.png", "--json"])));
    for (class, probability) in &json["photos/03.png"] {
        assert!((single["photos/03.png"][class] - probability).abs() < 1e-6);
    }
    assert_eq!(single["photos/03.png"].len(), 3, "all of three classes where five are asked for");

    // What cannot be used is left out, and named; where nothing can be used, the table that is there stays.
    fs::write(work.path().join("photos/05.png"), "no image").expect("written");
    let error = fails(predict(work.path(), &["--image", "photos", "--top", "1", "--csv", "t.csv"]), 1);
    assert!(error.contains("photos/05.png") && error.contains("1 of 19 not predicted"), "{error}");
    let before = fs::read_to_string(work.path().join("t.csv")).expect("a table");
    assert!(before.starts_with("image,class1,wnid1,name1,probability1\n") && before.lines().count() == 1 + 18);
    assert!(!before.contains("05.png"));
    fails(predict(work.path(), &["--image", "photos/05.png", "--csv", "t.csv"]), 1);
    assert_eq!(fs::read_to_string(work.path().join("t.csv")).expect("a table"), before);
    let printed = ok(predict(work.path(), &["--image", "photos/more", "--csv", "-", "--top", "1"]));
    let own = before.lines().filter(|line| line.starts_with("image,") || line.contains("/more/"));
    assert_eq!(printed.lines().collect::<Vec<_>>(), own.collect::<Vec<_>>());

    for (words, part) in [
        (&["--top", "3"][..], "--image <FILE>"),
        (&["--csv", "t.csv"], "--image <FILE>"),
        (&["--image", "photos", "--csv", "-", "--json"], "cannot be used with"),
        (&["--image", "photos", "--top", "0"], "at least 1"),
        (&["--features", "f", "--tta", "flip"], "cannot be used with"),
        (&["--image", "photos", "--files-from", "-"], "cannot be used with"),
        (&["--image", "photos", "--features", "f"], "features are one network's, and demo-a, demo-b are 2"),
    ] {
        let error = fails(predict(work.path(), words), 2);
        assert!(error.contains(part), "{words:?}: {error}");
    }
}

#[test]
fn paths_come_from_a_list_or_from_standard_input() {
    let work = tempfile::tempdir().expect("a folder");
    ok(train(&work.path().join("runs"), "demo-a", &["-e", "1"]));
    photos(&work.path().join("photos"), 12);
    fs::rename(work.path().join("photos/01.png"), work.path().join("photos/a b\nc.png")).expect("renamed");
    let expected = ["photos/00.png", "photos/more/10.png", "photos/more/11.png"];
    let lines = b"photos/00.png\r\n\nphotos/more\n";
    let files = |printed: String| told(&printed).into_keys().collect::<Vec<_>>();
    assert_eq!(files(fed(predict(work.path(), &["--files-from", "-", "--json"]), lines)), expected);
    fs::write(work.path().join("list.txt"), lines).expect("written");
    assert_eq!(files(ok(predict(work.path(), &["--files-from", "list.txt", "--json"]))), expected);
    let named = fed(predict(work.path(), &["--files-from", "-", "--json"]), b"photos/a b\nc.png\0photos/00.png\0");
    assert_eq!(files(named), ["photos/00.png", "photos/a b\nc.png"]);

    for (list, part) in [("", "names no file"), ("\n\n", "names no file")] {
        fs::write(work.path().join("list.txt"), list).expect("written");
        let error = fails(predict(work.path(), &["--files-from", "list.txt"]), 1);
        assert!(error.contains(part) && error.contains("list.txt"), "{error}");
    }
    let error = fails(predict(work.path(), &["--files-from", "photos/00.png"]), 1);
    assert!(error.contains("is an image, not a list of paths") && error.contains("--image"), "{error}");
    let error = fails(predict(work.path(), &["--files-from", "nowhere"]), 1);
    assert!(error.contains("cannot read nowhere"), "{error}");
    let mut text = predict(work.path(), &["--image", "-"]);
    text.stdin(fs::File::open(work.path().join("runs/demo-a/run.toml")).expect("a file"));
    assert!(fails(text, 1).contains("--files-from -"));
}

/// A tensor of a file as numbers.
fn numbers(file: &SafeTensors<'_>, name: &str) -> (Vec<usize>, Vec<f32>) {
    let view = file.tensor(name).expect(name);
    assert_eq!(view.dtype(), Dtype::F32);
    let values = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    (view.shape().to_vec(), values)
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|z| z.exp()).sum();
    logits.iter().map(|z| z.exp() / sum).collect()
}

#[test]
fn features_through_the_last_layer_are_what_is_predicted() {
    let work = tempfile::tempdir().expect("a folder");
    let runs = work.path().join("runs");
    photos(&work.path().join("photos"), 11);
    fs::write(work.path().join("photos/bad.png"), "no image").expect("written");
    for (head, last, width) in
        [("classic", "classifier.6", 204), ("linear", "classifier.0", 100), ("average", "classifier.0", 25)]
    {
        let name = format!("demo-{head}");
        ok(train(&runs, &name, &["-e", "2", "--head", head, "--lr", "0.01"]));
        let words = [&name, "--image", "photos", "--features", "f.safetensors"];
        let error = fails(predict(work.path(), &words), 1);
        assert!(error.contains("photos/bad.png") && error.contains("1 of 12 not predicted"), "{error}");
        let bytes = fs::read(work.path().join("f.safetensors")).expect("a file");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
        let metadata = header.metadata().clone().expect("metadata");
        let list = |key: &str| serde_json::from_str::<Vec<String>>(&metadata[key]).expect("a list");
        let digest = checkpoint::digest_of(&checkpoint::best_path(&runs.join(&name))).expect("a checkpoint");
        assert_eq!(
            (&metadata["layer"], &metadata["run"], &metadata["weights_digest"]),
            (&last.to_owned(), &name, &digest)
        );
        assert_eq!((list("files").len(), list("wnids").len(), &metadata["schema"][..]), (11, 3, "vggkit/features/1"));
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        assert!(file.tensor("labels").is_err(), "nobody knows of photographs");
        let (shape, features) = numbers(&file, "features");
        assert_eq!(shape, [11, width], "{head}");
        assert!(features.iter().filter(|v| **v != 0.0).count() > 11 * width / 10, "something is there");
        let (shape, logits) = numbers(&file, "logits");
        assert_eq!(shape, [11, 3]);

        // By the last layer of the weight file, and by what is predicted.
        let best = fs::read(checkpoint::best_path(&runs.join(&name))).expect("weights");
        let best = SafeTensors::deserialize(&best).expect("safetensors");
        let (weight, bias) = (numbers(&best, &format!("{last}.weight")), numbers(&best, &format!("{last}.bias")).1);
        assert_eq!(weight.0, [3, width]);
        let printed = predict(work.path(), &[&name, "--image", "photos", "--json"]).output().expect("runs").stdout;
        let predicted = told(std::str::from_utf8(&printed).expect("text"));
        for (image, file) in list("files").iter().enumerate() {
            let own = &features[image * width..][..width];
            let z: Vec<f64> = (0..3)
                .map(|class| {
                    let row = &weight.1[class * width..][..width];
                    f64::from(bias[class])
                        + row.iter().zip(own).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>()
                })
                .collect();
            for (class, (z, p)) in z.iter().zip(softmax(&z)).enumerate() {
                assert!((z - f64::from(logits[image * 3 + class])).abs() < 1e-4, "{head}, {file}: {z}");
                assert!((p - predicted[file][&(class as u64)]).abs() < 1e-5, "{head}, {file}: {p}");
            }
        }
        // A GPU says the same.
        let mut gpu = vggkit(&["predict", &name, "--engine", "gpu", "--adapter", "llvmpipe", "--quiet", "--image"]);
        gpu.args(["photos", "--features", "g.safetensors"])
            .current_dir(work.path())
            .env("VGGKIT_CACHE", work.path().join("c"));
        fails(on(gpu, &runs), 1);
        let bytes = fs::read(work.path().join("g.safetensors")).expect("a file");
        let (_, theirs) = numbers(&SafeTensors::deserialize(&bytes).expect("safetensors"), "features");
        let scale = features.iter().fold(0.0, |most: f32, v| most.max(v.abs()));
        assert!(features.iter().zip(&theirs).all(|(a, b)| (a - b).abs() <= 1e-4 * scale), "{head}");
    }
    assert_eq!(settings(&runs.join("demo-linear")).network.classes, 3, "nothing was changed");
}

#[test]
fn features_of_a_split_have_its_labels() {
    let work = tempfile::tempdir().expect("a folder");
    ok(train(&work.path().join("runs"), "demo-a", &["-e", "1", "--head", "average"]));
    let said = ok(predict(work.path(), &["demo-a", "--split", "val", "--features", "v.safetensors", "--json"]));
    let pack = Pack::open(data(), "val").expect("a pack");
    let said: Value = serde_json::from_str(&said).expect("one JSON object");
    assert_eq!((said["images"].as_u64(), said["features"].as_u64()), (Some(pack.images.count as u64), Some(25)));
    let bytes = fs::read(work.path().join("v.safetensors")).expect("a file");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let files: Vec<String> =
        serde_json::from_str(&header.metadata().as_ref().expect("metadata")["files"]).expect("names");
    assert_eq!(files, pack.image_names());
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let labels = file.tensor("labels").expect("labels");
    let labels: Vec<i64> = labels.data().as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
    assert_eq!(labels, pack.images.labels.iter().map(|label| i64::from(*label)).collect::<Vec<_>>());
    let right = numbers(&file, "logits").1;
    let hits =
        right.chunks_exact(3).zip(&labels).filter(|(z, label)| z.iter().all(|v| *v <= z[**label as usize])).count();
    let evaluated: Value = serde_json::from_str(&ok(on(
        vggkit(&["evaluate", "demo-a", "--json", "--engine", "cpu"]),
        &work.path().join("runs"),
    )))
    .expect("JSON");
    assert_eq!(evaluated["top1"].as_f64(), Some(hits as f64 / labels.len() as f64));
    // Of the test split nobody knows them.
    ok(predict(work.path(), &["demo-a", "--features", "t.safetensors", "--quiet"]));
    let bytes = fs::read(work.path().join("t.safetensors")).expect("a file");
    assert_eq!(SafeTensors::deserialize(&bytes).expect("safetensors").names().len(), 2);
    assert!(!work.path().join("predictions.csv").exists(), "in place of predictions");
}
