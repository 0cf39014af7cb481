//! Which images a step sees and how each is augmented: drawn by the host from generators keyed by
//! (seed, epoch) and (seed, epoch, sample), so that a resumed run draws what it would have drawn.

use rand::SeedableRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::augment::Augmentation;
use super::run::Recipe;
use crate::engine::Pick;
use crate::engine::sample::Mix;

/// What a generator is for; part of its key, so that no two uses share a stream.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Subset = 1,
    Order = 2,
    Augment = 3,
    Mix = 4,
    HeldOut = 5,
}

/// The generator of one use: key = (seed, purpose, epoch, sample), all of them in ChaCha's 256-bit key.
pub(super) fn generator(purpose: Purpose, seed: u64, epoch: u64, sample: u64) -> ChaCha8Rng {
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
    augmentation: Augmentation,
    /// The last in which images are mixed.
    last_mixed: usize,
    seed: u64,
}

impl Sampler {
    /// A sampler over these images of a pack whose images are of `extent` pixels (width, height).
    pub fn new(recipe: &Recipe, images: Vec<u32>, extent: [usize; 2]) -> Self {
        Self {
            images,
            batch_size: recipe.batch_size,
            shuffle: recipe.shuffle,
            augmentation: Augmentation::new(recipe, extent),
            last_mixed: recipe.epochs.saturating_sub(recipe.mix_off),
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

    /// Image `index` in an epoch, with a second one, of any that are trained on, where samples are mixed.
    fn pick(&self, epoch: usize, index: u32) -> Pick {
        let generator = |purpose| generator(purpose, self.seed, epoch as u64, u64::from(index));
        let view = self.augmentation.view(index, &mut generator(Purpose::Augment));
        if !self.augmentation.mixes() || epoch > self.last_mixed {
            return view.into();
        }
        let mut generator = generator(Purpose::Mix);
        let blend = self.augmentation.blend(&mut generator);
        let second = self.images.choose(&mut generator).copied().unwrap_or(index);
        Pick { view, mix: Some(Mix { view: self.augmentation.view(second, &mut generator), blend }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sample::Geometry;
    use crate::training::run::{Augment, Recipe};

    fn sampler(augment: Augment, shuffle: bool, images: u32) -> Sampler {
        let recipe = Recipe { batch_size: 4, augment, shuffle, seed: 7, ..Recipe::default() };
        Sampler::new(&recipe, (0..images).collect(), [64, 64])
    }

    #[test]
    fn an_epoch_visits_every_image_once_in_its_own_order() {
        let sampler = sampler(Augment::Flip, true, 10);
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
        let sampler = sampler(Augment::Crop, true, 10);
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
        let sampler = sampler(Augment::None, false, 3);
        assert_eq!(sampler.images(), 3);
        let order = sampler.order(4);
        assert!(order.is_sorted());
        let mut picks = Vec::new();
        sampler.batch(4, &order, 0, &mut picks);
        assert!(picks.iter().all(|p| *p == Pick::of(p.view.index)));
    }

    #[test]
    fn images_are_mixed_with_others_until_the_last_epochs() {
        let recipe = Recipe { batch_size: 4, epochs: 9, cutmix: 1.0, mix_off: 2, seed: 7, ..Recipe::default() };
        let (mixing, plain) = (Sampler::new(&recipe, (0..10).collect(), [64, 64]), sampler(Augment::Flip, true, 10));
        let picks: Vec<Pick> = (0..10).map(|i| mixing.pick(7, i)).collect();
        let seconds: Vec<u32> = picks.iter().filter_map(|p| p.mix).map(|mix| mix.view.index).collect();
        assert_eq!(seconds.len(), 10);
        assert!(seconds.iter().any(|second| *second != seconds[0]));
        assert_eq!(picks[3], mixing.pick(7, 3));
        assert_ne!(picks[3].mix, mixing.pick(6, 3).mix);
        // The first image is what it is without.
        assert!(picks.iter().all(|pick| pick.view == plain.pick(7, pick.view.index).view));
        assert_eq!(mixing.pick(8, 3), plain.pick(8, 3));
    }
}
