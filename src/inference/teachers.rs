//! Asks the best networks of earlier runs about every train image, for a training that is taught by them.

use std::path::Path;

use super::evaluation::check_classes;
use super::model::Model;
use super::tta;
use crate::dataset::Pack;
use crate::engines::Target;
use crate::error::{Error, Kind, Result};
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
        let asked = digests.len() * count;
        let said = tta::probabilities(&mut model, None, &pack.images, |done| progress(asked + done))?;
        if said.iter().any(|share| !share.is_finite()) {
            return Err(Error::new(Kind::Diverged, format!("run {} says what is not finite", model.name))
                .with_help("choose another teacher"));
        }
        sums.iter_mut().zip(said).for_each(|(sum, share)| *sum += share);
        digests.push(model.digest);
    }
    Ok(Teaching::new(&sums, classes, digests))
}
