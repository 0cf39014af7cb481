//! A run's folder and `run.toml`: the validated settings of one training and where it came from.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::choices::{Schedule, Select, TrivialAugment};
use super::sizes::Sizes;
use super::tensorboard;
use crate::dataset::Identity;
use crate::engine::{Device, NoDecay, Normalisation, Optimizer, Precision, Update};
use crate::error::{Error, Result};
use crate::files;
use crate::vgg::{Freeze, Network, Plan};

/// The value of `schema`.
pub const SCHEMA: &str = "vggkit/run/1";

/// The whole of `run.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`SCHEMA`].
    pub schema: String,
    /// The network.
    pub network: Network,
    /// The recipe.
    pub training: Recipe,
    /// What it was trained on.
    pub data: Data,
    /// Who trained it, where and when.
    pub origin: Origin,
    /// What was changed of `training` when it went on, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// A setting that was changed when a training went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// RFC 3339 in UTC.
    pub time: String,
    /// The first epoch that it concerns, or whose rest.
    pub epoch: usize,
    /// Steps done before it.
    pub step: u64,
    /// Its name in `[training]`.
    pub setting: String,
    /// The value that it had.
    pub before: String,
    /// The value that it has since.
    pub after: String,
    /// The command line.
    pub command: String,
}

/// How it is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Samples a step.
    pub batch_size: usize,
    /// Samples whose gradients are one term of a step's sum, which is added up in an order that follows from this alone; 0 for
    /// the whole batch. Batch normalisation takes its statistics over each by itself.
    #[serde(default, skip_serializing_if = "is_off")]
    pub micro_batch: usize,
    /// Unless it takes them over the whole batch.
    #[serde(default, skip_serializing_if = "is_off")]
    pub sync_batch_norm: bool,
    /// At most.
    pub epochs: usize,
    /// Epochs without a lower loss of the images that select after which it stops; 0 for never.
    pub patience: usize,
    /// Base learning rate.
    pub learning_rate: f64,
    /// The optimiser and its constants.
    pub optimizer: Optimizer,
    /// Tensors that weight decay leaves alone.
    #[serde(default, skip_serializing_if = "NoDecay::is_none")]
    pub no_decay: NoDecay,
    /// The most that the norm of all gradients together may be; 0 for no bound.
    #[serde(default, skip_serializing_if = "is_off")]
    pub clip_norm: f64,
    /// Decay of the averaged weights, which are validated and kept; 0 for none.
    #[serde(default, skip_serializing_if = "is_off")]
    pub ema: f64,
    /// Augmentation of train.
    pub augment: Augment,
    /// Share of an image that a resized crop has at least.
    #[serde(default = "crop_scale", skip_serializing_if = "is_crop_scale")]
    pub crop_scale: f64,
    /// Of which operations of TrivialAugment each train image goes through one.
    #[serde(default, skip_serializing_if = "is_off", deserialize_with = "TrivialAugment::read")]
    pub trivial_augment: TrivialAugment,
    /// Standard deviation of the shift of train images' colours along their principal components; 0 for none.
    #[serde(default, skip_serializing_if = "is_off")]
    pub color_shift: f64,
    /// Probability that a rectangle of a train image is erased.
    #[serde(default, skip_serializing_if = "is_off")]
    pub erase: f64,
    /// Both parameters of the Beta distribution of which the shares of two mixed images are drawn; 0 for no mixup.
    #[serde(default, skip_serializing_if = "is_off")]
    pub mixup: f64,
    /// The same for the area that a second image covers; 0 for no CutMix.
    #[serde(default, skip_serializing_if = "is_off")]
    pub cutmix: f64,
    /// Epochs at the end in which nothing is mixed.
    #[serde(default, skip_serializing_if = "is_off")]
    pub mix_off: usize,
    /// Learning-rate schedule.
    pub schedule: Schedule,
    /// Epochs of linear warm-up from 0.
    pub warmup: f64,
    /// Cross-entropy's label smoothing.
    pub label_smoothing: f32,
    /// Sizes that the images are seen in in turn, the network's last; one where it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_sizes: Option<Sizes>,
    /// Folders of runs whose networks teach this one.
    #[serde(default, skip_serializing_if = "is_off")]
    pub distill: Vec<String>,
    /// Share of a target that they say.
    #[serde(default = "distill_weight", skip_serializing_if = "is_distill_weight")]
    pub distill_weight: f64,
    /// How pixels become activations.
    pub normalisation: Normalisation,
    /// Seed of weights, order, augmentation and dropout.
    pub seed: u64,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// What the factors of products are rounded to; only the GPU engine can do f16.
    #[serde(default)]
    pub precision: Precision,
    /// Stop after this many steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Train on the first N images of an order drawn from the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_train: Option<usize>,
    /// By what the network to keep is chosen.
    #[serde(default)]
    pub select: Select,
    /// Share of each class's train images that are not trained on: they select then, and early stopping reads them.
    #[serde(default)]
    pub hold_out: f64,
    /// Weights that it started from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Whether only those layers of it were taken that fit, and the others drawn.
    #[serde(default, skip_serializing_if = "is_false")]
    pub init_partial: bool,
    /// The first layers, which keep these weights.
    #[serde(default, skip_serializing_if = "is_off")]
    pub freeze: Freeze,
}

