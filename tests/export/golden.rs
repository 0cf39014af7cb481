//! Logits that onnxruntime computed of small exported networks, against those of our own engine: golden/README.md.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use crate::{cases, decode, export, images, logits, ok, train};

/// Folder and flags of `train`. A head that is flattened from maps of 3x3, whose average windows overlap, and one from an average.
const GOLDENS: [(&str, &str, usize); 2] = [
    ("demo-vgg11-lrn-linear", "-d 11 --lrn --no-batch-norm --head linear --width 0.032", 48),
    ("demo-vgg16c-average", "-d 16 -c11 --head average --width 0.016 --normalize dataset", 33),
];
/// What is exported.
const EXPORT: [&str; 2] = ["--input", "u8"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export/golden").join(name)
}

/// A tensor's shape and bytes.
fn read(path: &Path, name: &str) -> (Vec<usize>, Vec<u8>) {
    let bytes = fs::read(path).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let tensor = file.tensor(name).expect("a tensor");
    (tensor.shape().to_vec(), tensor.data().to_vec())
}

#[test]
fn our_logits_are_those_of_onnxruntime() {
    for (name, _, size) in GOLDENS {
        let golden = folder(name);
        // The graph that onnxruntime was given is the one that is exported today.
        let place = tempfile::tempdir().expect("a folder");
        let file = place.path().join("network.onnx");
        ok(export(&golden, &EXPORT).arg("--out").arg(&file));
        let (mut then, mut now) = (decode(&golden.join("network.onnx")), decode(&file));
        then.producer_version.clear();
        now.producer_version.clear();
        assert!(then == now, "{name}: another graph or other weights; golden/README.md says how to make them anew");
        let (shape, pixels) = read(&golden.join("images.safetensors"), "images");
        assert_eq!(shape, [6, size, size, 3]);
        let ours = logits(&golden, pixels);
        let (shape, theirs) = read(&golden.join("logits.safetensors"), "logits");
        assert_eq!(shape, [6, 3]);
        let theirs: Vec<f32> = theirs.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{name}: {worst}\n{ours:?}\n{theirs:?}");
        // Networks that say the same of every image would agree whatever they are given.
        let spread = (0..3).map(|class| {
            let of_class = || theirs.iter().skip(class).step_by(3);
            of_class().copied().fold(f32::MIN, f32::max) - of_class().copied().fold(f32::MAX, f32::min)
        });
        assert!(spread.fold(0.0, f32::max) > 0.1, "{name}: {theirs:?}");
    }
}

#[test]
#[ignore = "makes runs, exports and images anew, and check.py their logits: golden/README.md"]
fn draw_goldens() {
    for (name, flags, size) in GOLDENS {
        let runs = tempfile::tempdir().expect("a folder");
        let size_text = size.to_string();
        let all = [&["-e", "1", "-i", &size_text][..], &flags.split(' ').collect::<Vec<_>>()].concat();
        let run = train(runs.path(), name, &all);
        let golden = folder(name);
        fs::create_dir_all(&golden).expect("a folder");
        for file in ["run.toml", "best.safetensors"] {
            fs::copy(run.join(file), golden.join(file)).expect("a copy");
        }
        cases::write(&golden.join("images.safetensors"), size, &images(6, size), None);
        ok(export(&golden, &EXPORT).args(["--force", "--out"]).arg(golden.join("network.onnx")));
    }
}
