//! Where the weights of a run came from, as `run.toml` has it: for `vggkit describe` and the page.

use serde::Serialize;

use super::run::{Origin, Run};
use crate::error::Result;

/// Of which file and which layers the first weights were, and which of them stayed. Layers by torchvision's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lineage {
    /// The file, as it was given; `None` where all was drawn from the seed.
    pub file: Option<String>,
    /// Its SHA-256 when the training began; empty where there was none, and in runs of versions before it.
    pub sha256: String,
    /// Layers that it gave, with their names in it where these are others.
    pub taken: Vec<String>,
    /// Layers drawn from the seed; those that a file could have given with the reason.
    pub drawn: Vec<String>,
    /// Layers of the file that the network does not have.
    pub unused: Vec<String>,
    /// Layers that kept their first weights.
    pub frozen: Vec<String>,
}

impl Lineage {
    /// That of `run`. Errors: a network that cannot be laid out.
    pub fn of(run: &Run) -> Result<Self> {
        let plan = run.training.plan(&run.network)?;
        let with_weights = |from: usize, to: usize| {
            let layers = plan.layers[from..to].iter().filter(|layer| !layer.tensors().is_empty());
            layers.map(|layer| layer.name.clone()).collect::<Vec<_>>()
        };
        let (all, frozen) = (with_weights(0, plan.layers.len()), with_weights(0, plan.frozen));
        let Origin { init_sha256, init_taken, init_drawn, init_unused, .. } = run.origin.clone();
        let (taken, drawn) = match (&run.training.init, run.training.init_partial) {
            (None, _) => (Vec::new(), all),
            (Some(_), false) => (all, Vec::new()),
            (Some(_), true) => (init_taken, init_drawn),
        };
        let file = run.training.init.clone();
        Ok(Self { file, sha256: init_sha256, taken, drawn, unused: init_unused, frozen })
    }

    /// What there is to say beside the file's name, by title; nothing where there is no file.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        if self.file.is_none() {
            return Vec::new();
        }
        let sha256 = if self.sha256.is_empty() { Vec::new() } else { vec![self.sha256.clone()] };
        let lists = [
            ("SHA-256 of the file", &sha256),
            ("Layers taken", &self.taken),
            ("Layers drawn", &self.drawn),
            ("Layers of the file not used", &self.unused),
            ("Layers frozen", &self.frozen),
        ];
        let lists = lists.into_iter().filter(|(_, layers)| !layers.is_empty());
        lists.map(|(title, layers)| (title, layers.join(", "))).collect()
    }
}
