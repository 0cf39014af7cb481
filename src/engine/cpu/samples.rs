//! Which samples of a batch are computed here, and in which micro-batches.

use std::ops::Range;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Samples {
    /// Of the whole batch, wherever they are computed.
    pub batch: usize,
    /// The first that is computed here; a micro-batch begins with it.
    pub first: usize,
    /// How many are.
    pub count: usize,
    /// Of a micro-batch; the batch's last one may have fewer.
    pub micro_batch: usize,
}

impl Samples {
    /// A batch of `count` that is computed here, in one go.
    pub fn all(count: usize) -> Self {
        Self { batch: count, first: 0, count, micro_batch: count.max(1) }
    }

    /// Those of `share` of a batch.
    pub fn of(batch: usize, share: &Range<usize>, micro_batch: usize) -> Self {
        Self { batch, first: share.start, count: share.len(), micro_batch }
    }

    /// Micro-batches that are computed here.
    pub fn parts(&self) -> usize {
        self.count.div_ceil(self.micro_batch)
    }

    /// Each of them, counted from the first sample that is computed here.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Self { count, micro_batch, .. } = *self;
        (0..count).step_by(micro_batch).map(move |start| start..(start + micro_batch).min(count))
    }

    /// Which of the batch's micro-batches is the first that is computed here.
    pub fn first_part(&self) -> usize {
        self.first / self.micro_batch
    }
}

/// Elements of some samples, of `sample` elements each.
pub fn elements(samples: &Range<usize>, sample: usize) -> Range<usize> {
    samples.start * sample..samples.end * sample
}
