//! The packs that a training trains and validates on, and by what their data is known.

use std::path::Path;

use super::run::Data;
use crate::dataset::{Identity, Manifest, Pack};
use crate::error::{Error, Result};
use crate::trace;

/// The two packs of a training. Errors: missing or damaged packs, no labels, different classes, data prepared meanwhile.
pub struct Packs {
    /// Trained on.
    pub train: Pack,
    /// Validated on.
    pub val: Pack,
    /// For the record.
    pub data: Data,
    /// By which runs know the data.
    pub identity: Identity,
}

impl Packs {
    /// Opens both splits below `folder`.
    pub fn open(folder: &Path, train: &str, val: &str) -> Result<Self> {
        let _span = trace::span("open the packs");
        let known = Identity::of(folder);
        let packs = (Pack::open(folder, train)?, Pack::open(folder, val)?);
        let (manifest, identity) = known?; // after the packs, which say more of what is missing
        let packs = Self {
            train: packs.0,
            val: packs.1,
            data: Data {
                synthetic: manifest.synthetic,
                own_images: !manifest.is_of_imagenet(),
                folder: folder.display().to_string(),
                train: train.to_owned(),
                val: val.to_owned(),
                content_sha256: identity.content_sha256.clone(),
                manifest_sha256: identity.manifests.first().cloned().unwrap_or_default(),
            },
            identity,
        };
        if Manifest::load(folder)? != manifest {
            return Err(Error::data(Manifest::path(folder), "the data was prepared anew while it was opened")
                .with_help("wait until `vggkit prepare` is done, and start again"));
        }
        for pack in [&packs.train, &packs.val] {
            if pack.images.labels.is_empty() {
                return Err(Error::data(
                    &pack.path,
                    "has no labels, so nothing can be learnt from it or measured on it",
                ));
            }
        }
        if packs.train.wnids != packs.val.wnids {
            return Err(Error::data(&packs.val.path, "has other classes than the split to train on")
                .with_help("prepare both together with `vggkit prepare`"));
        }
        Ok(packs)
    }
}
