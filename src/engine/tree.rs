//! The order in which the gradients of micro-batches are added: one binary tree over the micro-batches of a batch.
//!
//! Leaf i is micro-batch i. A node covers 2^l leaves from a multiple of 2^l on and is the sum of its two halves. A batch need not
//! have a power of two of leaves: it is then covered by nodes of decreasing size, which are added from the right, as 13 leaves are
//! 8 + (4 + 1). Leaves that a batch does not have are absent, so that nothing is added for them.
//!
//! The tree follows from the number of leaves alone. Whoever computes a contiguous range of leaves adds up what lies within it, and
//! whoever has the nodes of all ranges adds them to the bits that one range of all leaves has. So the number of ranks never shows.
//! A sum of all ranks in turn would be simpler, and would have other bits for every number of ranks.

use std::ops::Range;

/// Micro-batches of `micro_batch` samples (at least one) in a batch of `samples`; the last may be shorter.
pub fn leaves(samples: usize, micro_batch: usize) -> usize {
    samples.div_ceil(micro_batch.max(1))
}

/// Samples of each micro-batch, in order.
pub fn sizes(samples: usize, micro_batch: usize) -> impl Iterator<Item = usize> + Clone {
    let micro_batch = micro_batch.max(1);
    (0..samples).step_by(micro_batch).map(move |first| micro_batch.min(samples - first))
}

/// The leaves that `rank` of `ranks` computes: contiguous, in order of rank, and as even as can be, so that there may be none.
/// The last ranks have the longer shares, since the last leaf is the one that may be shorter.
pub fn share(leaves: usize, ranks: usize, rank: usize) -> Range<usize> {
    let from = |rank: usize| leaves * rank / ranks.max(1);
    from(rank)..from(rank + 1)
}

/// The samples of `leaves` in a batch of `samples`.
pub fn samples_of(leaves: Range<usize>, samples: usize, micro_batch: usize) -> Range<usize> {
    (leaves.start * micro_batch).min(samples)..(leaves.end * micro_batch).min(samples)
}

/// The largest nodes that cover `leaves`, in order.
pub fn nodes(leaves: Range<usize>) -> Vec<Range<usize>> {
    let mut stack = Stack::default();
    for leaf in leaves {
        stack.push(leaf..leaf + 1, (), |(), ()| ());
    }
    stack.nodes.into_iter().map(|(node, ())| node).collect()
}

/// Adds `right` to `left`, element by element.
pub fn add(left: &mut [f32], right: &[f32]) {
    left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
}

/// What has been added up so far of leaves and nodes that come in order: a binary counter of sums.
#[derive(Clone, Debug)]
pub struct Stack<T> {
    nodes: Vec<(Range<usize>, T)>,
}

impl<T> Default for Stack<T> {
    fn default() -> Self {
        Self { nodes: Vec::new() }
    }
}

impl<T> Stack<T> {
    /// Takes the sum of `node`, which begins where the one before ended: leaf i is `i..i + 1`. `add` makes the sum of a left and a
    /// right half; it is called as soon as both are there.
    pub fn push(&mut self, node: Range<usize>, sum: T, mut add: impl FnMut(T, T) -> T) {
        debug_assert!(node.len().is_power_of_two() && node.start.is_multiple_of(node.len()), "{node:?} is no node");
        debug_assert!(self.nodes.last().is_none_or(|(before, _)| before.end == node.start), "{node:?} out of order");
        let (mut node, mut sum) = (node, sum);
        while let Some((left, before)) = self.nodes.pop_if(|(left, _)| are_halves(left, &node)) {
            node = left.start..node.end;
            sum = add(before, sum);
        }
        self.nodes.push((node, sum));
    }

    /// The sums of the largest nodes that cover what was pushed, in order: as many as [`nodes`] has of the same leaves.
    pub fn into_nodes(self) -> Vec<T> {
        self.nodes.into_iter().map(|(_, sum)| sum).collect()
    }

    /// The sum of a whole batch, whose leaves were all pushed; none where there were none.
    pub fn into_total(self, mut add: impl FnMut(T, T) -> T) -> Option<T> {
        self.nodes.into_iter().map(|(_, sum)| sum).rev().reduce(|right, left| add(left, right))
    }
}

/// Whether two adjacent nodes are the halves of one.
fn are_halves(left: &Range<usize>, right: &Range<usize>) -> bool {
    left.len() == right.len() && left.start.is_multiple_of(2 * left.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, top down: the largest power of two ahead, the rest behind it; a power of two in halves.
    fn by_definition(leaves: &[f32]) -> f32 {
        if let [leaf] = leaves {
            return *leaf;
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        by_definition(left) + by_definition(right)
    }

    fn added(left: Vec<f32>, right: Vec<f32>) -> Vec<f32> {
        let mut sum = left;
        add(&mut sum, &right);
        sum
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    #[test]
    fn thirteen_leaves_are_eight_and_four_and_one() {
        let text = |left: String, right: String| format!("({left}+{right})");
        let mut stack = Stack::default();
        for leaf in 0..13 {
            stack.push(leaf..leaf + 1, leaf.to_string(), text);
        }
        assert_eq!(nodes(0..13), [0..8, 8..12, 12..13]);
        let total = stack.into_total(text).expect("leaves");
        assert_eq!(total, "((((0+1)+(2+3))+((4+5)+(6+7)))+(((8+9)+(10+11))+12))");
        assert_eq!(nodes(3..13), [3..4, 4..8, 8..12, 12..13]);
        assert_eq!(nodes(5..5), Vec::<Range<usize>>::new());
    }

    #[test]
    fn shares_are_contiguous_even_and_all() {
        for (leaves, ranks) in [(0, 3), (1, 4), (3, 4), (4, 4), (13, 4), (64, 7), (1000, 512)] {
            let shares: Vec<_> = (0..ranks).map(|rank| share(leaves, ranks, rank)).collect();
            assert_eq!((shares[0].start, shares[ranks - 1].end), (0, leaves));
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
            let lengths = shares.iter().map(Range::len);
            assert!(lengths.clone().max().expect("ranks") - lengths.min().expect("ranks") <= 1, "{leaves} by {ranks}");
        }
        assert_eq!(samples_of(share(leaves(30, 8), 2, 1), 30, 8), 16..30);
    }

    proptest! {
        /// Any number of ranks adds to the bits of the definition, ranks without a leaf included.
        #[test]
        fn the_number_of_ranks_never_shows(
            values in prop::collection::vec(prop::collection::vec(-1e3f32..1e3, 3), 1..70),
            ranks in 1usize..80,
        ) {
            let mut all = Stack::default();
            for rank in 0..ranks {
                let mine = share(values.len(), ranks, rank);
                let mut stack = Stack::default();
                for leaf in mine.clone() {
                    stack.push(leaf..leaf + 1, values[leaf].clone(), added);
                }
                let sums = stack.into_nodes();
                prop_assert_eq!(sums.len(), nodes(mine.clone()).len());
                for (node, sum) in nodes(mine).into_iter().zip(sums) {
                    all.push(node, sum, added);
                }
            }
            let total = all.into_total(added).expect("leaves");
            let expected: Vec<f32> = (0..3)
                .map(|at| by_definition(&values.iter().map(|leaf| leaf[at]).collect::<Vec<_>>()))
                .collect();
            prop_assert_eq!(bits(&total), bits(&expected));
        }
    }
}
