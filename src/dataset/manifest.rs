//! `data/manifest.json`: what was prepared, from what, and the checksums to hold it to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::classes::{Classes, are_of_wordnet};
use super::prepare_command::prepare_command;
use crate::error::Result;
use crate::files;

/// The value of `schema`.
pub const SCHEMA: &str = "vggkit/manifest/1";

/// The splits, in the order in which they are shown.
pub const SPLITS: [&str; 3] = ["train", "val", "test"];

/// The whole file. Written last by `prepare`: its presence means that everything it names is complete.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of vggkit that wrote it.
    pub vggkit: String,
    /// When, RFC 3339 in UTC. The same data prepared again over itself keeps its time.
    pub created: String,
    /// Drawn by `prepare --demo`, also where it was then prepared from that folder: not photographs. Said wherever the data shows.
    pub synthetic: bool,
    /// What it was made from.
    pub source: SourceRecord,
    /// What was asked for.
    pub settings: PrepareSettings,
    /// In class-index order (sorted wnids).
    pub classes: Vec<Class>,
    /// Image rows.
    pub height: usize,
    /// Image columns.
    pub width: usize,
    /// Mean of R, G, B over train, in 0..1.
    pub mean: [f32; 3],
    /// Standard deviation of R, G, B over train, in 0..1.
    pub std: [f32; 3],
    /// By split name: "train", "val", "test".
    pub splits: BTreeMap<String, Split>,
    /// What of train became val, where the source has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<HeldOut>,
    /// What `--skip-corrupt` and `--drop-leaks` left out, and what lies in class folders and is no image, sorted by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// SHA-256 of manifests of the same content that this one took the place of: runs of versions that knew their data by
    /// its manifest alone are recognised by them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<String>,
}

/// A class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// WordNet id, e.g. `n01443537`.
    pub wnid: String,
    /// First readable name of words.txt, e.g. `goldfish`; the wnid where there is none.
    pub name: String,
}

/// Where the images came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// "zip", "folder" or "demo".
    pub kind: String,
    /// As the user gave it.
    pub path: String,
    /// Size of a zip, or of all files read from a folder; 0 for the demo set.
    pub bytes: u64,
    /// SHA-256 of a zip; of a folder, that of the sorted list of `path<TAB>bytes<TAB>modified<LF>` (nanoseconds since
    /// 1970); of the demo set, that of its generator's version and settings.
    pub sha256: String,
    /// The data folder itself: its `train`, `val` and `test` are the source's, and stay as they are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub in_place: bool,
}

/// What of train became val.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Of each class.
    pub share: f64,
    /// Of the draw.
    pub seed: u64,
}

/// The choices that decide which images are in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PrepareSettings {
    /// `--classes`.
    pub classes: Option<Classes>,
    /// `--per-class N`: so many train images of a class, the first or drawn by the seed.
    pub per_class: Option<usize>,
    /// `--seed N`: of the choice, or of the demo set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// `--val-share X`: of train, for a source without val.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_share: Option<f64>,
    /// `--size N`: pixels a side in the packs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// `--no-folders`: packs only.
    #[serde(default)]
    pub no_folders: bool,
    /// `--skip-corrupt`: files that cannot be used are left out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub skip_corrupt: bool,
    /// `--drop-leaks`: train images that also stand in val or test are left out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub drop_leaks: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// A file of the source that is not in the data, though the settings would have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Below the source's root.
    pub path: String,
    /// For people.
    pub reason: String,
}

/// One split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Number of images.
    pub images: usize,
    /// Whether it has labels (test has none).
    pub labelled: bool,
    /// Number of greyscale images that became RGB.
    pub greyscale: usize,
    /// Number of images of another size that were resized in the pack; their files are as they were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resized: usize,
    /// Number of images that were turned as their EXIF orientation says; their files are as they were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub turned: usize,
    /// Number of images that are transparent in places, where white shows through.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub transparent: usize,
    /// Number of animations, of which the first picture was taken.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub animated: usize,
    /// The pack, relative to the data folder.
    pub pack: String,
    /// SHA-256 of the pack file.
    pub pack_sha256: String,
    /// SHA-256 over the sorted list of `path<TAB>sha256<LF>` of the image files; empty where no folders were written.
    pub files_sha256: String,
}

impl Manifest {
    /// `<data>/manifest.json`.
    pub fn path(data: &Path) -> PathBuf {
        data.join("manifest.json")
    }

    /// Reads the manifest of a data folder. A change that was cut short has taken it away; so `prepare` is named.
    pub fn load(data: &Path) -> Result<Self> {
        let path = Self::path(data);
        let prepare = prepare_command(data);
        let help = format!("run `{prepare}`: it makes the data, and completes a change that was cut short");
        files::read_json(&path).map_err(|e| if path.exists() { e } else { e.with_help(help) })
    }

    /// Whether the classes are ImageNet's, so that this is Tiny ImageNet or a part of it, and not somebody's own images.
    pub fn is_of_imagenet(&self) -> bool {
        let wnids: Vec<&str> = self.classes.iter().map(|class| class.wnid.as_str()).collect();
        are_of_wordnet(&wnids)
    }

    /// What names the data: the SHA-256 of the lines `split<TAB>pack_sha256<LF>`, sorted. A pack holds pixels, labels,
    /// classes and file names, so this changes with each of them, and with nothing else: neither with the time nor with
    /// the source's place nor with whether class folders were written.
    pub fn content_sha256(&self) -> String {
        let lines = self.splits.iter().map(|(name, split)| format!("{name}\t{}\n", split.pack_sha256));
        sha256_of_lines(lines.collect())
    }

    /// The folders below `<data>/<split>`, in the order in which their images are packed.
    pub fn folders(&self, split: &str) -> Vec<String> {
        if self.splits.get(split).is_some_and(|s| s.labelled) {
            self.classes.iter().map(|c| c.wnid.clone()).collect()
        } else {
            vec!["images".into()]
        }
    }
}

/// [`Split::files_sha256`] of lines `path<TAB>sha256<LF>` in any order.
pub fn files_sha256(lines: Vec<String>) -> String {
    sha256_of_lines(lines)
}

fn sha256_of_lines(mut lines: Vec<String>) -> String {
    lines.sort();
    files::hex(&Sha256::digest(lines.concat()))
}
