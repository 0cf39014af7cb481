//! What the link between ranks carries in sums of gradients while nothing is computed: what [`model`](super::model) takes for its line.
//! A rate of the line itself says less: where all send to all at once, less of it arrives. Trains nothing.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::median::median;
use super::model::Line;
use crate::engine::peers::{BUCKET_BYTES, Peers};
use crate::error::Result;

/// Sums that are timed, at least; more while there is time.
const SUMS: usize = 3;

/// How many are enough, however fast.
const ENOUGH: usize = 30;

/// What joins so many ranks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasuredLink {
    /// Bytes that a rank sends in a second, and receives meanwhile, in the sum of a bucket.
    pub bytes_per_second: f64,
    /// Seconds of an exchange of next to nothing, in which every rank sends to every other.
    pub latency: f64,
    /// Seconds of each sum of a bucket, of which the median counts.
    pub sums: Vec<f64>,
}

impl MeasuredLink {
    /// What `ranks` take `sums` seconds over a bucket of `bytes`, and `latency` over an exchange of nothing.
    fn new(ranks: usize, bytes: f64, latency: f64, sums: Vec<f64>) -> Self {
        let seconds = median(&sums);
        // A sum is two exchanges. On a machine that hiccups one of nothing may take longer than half of it.
        let moving = (seconds - 2.0 * latency).max(0.1 * seconds);
        let sent = 2.0 * bytes * (ranks as f64 - 1.0) / ranks as f64;
        Self { bytes_per_second: sent / moving, latency, sums }
    }

    /// What the model takes it for, where each of the `ranks` that were measured took `message` seconds of sending for each other.
    pub fn line(&self, ranks: usize, message: f64) -> Line {
        let latency = (self.latency - message * (ranks as f64 - 1.0)).max(0.0);
        Line { bytes_per_second: self.bytes_per_second, latency, message }
    }
}

/// Sums buckets of nothing that matters for about `seconds`, at least three times; None where there is nobody else. All ranks come to
/// the same. Errors: another rank is gone.
pub fn measure(peers: &dyn Peers, seconds: u64) -> Result<Option<MeasuredLink>> {
    if peers.ranks() < 2 {
        return Ok(None);
    }
    let timed = |len: usize| -> Result<Vec<f64>> {
        sum(peers, len)?; // memory is new, and so may connections be
        let mut sums = Vec::new();
        while sums.len() < SUMS || sums.len() < ENOUGH && sums.iter().sum::<f64>() < seconds as f64 {
            sums.push(sum(peers, len)?);
        }
        Ok(sums)
    };
    let latency = median(&timed(1)?);
    let sums = timed(BUCKET_BYTES / size_of::<f32>())?;
    Ok(Some(MeasuredLink::new(peers.ranks(), BUCKET_BYTES as f64, latency, sums)))
}

/// Seconds that the slowest rank takes to sum `len` numbers, one micro-batch a rank, and that all have waited for.
fn sum(peers: &dyn Peers, len: usize) -> Result<f64> {
    let mut mine = peers.buffer(len);
    mine.fill(1.0); // what was there before may be slow to add
    let begun = Instant::now();
    peers.begin(0, peers.ranks() * peers.micro_batch(), len, vec![mine])?;
    let (_, sum) = peers.finish()?;
    let seconds = begun.elapsed().as_secs_f64();
    peers.give_back(sum);
    peers.largest(seconds)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::distributed::exchange::Exchange;
    use crate::distributed::threads::{self, Wire};
    use crate::engine::peers::Alone;

    /// What `ranks` threads measure over `wire`, each of them.
    fn measured(ranks: usize, wire: Wire) -> Vec<MeasuredLink> {
        let measuring = threads::links(ranks, wire).into_iter().map(|link| {
            thread::spawn(move || {
                let exchange = Exchange::new(Arc::new(link), 8).expect("a thread");
                measure(&exchange, 0).expect("all are there").expect("there are others")
            })
        });
        let measuring: Vec<_> = measuring.collect();
        measuring.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    }

    #[test]
    fn a_wire_is_measured_as_what_it_is() {
        let (latency, bytes_per_second) = (0.02, 200e6);
        let wire = Wire {
            latency: Duration::from_secs_f64(latency),
            bytes_per_second: Some(bytes_per_second),
            jitter: Duration::ZERO,
        };
        for ranks in [2, 4] {
            // A busy machine makes a wire slower and later than it is now and then, and nothing makes it better.
            let is_it = (0..5).any(|_| {
                let all = measured(ranks, wire);
                assert!(all.iter().all(|one| *one == all[0]), "all ranks tell the same: {all:?}");
                let MeasuredLink { bytes_per_second: rate, latency: late, ref sums } = all[0];
                assert!(rate <= 1.01 * bytes_per_second && late >= latency, "{ranks} ranks: {:?}", all[0]);
                assert_eq!(sums.len(), SUMS);
                // The model's sum of a bucket is then the one that was measured.
                let predicted = all[0].line(ranks, 1e-6).sum(BUCKET_BYTES as f64, ranks);
                assert!((predicted / median(sums) - 1.0).abs() < 1e-9, "{predicted}, {sums:?}");
                rate >= 0.6 * bytes_per_second && late < 2.0 * latency
            });
            assert!(is_it, "{ranks} ranks: five times slower or later than it is");
        }
    }

    #[test]
    fn one_rank_has_no_link_and_a_late_one_is_not_infinitely_fast() -> Result<()> {
        assert_eq!(measure(&Alone::new(4), 1)?, None);
        // An exchange of nothing that took longer than a whole bucket.
        let link = MeasuredLink::new(4, 26e6, 1.0, vec![0.5, 0.1, 0.2]);
        assert_eq!(link.bytes_per_second, 1.5 * 26e6 / (0.1 * 0.2));
        assert_eq!(link.line(4, 0.5), Line { bytes_per_second: link.bytes_per_second, latency: 0.0, message: 0.5 });
        Ok(())
    }
}
