//! What an engine knows of others that train the same network on parts of the same batches: whom it adds its gradients to.
//!
//! It says nothing of how they are reached. What is added, and in which order, follows from a batch and its micro-batches
//! ([`tree`]), so that one rank alone ([`Alone`]) has the bits of any number of ranks.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::pages;
use super::tree::{self, Stack};
use crate::error::{Error, Kind, Result};

/// Bytes of a part of the gradients from which on it travels: 25 MB, as torch's DistributedDataParallel has it.
pub const BUCKET_BYTES: usize = 25 << 20;

/// Others that train the same network on parts of the same batches. All of them make the same calls in the same order.
pub trait Peers: Send + Sync + Debug {
    /// Which of them this one is, from 0.
    fn rank(&self) -> usize;

    /// How many there are, this one included.
    fn ranks(&self) -> usize;

    /// Samples of a micro-batch: the leaves of the tree in which gradients are added. At least 1.
    fn micro_batch(&self) -> usize;

    /// The samples of a batch of `samples` that this rank computes: contiguous, whole micro-batches but for the end of the
    /// batch; may be empty.
    fn share(&self, samples: usize) -> Range<usize> {
        tree::samples_of(self.leaves(samples), samples, self.micro_batch())
    }

    /// The micro-batches of a batch of `samples` that this rank computes.
    fn leaves(&self, samples: usize) -> Range<usize> {
        tree::share(tree::leaves(samples, self.micro_batch()), self.ranks(), self.rank())
    }

    /// Begins to sum `bucket`, a part of the gradients, over all micro-batches of a batch of `samples`. `nodes`: the sums of
    /// this rank's largest nodes in order, as [`Stack::into_nodes`] has them (none where it has no sample), each `len` long.
    /// Returns at once. Errors: other nodes than these; others are gone.
    fn begin(&self, bucket: usize, samples: usize, len: usize, nodes: Vec<Vec<f32>>) -> Result<()>;

    /// Waits for the bucket begun earliest that was not taken yet: its number and the sum. Errors: none was begun; others are
    /// gone.
    fn finish(&self) -> Result<(usize, Vec<f32>)>;

    /// A buffer of `len` values, whatever they are, for a node: one that [`Peers::begin`] or [`Peers::give_back`] was given
    /// and that is not needed any more, where there is one. So a step allocates nothing once a few have been made.
    fn buffer(&self, len: usize) -> Vec<f32>;

    /// Takes back a buffer, such as that of a sum that was used.
    fn give_back(&self, buffer: Vec<f32>);

    /// Everyone's words in order of rank, waiting for all: statistics, metrics, flags. Lengths may differ. Errors: others are
    /// gone.
    fn all(&self, mine: &[f64]) -> Result<Vec<Vec<f64>>>;

    /// The largest of everyone's numbers, waiting for all: what all of them do where one is asked to, such as to stop.
    /// Errors: others are gone.
    fn largest(&self, mine: f64) -> Result<f64> {
        Ok(self.all(&[mine])?.into_iter().flatten().fold(mine, f64::max))
    }
}

/// With whom a network is trained, and how.
#[derive(Clone, Debug)]
pub struct Together {
    /// Those that compute the rest of each batch.
    pub peers: Arc<dyn Peers>,
    /// Whether batch normalisation takes its statistics over the whole batch, or over each micro-batch.
    pub sync_batch_norm: bool,
}

impl Together {
    /// With nobody else, in micro-batches of `micro_batch` samples.
    pub fn alone(micro_batch: usize, sync_batch_norm: bool) -> Self {
        Self { peers: Arc::new(Alone::new(micro_batch)), sync_batch_norm }
    }
}

/// Nobody else: micro-batches of one process, added as those of many would be.
#[derive(Debug)]
pub struct Alone {
    micro_batch: usize,
    sums: Mutex<Sums>,
}

