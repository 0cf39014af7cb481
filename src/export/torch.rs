//! A folder for PyTorch: `weights.safetensors`, and `network.py`, which builds the network in plain PyTorch and loads them.
//!
//! The weights are the run's own, by torchvision's names and in its layouts; nothing is folded, and training can go on there.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use minijinja::{Environment, UndefinedBehavior, context};

use super::{Trained, in_the_way};
use crate::engine::cpu::reference::local_response_normalisation as lrn;
use crate::error::{Error, Kind, Result};
use crate::files::{self, fs};
use crate::vgg::{Operation, Plan, weights};

/// The value of `schema` in the metadata of the weights.
pub const SCHEMA: &str = "vggkit/weights/1";

/// What builds the network.
const PROGRAM: &str = include_str!("../../templates/network.py.j2");
/// In the first line of every `network.py` that was written here.
const MARK: &str = "exported by vggkit";

/// Both files of the folder.
pub fn paths(folder: &Path) -> [PathBuf; 2] {
    ["weights.safetensors", "network.py"].map(|name| folder.join(name))
}

/// Writes both files to `folder`, each atomically, the weights first. Their size in bytes. Errors: something in the way that is
/// no export (unless `force`), what the system refuses.
pub fn write(folder: &Path, trained: &Trained, force: bool) -> Result<u64> {
    let [of_weights, program] = paths(folder);
    if !force {
        for (path, ours) in [(&of_weights, weights_are_ours(&of_weights)), (&program, program_is_ours(&program))] {
            if path.exists() && !ours {
                return Err(in_the_way(path));
            }
        }
    }
    let text = render(trained)?;
    fs::create_dir_all(folder).map_err(|e| Error::io("cannot create the folder", folder, e))?;
    // `weights::save` is for one process at a time; any number may export to one place.
    let own = files::temporary_beside(&of_weights)?;
    weights::save(own.path(), &trained.plan, &trained.tensors, trained.step, &metadata(trained)?, &[])?;
    fs::persist(own, &of_weights).map_err(|e| Error::io("cannot write", &of_weights, e))?;
    files::write_atomic(&program, |file| file.write_all(text.as_bytes()))?;
    let length = |path: &Path| fs::metadata(path).map(|file| file.len()).map_err(|e| Error::io("cannot read", path, e));
    Ok(length(&of_weights)? + length(&program)?)
}

fn weights_are_ours(path: &Path) -> bool {
    weights::metadata(path).is_ok_and(|metadata| metadata.get("schema").is_some_and(|schema| schema == SCHEMA))
}

fn program_is_ours(path: &Path) -> bool {
    files::read_to_string(path).is_ok_and(|text| text.lines().next().is_some_and(|line| line.contains(MARK)))
}

fn metadata(trained: &Trained) -> Result<BTreeMap<String, String>> {
    Ok(BTreeMap::from([
        ("schema".to_owned(), SCHEMA.to_owned()),
        ("vggkit".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("run".to_owned(), trained.run.clone()),
        ("digest".to_owned(), trained.digest.clone()),
        ("network".to_owned(), super::json(&trained.plan.network)?),
        ("wnids".to_owned(), super::json(&trained.classes.wnids)?),
        ("names".to_owned(), super::json(&trained.classes.names)?),
        ("mean".to_owned(), super::json(&trained.normalisation.mean)?),
        ("std".to_owned(), super::json(&trained.normalisation.std)?),
    ]))
}

/// The text of `network.py`.
fn render(trained: &Trained) -> Result<String> {
    let network = &trained.plan.network;
    let about = format!("{}; {MARK} {}", trained.describe(), env!("CARGO_PKG_VERSION"));
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let failed = |e: minijinja::Error| Error::new(Kind::Data, "cannot write network.py").with_source(e);
    let values = context! {
        about => super::json(&about)?, // a string of JSON is one of Python, whatever a run is called
        mean => trained.normalisation.mean,
        std => trained.normalisation.std,
        size => network.image_size,
        classes => network.classes,
        batch_norm => network.batch_norm,
        normalisation => format!("{}, alpha={}, beta={}, k={}", lrn::SIZE, lrn::ALPHA * lrn::SIZE as f64, lrn::BETA, lrn::K),
        layers => layers(&trained.plan),
        averages => network.head.averages(),
        classifier => classifier(&trained.plan),
    };
    environment.render_str(PROGRAM, values).map(|text| text + "\n").map_err(failed)
}

/// The convolutions' outputs and kernels in Python, with what lies between: "pool" and "lrn".
fn layers(plan: &Plan) -> String {
    let layer = |layer: &crate::vgg::Layer| match layer.operation {
        Operation::Conv2d { kernel } => Some(format!("({}, {kernel})", layer.output.channels)),
        Operation::MaxPool2d => Some("\"pool\"".to_owned()),
        Operation::LocalResponseNorm => Some("\"lrn\"".to_owned()),
        _ => None,
    };
    plan.layers.iter().filter_map(layer).collect::<Vec<_>>().join(", ")
}

/// The modules of the classifier in Python.
fn classifier(plan: &Plan) -> Vec<String> {
    let layer = |layer: &crate::vgg::Layer| match layer.operation {
        Operation::Linear => format!("nn.Linear({}, {})", layer.input.elements(), layer.output.channels),
        Operation::Dropout { probability } => format!("nn.Dropout({probability})"),
        _ => "nn.ReLU()".to_owned(),
    };
    plan.layers.iter().filter(|layer| layer.name.starts_with("classifier.")).map(layer).collect()
}
