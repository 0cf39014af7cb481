//! A split as one safetensors file: `images` u8 [N,H,W,3], `labels` i64 [N] (absent for test), `boxes` i16 [N,4]
//! where known (x0, y0, x1, y1 in pixels; -1 in all four where one image has none), and in `__metadata__`
//! `schema`, `split`, `synthetic`, and as JSON `wnids`, `names`, `files`, `mean`, `std`.
//!
//! A pack is memory-mapped, never read whole.

use std::path::{Path, PathBuf};

use crate::engine::{Images, Normalisation};
use crate::error::{Error, Result};

/// The value of `schema` in the metadata.
pub const SCHEMA: &str = "vggkit/pack/1";

/// An open pack.
#[derive(Clone)]
pub struct Pack {
    /// Where it lies.
    pub path: PathBuf,
    /// Pixels and labels as engines take them.
    pub images: Images,
    /// In class-index order.
    pub wnids: Vec<String>,
    /// Readable names, same order.
    pub names: Vec<String>,
    /// File name of each image.
    pub files: Vec<String>,
    /// Mean and standard deviation of train, in 0..1.
    pub normalisation: Normalisation,
    /// x0, y0, x1, y1 of each image; empty where the pack has none.
    pub boxes: Vec<[i16; 4]>,
    /// Drawn, not photographed.
    pub synthetic: bool,
}

impl Pack {
    /// `<data>/packs/<split>.safetensors`.
    pub fn path_of(data: &Path, split: &str) -> PathBuf {
        data.join("packs").join(format!("{split}.safetensors"))
    }

    /// Maps the pack of a split. Errors: missing (says to run `vggkit prepare`), not a pack, tensors that do not fit
    /// each other, labels outside the classes.
    pub fn open(data: &Path, split: &str) -> Result<Self> {
        let path = Self::path_of(data, split);
        Err(Error::data(path, "packs are not read yet"))
    }
}
