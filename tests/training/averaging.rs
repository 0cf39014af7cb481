//! Averaged views and fused runs: their figures are those of the mean softmax, made here by hand from each network's logits.

use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use vggkit::dataset::Pack;
use vggkit::engine::cpu::CpuEngine;
use vggkit::engine::resample::{Window, windows};
use vggkit::engine::{Batch, Engine as _, Images, Settings, Source, State};
use vggkit::engines::{Choice, Target};
use vggkit::inference::answers::Answers;
use vggkit::inference::model::Model;
use vggkit::training::metrics;
use vggkit::vgg::Network;

use crate::{data, fails, ok, on, train, vggkit};

/// Softmax of every image, by a run's best network.
fn softmax(runs: &TempDir, run: &str, images: &Images) -> Vec<Vec<f64>> {
    let target = Target { choice: Choice::Cpu, ..Target::default() };
    let mut model = Model::open(&runs.path().join(run), &target, 2).expect("a model");
    model.engine.attach(Source::Validation, images.clone()).expect("images");
    let mut all = Vec::new();
    let visit = |_: usize, logits: &[f32]| {
        let exponentials: Vec<f64> = logits.iter().map(|v| f64::from(*v).exp()).collect();
        let sum: f64 = exponentials.iter().sum();
        all.push(exponentials.iter().map(|e| e / sum).collect());
    };
    metrics::for_each_logits(model.engine.as_mut(), images.count, 8, visit, |_| {}).expect("logits");
    all
}

/// The same images seen in a mirror.
fn mirrored(images: &Images) -> Images {
    let pixels: &[u8] = (*images.pixels).as_ref();
    let rows = pixels.chunks_exact(3 * images.width);
    let turned: Vec<u8> =
        rows.flat_map(|row| row.chunks_exact(3).rev().flatten().copied().collect::<Vec<u8>>()).collect();
    assert_ne!(turned, pixels, "images that look the same in a mirror test nothing");
    Images { pixels: Arc::new(turned), ..images.clone() }
}

fn mean(of: &[Vec<Vec<f64>>]) -> Vec<Vec<f64>> {
    let each = |image: usize, class: usize| of.iter().map(|one| one[image][class]).sum::<f64>() / of.len() as f64;
    (0..of[0].len()).map(|image| (0..of[0][0].len()).map(|class| each(image, class)).collect()).collect()
}

/// The run's network on images of `size`, in batches that are ready.
fn network(runs: &TempDir, run: &str, size: usize) -> CpuEngine {
    let target = Target { choice: Choice::Cpu, ..Target::default() };
    let mut model = Model::open(&runs.path().join(run), &target, 2).expect("a model");
    let plan = Network { image_size: size, ..model.run.network.clone() }.plan().expect("a plan");
    let state = State::new(model.engine.state().expect("weights").tensors);
    let settings = Settings { normalisation: model.run.training.normalisation, ..Settings::inference(8, 2) };
    CpuEngine::new(plan, settings, state).expect("an engine")
}

/// Image `index` at `size` x `size`, each pixel as the network is given it. The normalisation is a half and a half.
fn resized(images: &Images, index: usize, size: usize) -> Vec<[f32; 3]> {
    let (rows, columns) = (windows(images.height, size), windows(images.width, size));
    let pixels = &(*images.pixels).as_ref()[index * images.height * images.width * 3..];
    let pixel = |row: &Window, column: &Window| {
        std::array::from_fn(|c| {
            let mut sum = 0.0;
            for (y, down) in row.weights.iter().enumerate() {
                for (x, across) in column.weights.iter().enumerate() {
                    let at = ((row.start + y) * images.width + column.start + x) * 3 + c;
                    sum += down * across * f64::from(pixels[at]);
                }
            }
            (sum / 127.5 - 1.0) as f32
        })
    };
    rows.iter().flat_map(|row| columns.iter().map(|column| pixel(row, column)).collect::<Vec<_>>()).collect()
}

