//! Trained runs with their exports and logits, as files that `check.py` has onnxruntime and PyTorch compute anew: `make onnx`.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, tensor::TensorView};

use crate::{data, export, images, logits, ok, train, vggkit};

/// Name, flags of `train`, and the size of its images. Odd sizes leave maps of which a pooling drops a row, and ones whose
/// average windows overlap (48, 50, 63 and 80).
const CASES: [(&str, &str, usize); 13] = [
    ("vgg11", "-d 11 --dropout 0.5", 64),
    ("vgg11-plain", "-d 11 --no-batch-norm", 48),
    ("vgg11-lrn", "-d 11 --lrn --head linear", 37),
    ("vgg11-lrn-plain", "-d 11 --lrn --no-batch-norm --head average", 63),
    ("vgg13", "-d 13 --normalize dataset", 75),
    ("vgg13-plain", "-d 13 --no-batch-norm --head linear", 33),
    ("vgg16", "-d 16 --head linear", 80),
    ("vgg16-plain", "-d 16 --no-batch-norm --head average", 64),
    ("vgg16c", "-d 16 -c11 --head average --normalize dataset", 50),
    ("vgg16c-plain", "-d 16 -c11 --no-batch-norm", 33),
    ("vgg19", "-d 19 --ema 0.9", 64),
    ("vgg19-plain", "-d 19 --no-batch-norm --head linear", 47),
    ("vgg11-wide", "-d 11 --max-steps 3 --width 1", 64),
];
/// Name and flags of each export.
const VARIANTS: [(&str, &str); 6] = [
    ("float", ""),
    ("float-no-fold", "--no-fold"),
    ("u8", "--input u8"),
    ("u8-no-fold", "--input u8 --no-fold"),
    ("half", "--half"),
    ("half-u8-no-fold", "--half --input u8 --no-fold"),
];
/// Images of a case.
const IMAGES: usize = 7;

/// Writes images and what the run says of them.
pub fn write(path: &Path, size: usize, pixels: &[u8], logits: Option<&[f32]>) {
    let count = pixels.len() / (3 * size * size);
    let mut tensors = vec![("images", TensorView::new(Dtype::U8, vec![count, size, size, 3], pixels).expect("fits"))];
    if let Some(logits) = logits {
        let shape = vec![count, logits.len() / count];
        tensors.push(("logits", TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(logits)).expect("fits")));
    }
    fs::write(path, safetensors::serialize(tensors, None).expect("bytes")).expect("a file");
}

#[test]
#[ignore = "writes files for check.py; `make onnx` runs it"]
fn write_cases() {
    let out = PathBuf::from(std::env::var_os("VGGKIT_ONNX_CASES").expect("VGGKIT_ONNX_CASES names a folder"));
    fs::create_dir_all(&out).expect("a folder");
    fs::copy(data().join("packs/val.safetensors"), out.join("val.safetensors")).expect("a pack");
    for (name, flags, size) in CASES {
        let (size_text, mut all) = (size.to_string(), vec!["--width", "0.1", "-e", "1", "-i"]);
        all.push(&size_text);
        all.extend(flags.split(' '));
        let run = train(&out, &format!("demo-{name}"), &all);
        let pixels = images(IMAGES, size);
        write(&run.join("logits.safetensors"), size, &pixels, Some(&logits(&run, pixels.clone())));
        for (variant, flags) in VARIANTS {
            let file = run.join(format!("{variant}.onnx"));
            ok(export(&run, &flags.split_whitespace().collect::<Vec<_>>()).arg("--out").arg(file));
        }
        ok(&mut export(&run, &["--format", "torch"]));
        ok(vggkit(&["evaluate", "--quiet", "--engine", "cpu"]).arg(&run).arg("--data").arg(data()));
    }
}
