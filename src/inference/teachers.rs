//! Asks the best networks of earlier runs about each image that is trained on, for a training that is taught by them.

use std::path::Path;

use super::evaluation::check_classes;
use super::model::Model;
use crate::dataset::Pack;
use crate::engine::{Pick, Source};
use crate::engines::Target;
use crate::error::{Error, Kind, Result};
use crate::training::metrics;
use crate::training::teaching::Teaching;

/// The mean of the softmax of the networks in `folders`, for each of the `images` of `pack` (ascending indices), shown as it is.
/// `progress` is told how many images are done of all teachers together. Errors: runs without a best network, of other classes,
/// or whose logits are not finite.
pub fn ask(
    folders: &[impl AsRef<Path>],
    (pack, images): (&Pack, Vec<u32>),
    target: &Target,
    threads: usize,
    mut progress: impl FnMut(usize),
) -> Result<Teaching> {
    let classes = pack.wnids.len();
    let picks: Vec<Pick> = images.iter().copied().map(Pick::of).collect();
    let mut sums = vec![0.0; images.len() * classes];
    let mut digests = Vec::new();
    for folder in folders {
        let mut model = Model::open(folder.as_ref(), target, threads)?;
        check_classes(&model, pack)?;
        let asked = digests.len() * images.len();
        let batch_size = model.batch_size();
        let add = |at: usize, logits: &[f32]| {
            let row = &mut sums[at * classes..][..classes];
            row.iter_mut().zip(metrics::softmax(logits)).for_each(|(sum, share)| *sum += share);
        };
        model.engine.attach(Source::Validation, pack.images.clone())?;
        let engine = model.engine.as_mut();
        metrics::logits_of(engine, (Source::Validation, &picks), batch_size, add, |done| progress(asked + done))?;
        if sums.iter().any(|sum| !sum.is_finite()) {
            return Err(Error::new(Kind::Diverged, format!("run {} says what is not finite", model.name))
                .with_help("choose another teacher"));
        }
        digests.push(model.digest);
    }
    Ok(Teaching::new(&sums, images, digests))
}
