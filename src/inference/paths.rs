//! Where evaluations lie in the folder of a run.

use std::path::{Path, PathBuf};

use super::tta::Tta;

/// `<run>/evaluation.json` for val, `<run>/evaluation-<split>.json` for any other split; with averaged views
/// `<run>/evaluation-<split>-<views>.json` for each.
pub fn evaluation(run: &Path, split: &str, tta: Option<Tta>) -> PathBuf {
    run.join(match tta {
        None if split == "val" => "evaluation.json".to_owned(),
        None => format!("evaluation-{split}.json"),
        Some(tta) => format!("evaluation-{split}-{tta}.json"),
    })
}
