//! Which images a step sees and how each is augmented: drawn by the host from generators keyed by
//! (seed, epoch) and (seed, epoch, sample), so that a resumed run draws what it would have drawn.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::run::{Augment, Recipe};
use crate::engine::sample::Geometry;
use crate::engine::{Pick, View};

/// Pixels of padding on each side of `--augment crop`.
const CROP_PADDING: i8 = 4;

/// What a generator is for; part of its key, so that no two uses share a stream.
#[derive(Clone, Copy)]
enum Purpose {
    Subset = 1,
    Order = 2,
    Augment = 3,
}

/// The generator of one use: key = (seed, purpose, epoch, sample), all of them in ChaCha's 256-bit key.
fn generator(purpose: Purpose, seed: u64, epoch: u64, sample: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.as_chunks_mut::<8>().0.iter_mut().zip([seed, purpose as u64, epoch, sample]) {
        *bytes = word.to_le_bytes();
    }
    ChaCha8Rng::from_seed(key)
}

/// Draws the batches of a training.
#[derive(Clone, Debug)]
pub struct Sampler {
    images: Vec<u32>,
    batch_size: usize,
    shuffle: bool,
    augment: Augment,
    seed: u64,
}

impl Sampler {
    /// A sampler over `count` images. `limit_train` keeps that many, drawn from the seed, in pack order.
    pub fn new(recipe: &Recipe, count: u32) -> Self {
        let mut images: Vec<u32> = (0..count).collect();
        if let Some(limit) = recipe.limit_train.filter(|&limit| limit < images.len()) {
            images.shuffle(&mut generator(Purpose::Subset, recipe.seed, 0, 0));
            images.truncate(limit);
            images.sort_unstable();
        }
        Self {
            images,
            batch_size: recipe.batch_size,
            shuffle: recipe.shuffle,
            augment: recipe.augment,
            seed: recipe.seed,
        }
    }

    /// Images an epoch.
    pub fn images(&self) -> usize {
        self.images.len()
    }

    /// Steps an epoch; the last one may be smaller.
    pub fn steps(&self) -> usize {
        self.images.len().div_ceil(self.batch_size)
    }

    /// The order of one epoch (from 1).
    pub fn order(&self, epoch: usize) -> Vec<u32> {
        let mut order = self.images.clone();
        if self.shuffle {
            order.shuffle(&mut generator(Purpose::Order, self.seed, epoch as u64, 0));
        }
        order
    }

    /// The picks of batch `batch` (from 0) of an epoch whose order is `order`.
    pub fn batch(&self, epoch: usize, order: &[u32], batch: usize, picks: &mut Vec<Pick>) {
        picks.clear();
        let start = batch * self.batch_size;
        let end = (start + self.batch_size).min(order.len());
        picks.extend(order[start..end].iter().map(|&index| self.pick(epoch, index)));
    }

    fn pick(&self, epoch: usize, index: u32) -> Pick {
        let mut view = View { index, ..View::default() };
        if self.augment != Augment::None {
            let mut generator = generator(Purpose::Augment, self.seed, epoch as u64, u64::from(index));
            view.flip = generator.random();
            if self.augment == Augment::Crop {
                let mut offset = || generator.random_range(-CROP_PADDING..=CROP_PADDING);
                view.geometry = Geometry::Moved { x: offset(), y: offset() };
            }
        }
        view.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::run::Recipe;

    fn sampler(augment: Augment, shuffle: bool, limit_train: Option<usize>) -> Sampler {
        Sampler::new(&Recipe { batch_size: 4, augment, shuffle, limit_train, seed: 7, ..Recipe::default() }, 10)
    }

    #[test]
    fn an_epoch_visits_every_image_once_in_its_own_order() {
        let sampler = sampler(Augment::Flip, true, None);
        let (first, second) = (sampler.order(1), sampler.order(2));
        assert_ne!(first, second);
        assert_eq!(first, sampler.order(1));
        let mut picks = Vec::new();
        let mut seen = Vec::new();
        for batch in 0..sampler.steps() {
            sampler.batch(1, &first, batch, &mut picks);
            seen.extend(picks.iter().map(|p| p.view.index));
        }
        assert_eq!(seen, first);
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn augmentation_depends_on_seed_epoch_and_image_only() {
        let sampler = sampler(Augment::Crop, true, None);
        let picks: Vec<_> = (0..200).map(|i| sampler.pick(1, i)).collect();
        assert_eq!(picks[5], sampler.pick(1, 5));
        assert!(picks.iter().any(|p| p.view.flip) && picks.iter().any(|p| !p.view.flip));
        for offset in -4..=4 {
            let moved = |p: &Pick, wanted: fn([i8; 2]) -> i8| match p.view.geometry {
                Geometry::Moved { x, y } => wanted([x, y]) == offset,
                Geometry::Warped(_) => false,
            };
            assert!(picks.iter().any(|p| moved(p, |[x, _]| x)), "{offset}");
            assert!(picks.iter().any(|p| moved(p, |[_, y]| y)), "{offset}");
        }
        assert_ne!(picks, (0..200).map(|i| sampler.pick(2, i)).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_asked_for_is_nothing_done() {
        let sampler = sampler(Augment::None, false, Some(3));
        assert_eq!(sampler.images(), 3);
        let order = sampler.order(4);
        assert!(order.is_sorted());
        let mut picks = Vec::new();
        sampler.batch(4, &order, 0, &mut picks);
        assert!(picks.iter().all(|p| *p == Pick::of(p.view.index)));
    }
}