/// Softmax of one input.
fn said(engine: &mut CpuEngine, input: &[[f32; 3]]) -> Vec<f64> {
    let mut logits = Vec::new();
    engine.logits(Batch::Activations { input: input.as_flattened(), labels: &[] }, &mut logits).expect("logits");
    metrics::softmax(&logits)
}

/// Rows from right to left.
fn turned(input: &[[f32; 3]], size: usize) -> Vec<[f32; 3]> {
    input.chunks_exact(size).flat_map(|row| row.iter().rev().copied()).collect()
}

/// Means over the views of every image.
fn over(images: &Images, mut views: impl FnMut(usize) -> Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let each = |i: usize| mean(&views(i).into_iter().map(|row| vec![row]).collect::<Vec<_>>()).remove(0);
    (0..images.count).map(each).collect()
}

#[test]
fn sizes_and_crops_are_what_they_are_called() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["-e", "2", "-i", "42"]));
    let pack = Pack::open(data(), "val").expect("val");
    let (images, labels) = (&pack.images, &pack.images.labels);
    let measured = |tta: &str| {
        ok(on(vggkit(&["evaluate", "demo-a", "--quiet", "--tta", tta]), runs.path()));
        let path = runs.path().join(format!("demo-a/evaluation-val-{tta}.csv"));
        let rows = Answers::read(&path, 3).expect("answers").rows;
        rows.iter().map(|row| f64::from(row.truth_probability)).collect::<Vec<_>>()
    };
    let of_truth = |probabilities: &[Vec<f64>]| {
        let each = probabilities.iter().zip(labels.iter()).map(|(row, label)| row[*label as usize]);
        each.collect::<Vec<_>>()
    };
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);

    let mut engines = [37, 42, 47].map(|size| (size, network(&runs, "demo-a", size)));
    let views = |i: usize| {
        let each = engines.each_mut().map(|(size, engine)| {
            let input = resized(images, i, *size);
            [said(engine, &input), said(engine, &turned(&input, *size))]
        });
        each.as_flattened().to_vec()
    };
    let multi = of_truth(&over(images, views));

    // 42 out of 48, in the corners and the centre.
    let mut engine = network(&runs, "demo-a", 42);
    let views = |i: usize| {
        let larger = resized(images, i, 48);
        let crop = |top: usize, left: usize| -> Vec<[f32; 3]> {
            (top..top + 42).flat_map(|row| larger[row * 48 + left..][..42].to_vec()).collect()
        };
        let crops = [(0, 0), (0, 6), (6, 0), (6, 6), (3, 3)].map(|(top, left)| crop(top, left));
        crops.iter().flat_map(|crop| [said(&mut engine, crop), said(&mut engine, &turned(crop, 42))]).collect()
    };
    let crops = of_truth(&over(images, views));

    for (tta, expected) in [("multi", &multi), ("crops", &crops)] {
        let found = measured(tta);
        assert!(
            found.len() == expected.len() && apart(&found, expected) < 1e-5,
            "{tta}: {found:?} is not {expected:?}"
        );
    }
    assert!(apart(&multi, &crops) > 1e-4, "figures that both have test neither");
}

#[test]
fn every_engine_measures_the_same_views() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["-e", "2"]));
    for tta in ["multi", "dense", "crops"] {
        let on_engine = |engine: &[&str]| {
            let arguments = [&["evaluate", "demo-a", "--json", "--tta", tta], engine].concat();
            json(&ok(on(vggkit(&arguments), runs.path())))
        };
        let cpu = on_engine(&["--engine", "cpu"]);
        let gpu = on_engine(&["--engine", "gpu", "--adapter", "llvmpipe"]);
        for key in ["loss", "top5"] {
            let [cpu, gpu] = [&cpu, &gpu].map(|evaluation| evaluation[key].as_f64().expect("a number"));
            assert!((cpu - gpu).abs() < 1e-4, "{tta}: {key} is {cpu} on the CPU and {gpu} on the GPU");
        }
        assert_eq!(on_engine(&["--engine", "cpu", "--threads", "1"]), cpu, "{tta}: for any number of threads");
    }
}

