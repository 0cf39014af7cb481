//! The gradients of all that is trained: one long vector, as the parameters are, in buckets that travel to peers. An engine without
//! peers has one.

use std::mem::take;
use std::ops::{Deref, DerefMut, Range};

use super::plumbing::buffer::Buffer;
use super::samples::Samples;
use crate::engine::buckets::Bucket;
use crate::engine::pages;
use crate::engine::peers::{Peers, take_spare};
use crate::engine::tree::{self, Stack};
use crate::error::Result;

/// The values of a bucket. What never leaves lies in pages of the engine's own choice.
enum Values {
    Own(Buffer),
    Travelling(Vec<f32>),
}

impl Deref for Values {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match self {
            Self::Own(values) => values,
            Self::Travelling(values) => values,
        }
    }
}

impl DerefMut for Values {
    fn deref_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Own(values) => values,
            Self::Travelling(values) => values,
        }
    }
}

/// See the module.
pub struct Gradients {
    parts: Vec<(Bucket, Values)>,
    /// Further sums of each bucket, where what is computed here is no single node of the tree.
    further: Vec<Vec<Vec<f32>>>,
    /// Of one step's parameters, micro-batch after micro-batch.
    stack: Stack<Vec<f32>>,
    spare: Vec<Vec<f32>>,
}

impl Gradients {
    /// Zeros, which may travel. Errors: no memory.
    pub fn new(buckets: Vec<Bucket>, travel: bool) -> Result<Self> {
        let further = vec![Vec::new(); buckets.len()];
        let values = |len| match travel {
            true => {
                let mut values = pages::vector(len);
                values.resize(len, 0.0);
                Ok(Values::Travelling(values))
            }
            false => Buffer::new(len).map(Values::Own),
        };
        let parts = buckets.into_iter().map(|bucket| values(bucket.range.len()).map(|values| (bucket, values)));
        Ok(Self { parts: parts.collect::<Result<_>>()?, further, stack: Stack::default(), spare: Vec::new() })
    }

    /// Each bucket with its values, in the order in which they are completed.
    pub fn parts(&self) -> impl Iterator<Item = (&Bucket, &[f32])> {
        self.parts.iter().map(|(bucket, values)| (bucket, &**values))
    }

    /// A bucket with its values.
    pub fn part(&self, bucket: usize) -> (&Bucket, &[f32]) {
        let (bucket, values) = &self.parts[bucket];
        (bucket, values)
    }

    /// The buckets that `step` completes.
    pub fn completed_by(&self, step: usize) -> Vec<usize> {
        (0..self.parts.len()).filter(|at| self.parts[*at].0.step == step).collect()
    }

    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// A bucket.
    pub fn bucket(&self, bucket: usize) -> &Bucket {
        &self.parts[bucket].0
    }

    /// Notes that the gradients `ranges` of micro-batch `number`, of those that are computed here, are there. With the last one
    /// they are the sums of the tree's nodes, for which `peers` have buffers.
    pub fn took(&mut self, samples: &Samples, number: usize, ranges: &[Range<usize>], peers: Option<&dyn Peers>) {
        let Some(peers) = peers.filter(|_| samples.parts() > 1) else { return }; // one is a node by itself
        let mut own = take_spare(&mut self.spare, ranges.iter().map(Range::len).sum());
        let mut rest = own.as_mut_slice();
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            let (to, later) = rest.split_at_mut(range.len());
            to.copy_from_slice(self.of(range));
            rest = later;
        }
        let leaf = samples.first_part() + number;
        let spare = &mut self.spare;
        self.stack.push(leaf..leaf + 1, own, |mut left, right| {
            tree::add(&mut left, &right);
            spare.push(right);
            left
        });
        if number + 1 < samples.parts() {
            return;
        }
        for (node, sum) in take(&mut self.stack).into_nodes().into_iter().enumerate() {
            let mut rest = sum.as_slice();
            for range in ranges.iter().filter(|range| !range.is_empty()) {
                let (from, later) = rest.split_at(range.len());
                match node {
                    0 => self.of(range).copy_from_slice(from),
                    _ => self.further(node - 1, range, peers).copy_from_slice(from),
                }
                rest = later;
            }
            self.spare.push(sum);
        }
    }

    /// Values of `range` of a further node.
    fn further(&mut self, node: usize, range: &Range<usize>, peers: &dyn Peers) -> &mut [f32] {
        let at = self.at(range);
        let (start, len) = (self.parts[at].0.range.start, self.parts[at].0.range.len());
        let nodes = &mut self.further[at];
        while nodes.len() <= node {
            let mut sums = peers.buffer(len);
            sums.fill(0.0); // of biases ahead of batch normalisation there is never any other
            nodes.push(sums);
        }
        &mut nodes[node][range.start - start..range.end - start]
    }

    /// Takes the sums of a bucket away: of each node of the `parts` micro-batches that are computed here.
    pub fn take(&mut self, bucket: usize, parts: usize) -> Vec<Vec<f32>> {
        let mut nodes = Vec::with_capacity(1);
        if let (Values::Travelling(values), true) = (&mut self.parts[bucket].1, parts > 0) {
            nodes.push(take(values));
            nodes.append(&mut self.further[bucket]);
        }
        nodes
    }

    /// Brings the sum over all micro-batches; gives the buffer whose place it takes, where that did not travel.
    pub fn put(&mut self, bucket: usize, sum: Vec<f32>) -> Option<Vec<f32>> {
        match std::mem::replace(&mut self.parts[bucket].1, Values::Travelling(sum)) {
            Values::Travelling(before) if before.capacity() > 0 => Some(before),
            _ => None,
        }
    }

    /// Values of `range`, which lies in one bucket.
    pub fn of(&mut self, range: &Range<usize>) -> &mut [f32] {
        let at = self.at(range);
        let (bucket, values) = &mut self.parts[at];
        &mut values[range.start - bucket.range.start..range.end - bucket.range.start]
    }

    /// Values of two ranges that do not overlap, each in one bucket.
    pub fn pair(&mut self, first: &Range<usize>, second: &Range<usize>) -> [&mut [f32]; 2] {
        let (at, other) = (self.at(first), self.at(second));
        let within = |range: &Range<usize>, start: usize| range.start - start..range.end - start;
        if at == other {
            let (bucket, values) = &mut self.parts[at];
            let start = bucket.range.start;
            return match values.get_disjoint_mut([within(first, start), within(second, start)]) {
                Ok(both) => both,
                Err(_) => unreachable!("a layout gives every tensor a range of its own"),
            };
        }
        match self.parts.get_disjoint_mut([at, other]) {
            Ok([(one, ones), (two, twos)]) => {
                let (one, two) = (within(first, one.range.start), within(second, two.range.start));
                [&mut ones[one], &mut twos[two]]
            }
            Err(_) => unreachable!("buckets have been told apart"),
        }
    }

    fn at(&self, range: &Range<usize>) -> usize {
        let holds = |bucket: &Bucket| bucket.range.start <= range.start && range.end <= bucket.range.end;
        let found = self.parts.iter().position(|(bucket, _)| holds(bucket));
        match found {
            Some(at) => at,
            None => unreachable!("buckets hold whole tensors"),
        }
    }

    /// All of them as one vector.
    pub fn whole(&self) -> Vec<f32> {
        let mut whole = vec![0.0; self.parts.iter().map(|(bucket, _)| bucket.range.end).max().unwrap_or_default()];
        for (bucket, values) in self.parts() {
            whole[bucket.range.clone()].copy_from_slice(values);
        }
        whole
    }
}