/// What was begun, and buffers for later.
#[derive(Debug, Default)]
struct Sums {
    done: VecDeque<(usize, Vec<f32>)>,
    spare: Vec<Vec<f32>>,
}

impl Alone {
    /// One rank whose micro-batches have `micro_batch` samples.
    pub fn new(micro_batch: usize) -> Self {
        Self { micro_batch: micro_batch.max(1), sums: Mutex::default() }
    }
}

impl Peers for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn ranks(&self) -> usize {
        1
    }

    fn micro_batch(&self) -> usize {
        self.micro_batch
    }

    fn begin(&self, bucket: usize, samples: usize, len: usize, nodes: Vec<Vec<f32>>) -> Result<()> {
        let expected = tree::nodes(self.leaves(samples));
        check(bucket, &expected, len, &nodes)?;
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stack = Stack::default();
        let mut add = |mut left: Vec<f32>, right: Vec<f32>| {
            tree::add(&mut left, &right);
            sums.spare.push(right);
            left
        };
        expected.into_iter().zip(nodes).for_each(|(node, sum)| stack.push(node, sum, &mut add));
        let total = stack.into_total(add).unwrap_or_else(|| vec![0.0; len]);
        sums.done.push_back((bucket, total));
        Ok(())
    }

    fn finish(&self) -> Result<(usize, Vec<f32>)> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner).done.pop_front().ok_or_else(none_begun)
    }

    fn buffer(&self, len: usize) -> Vec<f32> {
        take_spare(&mut self.sums.lock().unwrap_or_else(PoisonError::into_inner).spare, len)
    }

    fn give_back(&self, buffer: Vec<f32>) {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner).spare.push(buffer);
    }

    fn all(&self, mine: &[f64]) -> Result<Vec<Vec<f64>>> {
        Ok(vec![mine.to_vec()])
    }
}

/// Errors: `nodes` are not the sums of `expected`, each `len` long.
pub fn check(bucket: usize, expected: &[Range<usize>], len: usize, nodes: &[Vec<f32>]) -> Result<()> {
    if nodes.len() == expected.len() && nodes.iter().all(|node| node.len() == len) {
        return Ok(());
    }
    let lengths: Vec<usize> = nodes.iter().map(Vec::len).collect();
    let what = format!(
        "bucket {bucket} of the gradients came as sums of {lengths:?} values: {} of {len} each were to come",
        expected.len()
    );
    Err(Error::new(Kind::Engine, what))
}

/// What [`Peers::finish`] says where nothing was begun.
pub fn none_begun() -> Error {
    Error::new(Kind::Engine, "no sum of gradients was begun that could be waited for")
}

/// A buffer of `len` values out of `spare`, the smallest that has room, or a new one.
pub fn take_spare(spare: &mut Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    let fits = spare.iter().enumerate().filter(|(_, buffer)| buffer.capacity() >= len);
    let best = fits.min_by_key(|(_, buffer)| buffer.capacity()).map(|(at, _)| at);
    let mut buffer = best.map_or_else(|| pages::vector(len), |at| spare.swap_remove(at));
    buffer.resize(len, 0.0);
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_adds_as_the_tree_says_and_gives_buffers_back() {
        let alone = Alone::new(4);
        assert_eq!((alone.share(11), alone.leaves(11)), (0..11, 0..3));
        alone.begin(7, 11, 2, vec![vec![1.0, 2.0], vec![10.0, 20.0]]).expect("two nodes");
        assert_eq!(alone.finish().expect("begun"), (7, vec![11.0, 22.0]));
        assert!(alone.finish().is_err(), "nothing was begun");
        assert_eq!(alone.buffer(2).as_slice(), [10.0, 20.0], "the right node's buffer is free again");
        let error = alone.begin(3, 11, 2, vec![vec![0.0; 2]]).expect_err("one node is missing");
        assert!(error.to_string().contains("bucket 3"), "{error}");
        assert_eq!(alone.all(&[1.0]).expect("nobody to wait for"), [[1.0]]);
    }
}