impl Default for Recipe {
    /// The replaced project's: Adam at 1e-3, batches of 64, at most 50 epochs, patience 6, flips.
    fn default() -> Self {
        Self {
            batch_size: 64,
            micro_batch: 0,
            sync_batch_norm: false,
            epochs: 50,
            patience: Schedule::Constant.patience(),
            learning_rate: 1e-3,
            optimizer: Optimizer::adam(),
            no_decay: NoDecay::default(),
            clip_norm: 0.0,
            ema: 0.0,
            augment: Augment::Flip,
            crop_scale: crop_scale(),
            trivial_augment: TrivialAugment::Off,
            color_shift: 0.0,
            erase: 0.0,
            mixup: 0.0,
            cutmix: 0.0,
            mix_off: 0,
            schedule: Schedule::Constant,
            warmup: 0.0,
            label_smoothing: 0.0,
            image_sizes: None,
            distill: Vec::new(),
            distill_weight: distill_weight(),
            normalisation: Normalisation::default(),
            seed: 0,
            shuffle: true,
            precision: Precision::F32,
            max_steps: None,
            limit_train: None,
            select: Select::Loss,
            hold_out: 0.0,
            init: None,
            init_partial: false,
            freeze: Freeze::None,
        }
    }
}

impl Recipe {
    /// What an update does besides the optimiser's rule.
    pub fn update(&self) -> Update {
        let on = |value: f64| (value != 0.0).then_some(value);
        Update { no_decay: self.no_decay, clip_norm: on(self.clip_norm), ema: on(self.ema) }
    }

    /// The plan of `network` as it is trained: with frozen layers, where some are. Errors: those of both.
    pub fn plan(&self, network: &Network) -> Result<Plan> {
        network.plan()?.freeze(self.freeze)
    }

    /// Whether there are epochs for all that needs some. Errors: a warm-up that does not end, a size of images that never comes,
    /// images that are never mixed.
    pub fn check_epochs(&self) -> Result<()> {
        let Self { epochs, warmup, mix_off, .. } = *self;
        if warmup > epochs as f64 {
            return Err(Error::usage(format!(
                "--warmup {warmup} is longer than the whole training (--epochs {epochs}): choose at most {epochs}"
            )));
        }
        if let Some(sizes) = self.image_sizes.as_ref().filter(|sizes| sizes.before_last() >= epochs) {
            let (last, done) = (sizes.last(), sizes.before_last());
            return Err(Error::usage(format!("--image-size: {done} of {epochs} epochs are done before {last} pixels"))
                .with_help("choose more epochs (-e), or let the last size begin earlier"));
        }
        if mix_off > 0 && mix_off >= epochs {
            return Err(Error::usage(format!("--mix-off {mix_off} leaves none of {epochs} epochs to mix in"))
                .with_help(format!("choose fewer than {epochs}, or leave --mixup and --cutmix out")));
        }
        Ok(())
    }

    /// The size that `network` sees images in in `epoch`, from 1.
    pub fn image_size(&self, network: &Network, epoch: usize) -> usize {
        self.image_sizes.as_ref().map_or(network.image_size, |sizes| sizes.at(epoch))
    }
}

/// What happens to train images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Augment {
    /// Nothing.
    None,
    /// Left-right mirror with probability 1/2.
    Flip,
    /// Flip, and a random crop after padding by 4 pixels.
    Crop,
    /// Flip, and a random part of the image (--crop-scale), resized.
    ResizedCrop,
}

