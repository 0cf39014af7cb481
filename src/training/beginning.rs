//! Where a training begins that several ranks do together: rank 0, which alone has the run's folder, tells the others.
//!
//! A state goes tensor by tensor, as it is in memory: all ranks begin with the same bits, and need no folder of runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::checkpoint::{Classes, Progress};
use super::run::Run;
use crate::distributed::ranks::Ranks;
use crate::engine::{LossScaling, State};
use crate::error::{Error, Kind, Result};

/// Where a training stands before its next step.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// The folder that rank 0 has, for messages.
    pub folder: PathBuf,
    /// Its settings.
    pub run: Run,
    /// Where it stands.
    pub progress: Progress,
    /// What the outputs mean.
    pub classes: Classes,
    /// The network.
    pub state: State,
}

/// All of it but the numbers.
#[derive(Serialize, Deserialize)]
struct Words {
    folder: PathBuf,
    run: Run,
    progress: Progress,
    classes: Classes,
    variants: BTreeMap<String, String>,
    loss_scaling: Option<LossScaling>,
    /// Tensors, averaged ones, and of each moment.
    sets: Vec<usize>,
}

/// Tells the others that there is no training any more.
pub fn tell_end(ranks: &Ranks) -> Result<()> {
    ranks.of_first(&[]).map(drop)
}

/// Tells the others where the training of `run` in `folder` begins, of which `state` is the network's.
pub fn tell(
    ranks: &Ranks,
    (folder, run): (&Path, &Run),
    progress: &Progress,
    classes: &Classes,
    state: &State,
) -> Result<()> {
    let sets = [&state.tensors, &state.averages].into_iter().chain(&state.moments).collect::<Vec<_>>();
    let words = Words {
        folder: folder.to_owned(),
        run: run.clone(),
        progress: progress.clone(),
        classes: classes.clone(),
        variants: state.variants.clone(),
        loss_scaling: state.loss_scaling,
        sets: sets.iter().map(|set| set.len()).collect(),
    };
    let text = serde_json::to_vec(&words);
    ranks.of_first(&text.map_err(|e| Error::new(Kind::Engine, "cannot tell the other ranks").with_source(e))?)?;
    sets.into_iter().flatten().try_for_each(|tensor| ranks.of_first(bytemuck::cast_slice(tensor)).map(drop))
}

/// Hears of rank 0 where the training begins; nothing where there is none any more.
pub fn hear(ranks: &Ranks) -> Result<Option<Beginning>> {
    let text = ranks.of_first(&[])?;
    if text.is_empty() {
        return Ok(None);
    }
    let broken = |e| Error::new(Kind::PeerLost, "rank 0 says what cannot be read").with_source(e);
    let Words { folder, run, progress, classes, variants, loss_scaling, sets } =
        serde_json::from_slice(&text).map_err(broken)?;
    let mut heard = sets.into_iter().map(|tensors| {
        (0..tensors)
            .map(|_| ranks.of_first(&[]).map(|bytes| bytemuck::pod_collect_to_vec::<u8, f32>(&bytes)))
            .collect::<Result<Vec<_>>>()
    });
    let mut next = || heard.next().unwrap_or_else(|| Ok(Vec::new()));
    let mut state = State::new(next()?);
    state.averages = next()?;
    state.moments = heard.collect::<Result<_>>()?;
    (state.step, state.variants, state.loss_scaling) = (progress.step, variants, loss_scaling);
    Ok(Some(Beginning { folder, run, progress, classes, state }))
}
