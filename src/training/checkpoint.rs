//! `best.safetensors` and `last.safetensors`: weights that PyTorch loads, and beside them all that a resumed
//! training needs to go on to the bit. A digest over every number tells a damaged file from a good one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::schedule::Plateau;
use crate::engine::{Optimizer, State};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::vgg::plan::TensorSpec;
use crate::vgg::{Plan, weights};

/// The value of `schema` in the metadata.
pub const SCHEMA: &str = "vggkit/checkpoint/1";

/// Where a training stands, between two steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// The epoch being worked on, from 1.
    pub epoch: usize,
    /// Batches of that epoch done.
    pub batch: usize,
    /// Sum of sample losses in that epoch so far.
    pub loss_sum: f64,
    /// Hits in that epoch so far.
    pub top1: u64,
    /// Samples in that epoch so far.
    pub samples: u64,
    /// Seconds of training spent on that epoch so far.
    pub seconds: f64,
    /// Lowest loss of the images that select: the validation split or, whatever the name says, train images that were held out.
    pub best_val_loss: Option<f64>,
    /// Their highest top-1, where that selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_top1: Option<f64>,
    /// The epoch whose network was kept.
    pub best_epoch: usize,
    /// Epochs since that loss was lowest.
    pub epochs_without_improvement: usize,
    /// The plateau schedule's memory.
    pub plateau: Plateau,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            step: 0,
            epoch: 1,
            batch: 0,
            loss_sum: 0.0,
            top1: 0,
            samples: 0,
            seconds: 0.0,
            best_val_loss: None,
            best_top1: None,
            best_epoch: 0,
            epochs_without_improvement: 0,
            plateau: Plateau::default(),
        }
    }
}

impl Progress {
    /// Whether a training can stand there: damage can turn one digit into another.
    fn is_possible(&self) -> bool {
        let counted = self.step < 1 << 53 && self.epoch >= 1 && self.top1 <= self.samples;
        counted && self.seconds >= 0.0 && self.plateau.factor >= 0.0 && self.plateau.factor <= 1.0
    }
}

/// What a network's outputs mean; travels with the weights, so that a prediction needs no data set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes {
    /// In class-index order.
    pub wnids: Vec<String>,
    /// Readable, same order.
    pub names: Vec<String>,
}

/// `<run>/last.safetensors`.
pub fn last_path(run: &Path) -> PathBuf {
    run.join("last.safetensors")
}

/// `<run>/best.safetensors`.
pub fn best_path(run: &Path) -> PathBuf {
    run.join("best.safetensors")
}

/// A state that is fit to be kept: all its numbers are finite, and their digests are known.
pub struct Sealed<'a> {
    state: &'a State,
    /// SHA-256 of the weights that infer.
    weights: String,
    /// SHA-256 of those, of the live ones where they are others, and of the moments.
    all: String,
}

/// Numbers that are checked and hashed while they are in the processor's cache.
const PIECE: usize = 16 << 10;

/// The weights that infer, the averaged ones where they are kept; and the live ones, where they are others.
fn inferring_first(state: &State) -> [&[Vec<f32>]; 2] {
    if state.averages.is_empty() { [&state.tensors, &[]] } else { [&state.averages, &state.tensors] }
}

impl<'a> Sealed<'a> {
    /// Looks at every number of `state` once. Errors: one that is not finite.
    pub fn new(state: &'a State) -> Result<Self> {
        let mut hasher = Sha256::new();
        let add = |tensors: &[Vec<f32>], hasher: &mut Sha256| {
            let finite = tensors.iter().flat_map(|tensor| tensor.chunks(PIECE)).all(|piece| {
                hasher.update(bytemuck::cast_slice::<f32, u8>(piece));
                piece.iter().fold(true, |all, v| all & v.is_finite()) // without a branch a number
            });
            let what = "a weight or optimiser moment is not a finite number";
            if finite { Ok(()) } else { Err(diverged(what)) }
        };
        let [first, second] = inferring_first(state);
        add(first, &mut hasher)?;
        let weights = files::hex(&hasher.clone().finalize()); // of best.safetensors
        add(second, &mut hasher)?;
        state.moments.iter().try_for_each(|moment| add(moment, &mut hasher))?;
        Ok(Self { state, weights, all: files::hex(&hasher.finalize()) })
    }
}

