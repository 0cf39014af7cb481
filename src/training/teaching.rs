//! What teachers, networks of earlier runs, say of the images that are trained on: shares of all classes, of which a part of each target
//! is made (Hinton et al. 2015, section 2, at temperature 1).
//!
//! It asks nobody (`inference::teachers` does). The teachers were shown each image as it is; of a sample that is mixed of two,
//! they say what they say of both, in the shares of the sample.

use half::f16;

use crate::engine::Pick;

/// The vote of one or several teachers on each image that is trained on.
#[derive(Clone, Debug, Default)]
pub struct Teaching {
    /// Shares [images, classes]. In f16, since there are as many as images times classes, and since none needs more digits.
    shares: Vec<f16>,
    /// Indices into the pack, ascending.
    images: Vec<u32>,
    /// What the weights of each teacher are known by, in the order in which they were named.
    pub digests: Vec<String>,
}

impl Teaching {
    /// The mean of what teachers say of `images`, ascending indices into the pack: `sums` [images, classes], of as many as there
    /// are `digests`.
    pub fn new(sums: &[f64], images: Vec<u32>, digests: Vec<String>) -> Self {
        let teachers = digests.len().max(1) as f64;
        Self { shares: sums.iter().map(|sum| f16::from_f64(sum / teachers)).collect(), images, digests }
    }

    /// Images that they were asked about, as indices into the pack.
    pub fn images(&self) -> &[u32] {
        &self.images
    }

    /// What they say of image `index`: nothing where they were not asked, which an engine refuses.
    fn of(&self, index: u32) -> &[f16] {
        let classes = self.shares.len() / self.images.len().max(1);
        self.images.binary_search(&index).map_or(&[], |at| &self.shares[at * classes..][..classes])
    }

    /// Fills `rows` [n, classes] with what they say of the samples of a batch, for a network of `size`.
    pub fn rows(&self, picks: &[Pick], size: usize, rows: &mut Vec<f32>) {
        rows.clear();
        for pick in picks {
            let start = rows.len();
            match &pick.mix {
                None => rows.extend(self.of(pick.view.index).iter().map(|share| share.to_f32())),
                Some(mix) => {
                    let share = pick.share(size);
                    let both = self.of(pick.view.index).iter().zip(self.of(mix.view.index));
                    rows.extend(both.map(|(a, b)| share * a.to_f32() + (1.0 - share) * b.to_f32()));
                }
            }
            let sum: f32 = rows[start..].iter().sum(); // not quite 1, of rounded numbers
            rows[start..].iter_mut().for_each(|share| *share /= sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::View;
    use crate::engine::sample::{Area, Blend, Mix};

    #[test]
    fn a_mixed_sample_is_taught_both_in_its_shares() {
        // Two teachers, two images of more, three classes.
        let teaching = Teaching::new(&[2.0, 0.0, 0.0, 0.0, 1.0, 1.0], vec![4, 9], vec!["a".into(), "b".into()]);
        let second = View { index: 9, ..View::default() };
        let mix = Mix { view: second, blend: Blend::Area(Area([0.0, 0.0, 0.5, 0.5])) };
        let mut rows = vec![9.0];
        teaching.rows(&[Pick::of(4), second.into(), Pick { mix: Some(mix), ..Pick::of(4) }], 4, &mut rows);
        assert_eq!(rows, [1.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.75, 0.125, 0.125]);
        teaching.rows(&[Pick::of(5)], 4, &mut rows);
        assert!(rows.is_empty(), "they were not asked about it");
    }
}
