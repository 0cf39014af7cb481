//! How training grows with ranks: images per second, what communication costs, and what the link carries, for several numbers of them.
//!
//! All ranks do the same number of steps, which the slowest one sets.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::comparison;
use super::link::{self, MeasuredLink};
use super::median::median;
use super::rounds::Rounds;
use crate::distributed::exchange::Traffic;
use crate::engine::peers::Peers;
use crate::engine::{Device, Precision};
use crate::error::{Error, Result};
use crate::vgg::Network;

/// The value of `schema`.
pub const SCHEMA: &str = "vggkit/bench-ranks/1";

/// What `vggkit bench --ranks --json` prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RanksBenchmark {
    /// [`SCHEMA`].
    pub schema: String,
    /// Of vggkit.
    pub version: String,
    /// Of vggkit; may be empty.
    pub commit: String,
    /// RFC 3339 in UTC.
    pub time: String,
    /// What was trained.
    pub network: Network,
    /// Of products.
    pub precision: Precision,
    /// Images of a step, for each rank.
    pub batch_size: usize,
    /// Samples of a micro-batch; 0 for all of a rank's.
    pub micro_batch: usize,
    /// Why this is not all that was asked for.
    pub partial: Option<String>,
    /// In the order in which they were asked for.
    pub ranks: Vec<RanksMeasured>,
}

/// One number of ranks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RanksMeasured {
    /// How many.
    pub ranks: usize,
    /// Rank 0's; `threads` are each rank's.
    pub device: Device,
    /// Of all ranks together: the median of `rounds`.
    pub images_per_s: f64,
    /// Images per second of each round.
    pub rounds: Vec<f64>,
    /// `images_per_s` beside the first number of ranks.
    pub ratio: f64,
    /// Seconds of a step.
    pub step_seconds: f64,
    /// Seconds of a step in which gradients or statistics were under way, those computed behind included; the mean of all ranks.
    pub communication_seconds: f64,
    /// Those of them in which a rank waited.
    pub waited_seconds: f64,
    /// The share of communication behind which gradients were computed.
    pub overlap: f64,
    /// The most bytes that a rank sent in a step.
    pub bytes_per_step: f64,
    /// What joins them, while nothing is computed; None for one.
    #[serde(default)]
    pub link: Option<MeasuredLink>,
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Seconds of a round.
    pub seconds: u64,
    /// How many.
    pub rounds: usize,
}

/// Rounds of a warm engine that trains with `peers`, each of which does the same. `traffic` is what communication has cost this rank
/// so far. All ranks come to the same. Errors: the engine's; another rank is gone.
pub fn measure(
    warm: &mut Rounds<'_>,
    device: Device,
    peers: &dyn Peers,
    traffic: &dyn Fn() -> Traffic,
    effort: Effort,
) -> Result<RanksMeasured> {
    let first = warm.steps(2)?;
    let slowest = peers.largest(warm.batch_size() as f64 / first)?;
    let steps = (effort.seconds as f64 / slowest).ceil().max(2.0) as usize;
    let before = traffic();
    let rounds = (0..effort.rounds).map(|_| warm.steps(steps)).collect::<Result<Vec<f64>>>()?;
    let after = traffic();
    // A step ends for all when it does for the slowest, so that each rank's rounds are those of all.
    let rounds = peers.all(&rounds)?.swap_remove(0);
    let per_step = 1.0 / (effort.rounds.max(1) * steps) as f64;
    let mine = [after.bytes as f64, after.communication, after.waited];
    let past = [before.bytes as f64, before.communication, before.waited];
    let mine: Vec<f64> = mine.iter().zip(past).map(|(after, before)| (after - before) * per_step).collect();
    let all = peers.all(&mine)?;
    let mean = |at: usize| all.iter().map(|rank| rank[at]).sum::<f64>() / all.len() as f64;
    let (communication, waited) = (mean(1), mean(2));
    let images_per_s = median(&rounds);
    Ok(RanksMeasured {
        ranks: peers.ranks(),
        device,
        images_per_s,
        rounds,
        ratio: 1.0,
        step_seconds: warm.batch_size() as f64 / images_per_s,
        communication_seconds: communication,
        waited_seconds: waited,
        overlap: Traffic { bytes: 0, communication, waited }.overlap(),
        bytes_per_step: all.iter().map(|rank| rank[0]).fold(0.0, f64::max),
        link: link::measure(peers, effort.seconds)?,
    })
}

impl RanksBenchmark {
    /// The result in `path`. Errors: no such file, no result.
    pub fn read(path: &Path) -> Result<Self> {
        comparison::read_as(path, SCHEMA, "`vggkit bench --ranks 4 --json > FILE` writes a result")
    }

    /// The most ranks whose link was measured, with that link; `path` is where this stands. Errors: there are none.
    pub fn linked(&self, path: &Path) -> Result<(&RanksMeasured, &MeasuredLink)> {
        let linked = self.ranks.iter().filter_map(|ranks| Some((ranks, ranks.link.as_ref()?)));
        linked.max_by_key(|(ranks, _)| ranks.ranks).ok_or_else(|| {
            let what = "has no link between ranks: it is of one rank, or of a version that did not measure it";
            Error::data(path, what).with_help("`vggkit bench --ranks 4 --json > FILE` measures one")
        })
    }

    /// Takes in what was measured, beside the first.
    pub fn push(&mut self, scaled: RanksMeasured) {
        let first = self.ranks.first().map_or(scaled.images_per_s, |first| first.images_per_s);
        self.ranks.push(RanksMeasured { ratio: scaled.images_per_s / first, ..scaled });
    }
}
