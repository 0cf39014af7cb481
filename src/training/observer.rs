//! Who is told how a training goes: of steps, validation and epochs.

use super::history::Epoch;

/// Is told what happens while it happens.
pub trait Observer {
    /// Metrics arrived: the epoch (from 1), batches of it done and in it, its running mean loss and top-1.
    fn progress(&mut self, live: &Live);
    /// Validation: images done and in all.
    fn validating(&mut self, done: usize, images: usize);
    /// Something that a person should know.
    fn note(&mut self, _: &str) {}
    /// An epoch has ended and is on the disk, by when steps of the next one may have been told of; `improved` says whether
    /// its network is kept as the best so far.
    fn epoch(&mut self, epoch: &Epoch, improved: bool);
}

/// A moment of a running epoch.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    /// From 1.
    pub epoch: usize,
    /// At most.
    pub epochs: usize,
    /// Batches done in this epoch.
    pub batch: usize,
    /// Batches in an epoch.
    pub batches: usize,
    /// Mean loss of the epoch so far.
    pub loss: f64,
    /// Fraction of the epoch so far.
    pub top1: f64,
    /// Images per second of this epoch.
    pub images_per_s: f64,
}