/// Writes the weights alone, for inference: the averaged ones where they are kept. What was measured of the best network before them goes first, so that no
/// evaluation stands beside weights that it is not about.
pub fn save_best(run: &Path, plan: &Plan, sealed: &Sealed<'_>, progress: &Progress, classes: &Classes) -> Result<()> {
    forget_evaluations(run)?;
    let [tensors, _] = inferring_first(sealed.state);
    save(&best_path(run), plan, (sealed.state, tensors), (&[], &sealed.weights), progress, classes)
}

/// Removes what `vggkit evaluate` wrote: `evaluation.json`, `evaluation-<split>.json`, the `.csv` beside each, and
/// `inside.json`.
pub fn forget_evaluations(run: &Path) -> Result<()> {
    let failed = |e| Error::io("cannot list", run, e);
    for entry in files::fs::read_dir(run).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let evaluation = name.strip_suffix(".json").or_else(|| name.strip_suffix(".csv"));
        if evaluation.is_some_and(|n| n == "evaluation" || n.starts_with("evaluation-")) || name == "inside.json" {
            files::remove_if_there(&entry.path())?; // somebody may tidy up at the same time
        }
    }
    Ok(())
}

/// Writes the live weights, the averaged ones where they are kept, optimiser state and progress.
pub fn save_last(
    run: &Path,
    plan: &Plan,
    sealed: &Sealed<'_>,
    optimizer: &Optimizer,
    progress: &Progress,
    classes: &Classes,
) -> Result<()> {
    let specs = plan.tensors();
    let mut extra = Vec::new();
    for (spec, values) in specs.iter().zip(&sealed.state.averages) {
        extra.push((format!("averaged.{}", spec.name), spec.shape.clone(), values.as_slice()));
    }
    let specs: Vec<_> = specs.iter().filter(|t| t.trained()).collect();
    for (moment, tensors) in optimizer.moments().iter().zip(&sealed.state.moments) {
        for (spec, values) in specs.iter().zip(tensors) {
            extra.push((format!("optimizer.{moment}.{}", spec.name), spec.shape.clone(), values.as_slice()));
        }
    }
    let state = sealed.state;
    save(&last_path(run), plan, (state, &state.tensors), (&extra, &sealed.all), progress, classes)
}

