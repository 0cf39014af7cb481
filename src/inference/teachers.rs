//! Asks the best networks of earlier runs about every train image, for a training that is taught by them.

use std::path::Path;

use super::evaluation::check_classes;
use super::model::Model;
use crate::dataset::Pack;
use crate::engine::{Source, Target};
use crate::error::{Error, Kind, Result};
use crate::training::metrics;
use crate::training::teaching::Teaching;

/// The mean of the softmax of the networks in `folders`, for each image of `pack`, shown as it is. `progress` is told how many
/// images are done of all teachers together. Errors: runs without a best network, of other classes, or whose logits are not
/// finite.
pub fn ask(
    folders: &[impl AsRef<Path>],
    pack: &Pack,
    target: &Target,
    threads: usize,
    mut progress: impl FnMut(usize),
) -> Result<Teaching> {
    let (count, classes) = (pack.images.count, pack.wnids.len());
    let mut sums = vec![0.0; count * classes];
    let mut digests = Vec::new();
    for folder in folders {
        let mut model = Model::open(folder.as_ref(), target, threads)?;
        check_classes(&model, pack)?;
        model.engine.attach(Source::Held, pack.images.clone())?;
        let batch_size = model.batch_size();
        let asked = digests.len() * count;
        let mut finite = true;
        let add = |image: usize, logits: &[f32]| {
            finite &= logits.iter().all(|v| v.is_finite());
            let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f32 = logits.iter().map(|v| (v - highest).exp()).sum();
            for (sum, v) in sums[image * classes..].iter_mut().zip(logits) {
                *sum += (v - highest).exp() / total;
            }
        };
        metrics::for_each_logits(model.engine.as_mut(), count, batch_size, add, |done| progress(asked + done))?;
        if !finite {
            return Err(Error::new(Kind::Diverged, format!("run {} says what is not finite", model.name))
                .with_help("choose another teacher"));
        }
        digests.push(model.digest);
    }
    Ok(Teaching::new(&sums, classes, digests))
}