/// `evaluation` says of `probabilities` what they are.
fn measures(evaluation: &Value, probabilities: &[Vec<f64>], labels: &[u32]) {
    let images = labels.len() as f64;
    let said = |row: &[f64]| (0..row.len()).reduce(|a, b| if row[b] > row[a] { b } else { a }).expect("a class");
    let hits = probabilities.iter().zip(labels).filter(|(row, label)| said(row) == **label as usize).count();
    let loss = probabilities.iter().zip(labels).map(|(row, label)| -row[*label as usize].ln()).sum::<f64>() / images;
    let near = |key: &str, expected: f64| {
        let found = evaluation[key].as_f64().expect(key);
        assert!((found - expected).abs() < 1e-9, "{key}: {found} is not {expected}");
    };
    near("images", images);
    near("top1", hits as f64 / images);
    near("top5", 1.0); // of three classes
    near("loss", loss);
    // The expected calibration error by its definition, bin by bin.
    let mut error = 0.0;
    for bin in 0..15 {
        let within = |p: f64| p > f64::from(bin) / 15.0 && p <= f64::from(bin + 1) / 15.0;
        let (mut confidence, mut right) = (0.0, 0.0);
        for (row, label) in probabilities.iter().zip(labels) {
            let predicted = said(row);
            if within(row[predicted]) {
                confidence += row[predicted];
                right += f64::from(u8::from(predicted == *label as usize));
            }
        }
        error += (confidence - right).abs() / images;
    }
    let found = evaluation["calibration"]["error"].as_f64().expect("a number");
    assert!((found - error).abs() < 1e-9 && error > 0.0, "{found} is not {error}");
}

fn json(output: &str) -> Value {
    serde_json::from_str(output).expect("one JSON object")
}