/// `tensors` are one set of the state's weights, `extra` what else goes into the file, `digest` that of all.
fn save(
    path: &Path,
    plan: &Plan,
    (state, tensors): (&State, &[Vec<f32>]),
    (extra, digest): (&[weights::Extra<'_>], &str),
    progress: &Progress,
    classes: &Classes,
) -> Result<()> {
    let text = |value: Result<String, serde_json::Error>| value.map_err(|e| Error::data(path, e));
    let mut metadata = BTreeMap::from([
        ("schema".to_owned(), SCHEMA.to_owned()),
        ("vggkit".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("network".to_owned(), text(serde_json::to_string(&plan.network))?),
        ("progress".to_owned(), text(serde_json::to_string(progress))?),
        ("variants".to_owned(), text(serde_json::to_string(&state.variants))?),
        ("wnids".to_owned(), text(serde_json::to_string(&classes.wnids))?),
        ("names".to_owned(), text(serde_json::to_string(&classes.names))?),
        ("digest".to_owned(), digest.to_owned()),
    ]);
    if let Some(scaling) = &state.loss_scaling {
        metadata.insert("loss_scaling".to_owned(), text(serde_json::to_string(scaling))?);
    }
    weights::save(path, plan, tensors, state.step, &metadata, extra)
}

/// The error for numbers that ran away.
pub fn diverged(what: &str) -> Error {
    Error::new(Kind::Diverged, format!("training diverged: {what}"))
        .with_help("try a lower learning rate (-lr), --warmup 1, batch normalisation if it is off, or --precision f32 if it is f16")
}

/// SHA-256 over all numbers: of the weights that infer, of the live ones where they are others, of the moments.
fn digest(state: &State) -> String {
    let mut hasher = Sha256::new();
    let weights = inferring_first(state).into_iter().flatten();
    for tensor in weights.chain(state.moments.iter().flatten()) {
        hasher.update(bytemuck::cast_slice::<f32, u8>(tensor));
    }
    files::hex(&hasher.finalize())
}

/// A checkpoint read back.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// For the engine.
    pub state: State,
    /// For the trainer.
    pub progress: Progress,
    /// What the outputs mean.
    pub classes: Classes,
    /// SHA-256 over all its numbers: tells these weights from any others.
    pub digest: String,
}

/// [`Checkpoint::digest`] of a checkpoint whose numbers stay unread.
pub fn digest_of(path: &Path) -> Result<String> {
    let lacking = || Error::data(path, "the checkpoint's metadata lacks \"digest\"");
    weights::metadata(path)?.remove("digest").ok_or_else(lacking)
}

/// Where the training of a checkpoint stands, whose numbers stay unread.
pub fn progress_of(path: &Path) -> Result<Progress> {
    let text = weights::metadata(path)?.remove("progress");
    progress(path, &text.ok_or_else(|| Error::data(path, "the checkpoint's metadata lacks \"progress\""))?)
}

fn progress(path: &Path, text: &str) -> Result<Progress> {
    let progress: Progress =
        serde_json::from_str(text).map_err(|e| Error::data(path, format!("damaged metadata: {e}")))?;
    if progress.is_possible() {
        return Ok(progress);
    }
    Err(Error::data(path, "damaged metadata: no training can stand where its progress says"))
}

/// Reads a checkpoint. With an optimiser, its moments must be there, and averaged weights are read where there are any: all of
/// them. Errors name the file: not a checkpoint,
/// another network, truncated, or numbers that do not match their digest.
pub fn load(path: &Path, plan: &Plan, optimizer: Option<&Optimizer>) -> Result<Checkpoint> {
    let loaded = weights::load(path, plan)?;
    let field = |key: &str| {
        loaded.metadata.get(key).ok_or_else(|| {
            Error::data(path, format!("the checkpoint's metadata lacks \"{key}\""))
                .with_help("weights from elsewhere start a training with --init, they cannot be resumed or evaluated")
        })
    };
    let broken = |e: serde_json::Error| Error::data(path, format!("damaged metadata: {e}"));
    if field("schema")? != SCHEMA {
        return Err(Error::data(path, format!("is not a {SCHEMA} file")));
    }
    let progress = progress(path, field("progress")?)?;
    let mut state = State::new(loaded.tensors);
    state.step = progress.step;
    state.variants = serde_json::from_str(field("variants")?).map_err(broken)?;
    let scaling = loaded.metadata.get("loss_scaling");
    state.loss_scaling = scaling.map(|text| serde_json::from_str(text)).transpose().map_err(broken)?;
    if state.loss_scaling.is_some_and(|scaling| scaling.scale <= 0.0) {
        return Err(Error::data(path, "damaged metadata: the loss is scaled by a number that is not positive"));
    }
    let classes = Classes {
        wnids: serde_json::from_str(field("wnids")?).map_err(broken)?,
        names: serde_json::from_str(field("names")?).map_err(broken)?,
    };
    if classes.wnids.len() != plan.network.classes || classes.names.len() != plan.network.classes {
        return Err(Error::data(path, "damaged metadata: classes and network do not fit each other"));
    }
    let specs = plan.tensors();
    let mut extra = loaded.extra;
    if let Some(optimizer) = optimizer.filter(|_| state.step > 0) {
        let averaged = extra.keys().any(|name| name.starts_with("averaged."));
        let mut take = |prefix: &str, wanted: fn(&TensorSpec) -> bool| -> Result<Vec<Vec<f32>>> {
            let wanted = specs.iter().filter(|spec| wanted(spec));
            let tensor = |spec: &TensorSpec| {
                let name = format!("{prefix}.{}", spec.name);
                let values = extra.remove(&name).filter(|values| values.len() == spec.elements());
                values.ok_or_else(|| Error::data(path, format!("{name} is missing or has a wrong size")))
            };
            wanted.map(tensor).collect()
        };
        if averaged {
            state.averages = take("averaged", |_| true)?;
        }
        for moment in optimizer.moments() {
            state.moments.push(take(&format!("optimizer.{moment}"), TensorSpec::trained)?);
        }
    }
    let recorded = field("digest")?.clone();
    let whole = optimizer.is_some() || extra.is_empty();
    if whole && recorded != digest(&state) {
        return Err(Error::data(path, "the numbers do not match their checksum: the file is damaged")
            .with_help("restore the file from a backup, or train again with --overwrite"));
    }
    Ok(Checkpoint { state, progress, classes, digest: recorded })
}
