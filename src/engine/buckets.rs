//! The parts in which the gradients of all that is trained travel to peers, the same for every engine of a plan.
//!
//! A bucket is whole once the backward pass has come to its first step, and can travel while the pass goes on.

use std::ops::Range;

use super::layout::{Format, Layout, Place, Step};
use super::peers::{BUCKET_BYTES, Peers};
use crate::error::Result;

/// Numbers of a bucket from which on it is closed.
const ENOUGH: usize = BUCKET_BYTES / size_of::<f32>();

/// Numbers that make a bucket of their own at the end. Nothing is computed behind the last bucket, so that all wait for it; and the
/// first layers, which have few weights, compute the longest.
const LITTLE: usize = ENOUGH / 16;

/// Which layers' gradients travel together, where the layers have so many `numbers` each, in the order of a backward pass: the
/// parts of `numbers`, in order. A bucket is closed by the layer that brings it to [`BUCKET_BYTES`], or behind which little is left.
pub fn together(numbers: &[usize]) -> Vec<Range<usize>> {
    let (mut parts, mut start, mut open) = (Vec::new(), 0, 0);
    let mut left = numbers.iter().sum::<usize>();
    for (at, numbers) in numbers.iter().enumerate() {
        open += numbers;
        left -= numbers;
        if left == 0 || open >= ENOUGH || (left <= LITTLE && open > LITTLE) {
            parts.push(start..at + 1);
            (start, open) = (at + 1, 0);
        }
    }
    parts
}

/// A part of the gradients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Where it lies in an engine's gradients, which lie as the parameters do.
    pub range: Range<usize>,
    /// The step whose backward pass completes it.
    pub step: usize,
}

impl Bucket {
    /// The tensors in it, of all `places`.
    pub fn tensors<'a>(&self, places: &'a [Place]) -> impl Iterator<Item = &'a Place> + use<'a> {
        let Range { start, end } = self.range;
        places.iter().filter(move |place| place.trained && start <= place.range.start && place.range.end <= end)
    }
}

/// The buckets of `layout`: one, or `several`, in the order in which a backward pass completes them: the weights from the last
/// step to the first, and what is small at the end, which every step adds to. Weights come first among the parameters, in the order
/// of the steps. They are told apart by the plan's numbers, not by an engine's padding.
pub fn buckets<W>(layout: &Layout<W>, several: bool) -> Vec<Bucket> {
    let trained = || layout.steps.iter().enumerate().filter(|(_, step)| step.trained && !step.weight.is_empty());
    let Some((first, _)) = trained().next() else { return Vec::new() }; // an engine that only infers
    if !several {
        return vec![Bucket { range: 0..layout.extent.trained, step: first }];
    }
    let backwards: Vec<_> = trained().collect::<Vec<_>>().into_iter().rev().collect();
    let numbers = |step: &Step<W>| layout.places[step.stage.tensors.start].elements();
    let weights = trained().map(|(_, step)| step.weight.end).max().unwrap_or_default();
    let mut end = weights.next_multiple_of(layout.format.alignment).min(layout.extent.trained);
    let rest = end..layout.extent.trained;
    let mut buckets = Vec::new();
    for part in together(&backwards.iter().map(|(_, step)| numbers(step)).collect::<Vec<_>>()) {
        let (index, step) = backwards[part.end - 1];
        let start = if index == first { 0 } else { step.weight.start };
        buckets.push(Bucket { range: start..end, step: index });
        end = start;
    }
    buckets.push(Bucket { range: rest, step: first });
    buckets.retain(|bucket| !bucket.range.is_empty());
    buckets
}

/// In which order the numbers of a bucket travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they lie in the memory of all engines alike.
    Memory,
    /// Tensor by tensor, each as torchvision has it: the peers are engines of different kinds.
    Torchvision,
}

impl Order {
    /// The one for an engine with memory in `format` and its `peers`, all of whom ask. Errors: others are gone.
    pub fn agreed(peers: &dyn Peers, format: &Format) -> Result<Self> {
        let mine = [format.alignment as f64, format.padding as f64];
        Ok(if peers.all(&mine)?.iter().all(|other| *other == mine) { Self::Memory } else { Self::Torchvision })
    }

    /// Numbers of `bucket` on the way.
    pub fn numbers(self, bucket: &Bucket, places: &[Place]) -> usize {
        match self {
            Self::Memory => bucket.range.len(),
            Self::Torchvision => bucket.tensors(places).map(Place::elements).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_closed_when_it_is_large_and_ahead_of_what_is_little() {
        const MILLION: usize = 1 << 20;
        assert_eq!((ENOUGH, LITTLE), (25 * MILLION / 4, 25 * MILLION / 64));
        let vgg11 =
            [819_200, 16_777_216, 8_388_608, 2_359_296, 2_359_296, 2_359_296, 1_179_648, 589_824, 294_912, 73_728];
        assert_eq!(together(&vgg11), [0..2, 2..3, 3..6, 6..8, 8..10], "the last of 1.5 MB");
        assert_eq!(together(&[LITTLE, 1, LITTLE - 1]), [0..2, 2..3]);
        assert_eq!(together(&[LITTLE, LITTLE]).len(), 1, "small networks in one");
        assert_eq!(together(&[ENOUGH, ENOUGH]), [0..1, 1..2]);
        assert_eq!(together(&[]), []);
    }
}
