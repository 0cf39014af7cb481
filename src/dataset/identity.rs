//! By what a data set is known: its content, whenever, wherever and from whatever place it was prepared.
//!
//! Reads manifests, no pack: that a pack is what its manifest says is for `vggkit verify` to find out.

use std::path::Path;

use super::manifest::{self, Manifest};
use crate::error::Result;
use crate::files;

/// The names of the data in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// [`Manifest::content_sha256`].
    pub content_sha256: String,
    /// SHA-256 of manifest.json as it is, and of the manifests of the same content that it took the place of. Runs of
    /// versions before `content_sha256` have one of these alone.
    pub manifests: Vec<String>,
}

impl Identity {
    /// Of the data in the folder `data`, with its manifest. Errors: it was not prepared.
    pub fn of(data: &Path) -> Result<(Manifest, Self)> {
        let manifest = Manifest::load(data)?;
        let mut manifests = vec![files::sha256(&Manifest::path(data))?];
        manifests.extend(manifest.former.iter().cloned());
        let content_sha256 =
            if manifest.schema == manifest::SCHEMA { manifest.content_sha256() } else { String::new() };
        Ok((manifest, Self { content_sha256, manifests }))
    }
}
