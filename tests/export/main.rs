//! `vggkit export`: what the files hold, against the weights that they were made of; against logits that onnxruntime computed
//! (`golden`); and for `make onnx`, which has onnxruntime and PyTorch compute them anew (`cases`, `check.py`).

mod cases;
mod folding;
mod golden;
mod refusals;
mod structure;
mod torch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use prost::Message;
use tempfile::TempDir;
use vggkit::dataset::Pack;
use vggkit::engine::{Batch, Images, Pick, Source};
use vggkit::engines::{Choice, Target};
use vggkit::export::onnx::messages::{Model, Tensor};
use vggkit::inference::model;
use vggkit::training::run::Run;
use vggkit::vgg::plan::Role;
use vggkit::vgg::{initialisation, weights};

/// A demo set with 3 classes of 20 train images each, made once.
pub fn data() -> &'static Path {
    static DATA: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    &DATA
        .get_or_init(|| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let prepare = ["prepare", "--demo", "--quiet", "--classes", "3", "--per-class", "20", "--data"];
            ok(vggkit(&prepare).arg(folder.path()));
            let path = folder.path().join("demo");
            (folder, path)
        })
        .1
}

/// The binary with these arguments.
pub fn vggkit(arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command that must succeed; its standard output.
pub fn ok(command: &mut Command) -> String {
    let output = command.output().expect("the command runs");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command that must fail with `code`; its standard error.
pub fn fails(command: &mut Command, code: i32) -> String {
    let output = command.output().expect("the command runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{error}");
    error
}

/// Trains a run with these flags for a moment, from first weights that carry a signal through every layer: those that a training
/// draws leave narrow linear layers, and networks without batch normalisation, saying the same of all images. Its folder.
pub fn train(runs: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let run = |more: &[&str]| {
        let mut command = vggkit(&["train", "--quiet", "--engine", "cpu", "-b", "8", "--overwrite", "--run", name]);
        ok(command.args(flags).args(more).arg("--data").arg(data()).arg("--runs").arg(runs));
        runs.join(name)
    };
    let plan = Run::load(&run(&["--max-steps", "1"])).expect("a run").network.plan().expect("a plan");
    let mut tensors = initialisation::initialise(&plan, 2);
    for (spec, values) in plan.tensors().iter().zip(&mut tensors).filter(|(spec, _)| spec.role == Role::Weight) {
        let fan_in: usize = spec.shape[1..].iter().product();
        let deviation = (values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32).sqrt();
        let factor = (2.0 / fan_in as f32).sqrt() / deviation;
        values.iter_mut().for_each(|value| *value *= factor);
    }
    let init = tempfile::Builder::new().suffix(".safetensors").tempfile().expect("a file");
    weights::save(init.path(), &plan, &tensors, 0, &BTreeMap::new(), &[]).expect("weights");
    run(&["--init", &init.path().to_string_lossy()])
}

/// `vggkit export` of the run in `folder`.
pub fn export(folder: &Path, flags: &[&str]) -> Command {
    let mut command = vggkit(&["export", "--quiet"]);
    command.arg(folder).args(flags);
    command
}

/// A file of ours, read back.
pub fn decode(path: &Path) -> Model {
    Model::decode(&std::fs::read(path).expect("a file")[..]).expect("a message")
}

/// The constant of this name.
pub fn constant<'a>(model: &'a Model, name: &str) -> &'a Tensor {
    let mut all = model.graph.as_ref().expect("a graph").initializer.iter();
    all.find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("no {name}"))
}

/// Its numbers in f32.
pub fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.raw_data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// What the metadata says of `key`.
pub fn property<'a>(model: &'a Model, key: &str) -> &'a str {
    let found = model.metadata_props.iter().find(|property| property.key == key);
    found.map_or_else(|| panic!("no {key}"), |property| &property.value)
}

/// So many images of val as a network of this size sees them, [count, size, size, 3]: cut, or repeated where it is larger.
pub fn images(count: usize, size: usize) -> Vec<u8> {
    let pack = Pack::open(data(), "val").expect("a pack");
    let (height, width) = (pack.images.height, pack.images.width);
    let mut pixels = Vec::new();
    for index in 0..count {
        let image = pack.pixels(index * pack.images.count / count);
        for row in 0..size {
            for column in 0..size {
                pixels.extend_from_slice(&image[((row % height) * width + column % width) * 3..][..3]);
            }
        }
    }
    pixels
}

/// What the run in `folder` says of images of its own size, as `evaluate` and `predict` compute it on the CPU.
pub fn logits(folder: &Path, pixels: Vec<u8>) -> Vec<f32> {
    let target = Target { choice: Choice::Cpu, ..Target::default() };
    let mut model = model::Model::open(folder, &target, 2).expect("a run");
    let size = model.run.network.image_size;
    let count = pixels.len() / (3 * size * size);
    let images = Images { pixels: Arc::new(pixels), count, height: size, width: size, labels: Arc::from([]) };
    model.engine.attach(Source::Validation, images).expect("images");
    let picks: Vec<Pick> = (0..count as u32).map(Pick::of).collect();
    let mut logits = Vec::new();
    model.engine.logits(Batch::Picks(Source::Validation, &picks), &mut logits).expect("logits");
    logits
}