/// What it was trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The data folder as given.
    pub folder: String,
    /// Split trained on.
    pub train: String,
    /// Split validated on.
    pub val: String,
    /// What names the data: [`crate::dataset::Manifest::content_sha256`]. Empty in runs of versions before it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content_sha256: String,
    /// SHA-256 of manifest.json as it was when the training began.
    pub manifest_sha256: String,
    /// Drawn, not photographed.
    pub synthetic: bool,
    /// Somebody's own: their classes are not ImageNet's.
    #[serde(default, skip_serializing_if = "is_false")]
    pub own_images: bool,
}

/// Who, where, when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The command line.
    pub command: String,
    /// vggkit's version.
    pub version: String,
    /// The commit it was built from, where known.
    pub commit: String,
    /// Engine, adapter, driver, threads.
    #[serde(flatten)]
    pub device: Device,
    /// RFC 3339 in UTC.
    pub started: String,
    /// RFC 3339 in UTC; empty while it runs.
    pub finished: String,
    /// "epochs", "early stopping", "max steps", "signal", "diverged"; empty while it runs.
    pub stopped_by: String,
    /// SHA-256 of best.safetensors once it has ended; empty while it runs and where no epoch was finished.
    #[serde(default)]
    pub best_sha256: String,
    /// SHA-256 of the weights of those that it is distilled from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teachers: Vec<String>,
    /// SHA-256 of the file that it started from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub init_sha256: String,
    /// With `init_partial`: the layers that were taken from the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init_taken: Vec<String>,
    /// With `init_partial`: the layers that were drawn, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init_drawn: Vec<String>,
    /// With `init_partial`: the layers of the file that the network does not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init_unused: Vec<String>,
    /// Where event files for TensorBoard go, where they are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensorboard: Option<tensorboard::Wanted>,
}

impl Default for Data {
    /// Nobody's yet, with the splits' usual names.
    fn default() -> Self {
        Self {
            folder: String::new(),
            train: "train".into(),
            val: "val".into(),
            content_sha256: String::new(),
            manifest_sha256: String::new(),
            synthetic: false,
            own_images: false,
        }
    }
}

impl Data {
    /// What names the data of this run, comparable with [`Identity::content_sha256`]. A run of a version that knew its data
    /// by the manifest alone is told by the data `at_hand`, else by the folder that it was trained on; where both hold other
    /// data now, the manifest's checksum stands for it, which no other data has.
    pub fn known_as(&self, at_hand: Option<&Identity>) -> String {
        if !self.content_sha256.is_empty() {
            return self.content_sha256.clone();
        }
        let is_mine = |identity: &&Identity| identity.manifests.contains(&self.manifest_sha256);
        if let Some(identity) = at_hand.filter(is_mine) {
            return identity.content_sha256.clone();
        }
        let own = Identity::of(Path::new(&self.folder)).ok().map(|(_, identity)| identity);
        own.as_ref().filter(is_mine).map_or(&self.manifest_sha256, |identity| &identity.content_sha256).clone()
    }

    /// Whether this run was trained on the data `at_hand`.
    pub fn is(&self, at_hand: &Identity) -> bool {
        self.known_as(Some(at_hand)) == at_hand.content_sha256
    }
}

/// A quarter: torchvision's 0.08 leaves 18 x 18 pixels of an image of 64 x 64.
fn crop_scale() -> f64 {
    0.25
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_crop_scale(value: &f64) -> bool {
    *value == crop_scale()
}

/// Half of the target.
fn distill_weight() -> f64 {
    0.5
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_distill_weight(value: &f64) -> bool {
    *value == distill_weight()
}

/// Whether a setting that is off by default is off.
fn is_off<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Run {
    /// What `run.toml` would say of a run with these settings that nobody has trained.
    pub fn new(network: Network, training: Recipe, data: Data) -> Self {
        Self { schema: SCHEMA.to_owned(), network, training, data, origin: Origin::default(), changes: Vec::new() }
    }

    /// `<folder>/run.toml`.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join("run.toml")
    }

    /// Reads a run folder's settings.
    pub fn load(folder: &Path) -> Result<Self> {
        let read = files::read_toml(&Self::path(folder));
        read.map_err(|e| e.or_help(format!("restore it from a backup, or remove the run: {}", folder.display())))
    }
}
