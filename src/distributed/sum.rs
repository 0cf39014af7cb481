//! The sum of a part of the gradients over all ranks, in the order of [`tree`] and in no other.
//!
//! Reduce-scatter, then all-gather: each rank owns a segment, is sent everyone's nodes of it, adds them in the order of the tree, and
//! sends the sum to all. So a rank sends and receives (N - 1) / N of a bucket twice for any number N of ranks, where each has one
//! node. A ring or a tree of ranks would send no less, and would add in an order that follows from N. No allreduce of a
//! library is used, since those choose their order by length and by number of ranks.

use std::ops::Range;

use super::link::{Channel, Incoming, Link, Outgoing};
use crate::engine::pages;
use crate::engine::tree::{self, Stack};
use crate::error::Result;

/// Values up to which a node goes to everyone as a whole: one message instead of two in turn.
const SMALL: usize = 1024;

/// Values of every node that are added at a time: sums of sums stay in a core's own cache, and memory sees each node once.
const ADDED_AT_ONCE: usize = 4096;

/// Sums over a link, with the buffers that it receives into.
#[derive(Debug)]
pub struct Summation<'a> {
    link: &'a dyn Link,
    received: Vec<f32>,
    /// Room for sums of sums.
    spare: Vec<Vec<f32>>,
    /// Bytes sent so far.
    pub sent: u64,
}

impl<'a> Summation<'a> {
    /// One over `link`.
    pub fn new(link: &'a dyn Link) -> Self {
        Self { link, received: Vec::new(), spare: Vec::new(), sent: 0 }
    }

    /// Adds the nodes of all ranks, of a batch of `leaves`, into `sum`. `nodes` are this rank's, as long as `sum`.
    /// Errors: another rank is gone.
    pub fn sum(&mut self, leaves: usize, nodes: &[Vec<f32>], sum: &mut [f32]) -> Result<()> {
        let len = sum.len();
        let segments = Segments { len, ranks: self.link.ranks() };
        if len <= SMALL {
            self.add_segment(leaves, nodes, sum, 0..len, |_| 0..len)
        } else {
            let mine = segments.of(self.link.rank());
            self.add_segment(leaves, nodes, &mut sum[mine.clone()], mine, |rank| segments.of(rank))?;
            self.gather(&segments, sum)
        }
    }

    /// Sends to each rank its segment of all `nodes`, and adds everyone's nodes of the own segment `mine` into `sum`.
    fn add_segment(
        &mut self,
        leaves: usize,
        nodes: &[Vec<f32>],
        sum: &mut [f32],
        mine: Range<usize>,
        segment: impl Fn(usize) -> Range<usize>,
    ) -> Result<()> {
        let (me, ranks) = (self.link.rank(), self.link.ranks());
        let trees: Vec<_> = (0..ranks).map(|rank| tree::nodes(tree::share(leaves, ranks, rank))).collect();
        let others = trees.iter().map(Vec::len).sum::<usize>() - trees[me].len();
        let room = others * mine.len();
        if self.received.len() < room {
            self.received = pages::vector(room);
            self.received.resize(room, 0.0);
        }
        let places = self.received[..room].chunks_exact_mut(mine.len().max(1));

        let senders = trees.iter().enumerate().filter(|(rank, _)| *rank != me);
        let senders = senders.flat_map(|(rank, nodes)| nodes.iter().map(move |_| rank));
        let mut incoming: Vec<_> =
            senders.zip(places).map(|(from, place)| Incoming::new(from, bytemuck::cast_slice_mut(place))).collect();
        let to = (0..ranks).filter(|rank| *rank != me).map(|rank| (rank, segment(rank)));
        let outgoing: Vec<_> = to
            .filter(|(_, segment)| !segment.is_empty())
            .flat_map(|(to, segment)| nodes.iter().map(move |node| (to, &node[segment.clone()])))
            .map(|(to, values)| Outgoing { to, bytes: bytemuck::cast_slice(values) })
            .collect();
        self.sent += outgoing.iter().map(|message| message.bytes.len() as u64).sum::<u64>();
        self.link.exchange(Channel::Sums, &outgoing, &mut incoming)?;

        let Self { received, spare, .. } = self;
        for (part, sum) in sum.chunks_mut(ADDED_AT_ONCE).enumerate() {
            let part = part * ADDED_AT_ONCE..part * ADDED_AT_ONCE + sum.len();
            let mut received = received[..room].chunks_exact(mine.len().max(1));
            let mut own = nodes.iter().map(|node| &node[mine.clone()]);
            let mut stack = Stack::default();
            let mut add = |left, right| add(left, right, spare);
            for (rank, nodes) in trees.iter().enumerate() {
                for node in nodes {
                    if let Some(values) = if rank == me { own.next() } else { received.next() } {
                        stack.push(node.clone(), Term::Node(&values[part.clone()]), &mut add);
                    }
                }
            }
            match stack.into_total(&mut add) {
                Some(Term::Node(total)) => sum.copy_from_slice(total),
                Some(Term::Sum(total)) => {
                    sum.copy_from_slice(&total);
                    spare.push(total);
                }
                None => sum.fill(0.0),
            }
        }
        Ok(())
    }

    /// Sends the own segment of `sum` to all others, and receives theirs into it.
    fn gather(&mut self, segments: &Segments, sum: &mut [f32]) -> Result<()> {
        let me = self.link.rank();
        let mut incoming = Vec::new();
        let (mut mine, mut rest) = (&[][..], sum);
        for rank in 0..segments.ranks {
            let (segment, after) = rest.split_at_mut(segments.of(rank).len());
            rest = after;
            if rank == me {
                mine = bytemuck::cast_slice(segment);
            } else if !segment.is_empty() {
                incoming.push(Incoming::new(rank, bytemuck::cast_slice_mut(segment)));
            }
        }
        let others = (0..segments.ranks).filter(|rank| *rank != me && !mine.is_empty());
        let outgoing: Vec<_> = others.map(|to| Outgoing { to, bytes: mine }).collect();
        self.sent += (outgoing.len() * mine.len()) as u64;
        self.link.exchange(Channel::Sums, &outgoing, &mut incoming)
    }
}

/// How a bucket is cut.
struct Segments {
    len: usize,
    ranks: usize,
}

impl Segments {
    /// The values that `rank` adds up.
    fn of(&self, rank: usize) -> Range<usize> {
        tree::share(self.len, self.ranks, rank)
    }
}

/// What is added: values of a node, which stay as they are, or a sum of some.
enum Term<'a> {
    Node(&'a [f32]),
    Sum(Vec<f32>),
}

/// The sum of two halves.
fn add<'a>(left: Term<'a>, right: Term<'a>, spare: &mut Vec<Vec<f32>>) -> Term<'a> {
    let mut sum = match left {
        Term::Sum(sum) => sum,
        Term::Node(values) => {
            let mut sum = spare.pop().unwrap_or_default();
            sum.clear();
            sum.extend_from_slice(values);
            sum
        }
    };
    match right {
        Term::Node(values) => tree::add(&mut sum, values),
        Term::Sum(values) => {
            tree::add(&mut sum, &values);
            spare.push(values);
        }
    }
    Term::Sum(sum)
}