#[test]
fn views_and_runs_are_averaged_by_their_softmax() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["-e", "2"]));
    ok(train(runs.path(), "demo-b", &["-e", "1", "-d", "13"]));
    let pack = Pack::open(data(), "val").expect("val");
    let (images, labels) = (&pack.images, &pack.images.labels);
    let [a, b] = ["demo-a", "demo-b"].map(|run| [images.clone(), mirrored(images)].map(|i| softmax(&runs, run, &i)));

    let flip = || json(&ok(on(vggkit(&["evaluate", "demo-a", "--tta", "flip", "--json"]), runs.path())));
    let flipped = flip();
    assert_eq!(flipped["tta"], "flip");
    measures(&flipped, &mean(&a), labels);
    assert_eq!(flip(), flipped, "again the same");
    let path = runs.path().join("demo-a/evaluation-val-flip.json");
    assert_eq!(json(&std::fs::read_to_string(&path).expect("the file")), flipped, "what is printed is what is kept");
    let answers = Answers::read(&Answers::beside(&path), 3).expect("the answers beside it");
    assert_eq!(answers.rows.len(), labels.len());
    assert!(!runs.path().join("demo-a/evaluation.json").exists(), "the plain figures are another file");
    let plain = json(&ok(on(vggkit(&["evaluate", "demo-a", "--json"]), runs.path())));
    assert!(plain.get("tta").is_none() && plain["loss"] != flipped["loss"]);
    measures(&plain, &a[0], labels);

    let fuse = |more: &[&str]| json(&ok(on(vggkit(&[&["evaluate", "--fuse", "--json"], more].concat()), runs.path())));
    let both = fuse(&["demo-a", "demo-b"]);
    assert_eq!(both["schema"], "vggkit/fusion/1");
    measures(&both["evaluation"], &mean(&[a[0].clone(), b[0].clone()]), labels);
    assert_eq!(both["runs"][0]["top1"], plain["top1"]);
    assert_eq!((&both["runs"][0]["run"], &both["runs"][1]["run"]), (&"demo-a".into(), &"demo-b".into()));
    assert_eq!(both["runs"][0]["weights_digest"], plain["weights_digest"]);
    assert_eq!(fuse(&["demo-b", "demo-a"]), both, "in any order");
    assert_eq!(fuse(&[]), both, "or not named");
    let views = fuse(&["demo-a", "demo-b", "--tta", "flip"]);
    measures(&views["evaluation"], &mean(&[mean(&a), mean(&b)]), labels);
    let kept = std::fs::read_dir(runs.path()).expect("a folder").map(|e| e.expect("a file").file_name());
    let mut kept: Vec<String> = kept.map(|name| name.to_string_lossy().into_owned()).collect();
    kept.retain(|name| name.starts_with("fusion-") && name.ends_with(".json"));
    assert_eq!(kept.len(), 2, "with and without views: {kept:?}");

    // predict averages likewise, and is asked of one test image here.
    let test = Pack::open(data(), "test").expect("test").images;
    let expected = mean(&[mean(&[softmax(&runs, "demo-a", &test), softmax(&runs, "demo-a", &mirrored(&test))])]);
    let csv = runs.path().join("predictions.csv");
    let mut predict = vggkit(&["predict", "demo-a", "--quiet", "--tta", "flip", "--out"]);
    predict.arg(&csv);
    ok(on(predict, runs.path()));
    let mut reader = csv::Reader::from_path(&csv).expect("a table");
    for (row, expected) in reader.records().map(|row| row.expect("a row")).zip(expected) {
        let (class, confidence): (usize, f64) = (row[2].parse().expect("a class"), row[7].parse().expect("a number"));
        assert!((confidence - expected[class]).abs() < 1e-6, "{row:?}: {expected:?}");
    }

    // What a training makes obsolete it removes.
    ok(train(runs.path(), "demo-a", &["-e", "1", "--overwrite"]));
    assert!(!path.exists() && !Answers::beside(&path).exists());
}

#[test]
fn what_cannot_be_fused_is_told() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["--max-steps", "1"]));
    let error = fails(on(vggkit(&["evaluate", "--fuse", "demo-a"]), runs.path()), 2);
    assert!(error.contains("1 network cannot be fused: it takes two"), "{error}");
    let error = fails(on(vggkit(&["evaluate", "--fuse", "demo-a", "--split", "test"]), runs.path()), 2);
    assert!(error.contains("it takes two"), "{error}");
    let error = fails(on(vggkit(&["evaluate", "demo-a", "--tta", "fip"]), runs.path()), 2);
    assert!(error.contains("choose one of flip"), "{error}");

    let other = tempfile::tempdir().expect("a folder");
    let mut prepare = vggkit(&["prepare", "--demo", "--quiet", "--classes", "2", "--per-class", "4", "--data"]);
    prepare.arg(other.path());
    ok(prepare);
    let mut two = vggkit(&["train", "--quiet", "--engine", "cpu", "--run", "demo-two", "--max-steps", "1", "-b", "4"]);
    two.args(["--width", "0.05", "-i", "32", "--data"]).arg(other.path().join("demo")).arg("--runs").arg(runs.path());
    ok(two);
    let fuse = || vggkit(&["evaluate", "--fuse", "demo-a", "demo-two", "--runs", runs.path().to_str().expect("text")]);
    let error = fails(fuse(), 2);
    assert!(error.contains("were trained on different data") && error.contains("--data DIR"), "{error}");
    let mut on_ours = fuse();
    on_ours.arg("--data").arg(data());
    let error = fails(on_ours, 1);
    assert!(error.contains("has other classes (3) than run demo-two was trained on (2)"), "{error}");
    let left = std::fs::read_dir(runs.path()).expect("a folder").filter_map(Result::ok);
    assert!(left.into_iter().all(|e| !e.file_name().to_string_lossy().starts_with("fusion-")), "nothing is written");
}
