//! A few images of a split to look at: always the same ones, spread over the classes.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::pack::Pack;

/// An image to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its index in the pack.
    pub index: usize,
    /// Its file name.
    pub file: String,
    /// Its class, where the split has labels.
    pub label: Option<u32>,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// [height, width, 3].
    pub rgb: Vec<u8>,
}

/// `count` images (all, where there are fewer), in the order of the pack. No class has two more than another, unless
/// it has no more images. The same pack, count and seed give the same choice.
pub fn choose(pack: &Pack, count: usize, seed: u64) -> Vec<Sample> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let labels = &pack.images.labels;
    let mut classes: Vec<Vec<usize>> = vec![Vec::new(); pack.wnids.len().max(1)];
    for index in 0..pack.images.count {
        classes[labels.get(index).map_or(0, |l| *l as usize)].push(index);
    }
    classes.iter_mut().for_each(|images| images.shuffle(&mut rng));
    classes.shuffle(&mut rng); // who gets one where there are fewer places than classes
    let rounds = classes.iter().map(Vec::len).max().unwrap_or(0);
    let by_turns = (0..rounds).flat_map(|round| classes.iter().filter_map(move |images| images.get(round)));
    let mut chosen: Vec<usize> = by_turns.take(count).copied().collect();
    chosen.sort_unstable();
    chosen.into_iter().map(|index| sample(pack, index)).collect()
}

/// One image of a pack.
///
/// # Panics
/// When `index` is not below the number of images, as indexing a slice does.
pub fn sample(pack: &Pack, index: usize) -> Sample {
    Sample {
        index,
        file: pack.files[index].clone(),
        label: pack.images.labels.get(index).copied(),
        height: pack.images.height,
        width: pack.images.width,
        rgb: pack.pixels(index).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::pack_writer::{PackHeader, PackWriter};
    use crate::engine::Normalisation;

    fn pack(labels: Option<Vec<i64>>, count: usize) -> (tempfile::TempDir, Pack) {
        let data = tempfile::tempdir().unwrap();
        let header = PackHeader {
            split: "val".into(),
            synthetic: true,
            height: 1,
            width: 1,
            wnids: vec!["a".into(), "b".into(), "c".into()],
            names: vec!["a".into(), "b".into(), "c".into()],
            files: (0..count).map(|i| format!("{i}.JPEG")).collect(),
            labels,
            boxes: None,
        };
        let mut writer = PackWriter::create(&Pack::path_of(data.path(), "val"), &header).unwrap();
        writer.pixels_mut().iter_mut().enumerate().for_each(|(i, byte)| *byte = i as u8);
        writer.finish(Normalisation::default()).unwrap();
        let pack = Pack::open(data.path(), "val").unwrap();
        (data, pack)
    }

    #[test]
    fn the_choice_is_repeatable_and_spread() {
        let labels = (0..30).map(|i| if i < 20 { 0 } else { i64::from(i < 28) + 1 }).rev().collect();
        let (_data, pack) = pack(Some(labels), 30);
        let chosen = choose(&pack, 9, 1);
        assert_eq!(chosen, choose(&pack, 9, 1));
        assert_ne!(chosen, choose(&pack, 9, 2));
        let of = |label| chosen.iter().filter(|s| s.label == Some(label)).count();
        assert_eq!(of(1), 2, "all that there are");
        assert!(of(0).abs_diff(of(2)) <= 1 && of(0) >= 3);
        for s in &chosen {
            let first = s.index as u8 * 3;
            assert_eq!(
                (s.file.clone(), s.rgb.clone()),
                (format!("{}.JPEG", s.index), vec![first, first + 1, first + 2])
            );
        }
        assert_eq!(choose(&pack, 100, 1).len(), 30);
        let two: Vec<_> = choose(&pack, 2, 1).iter().map(|s| s.label).collect();
        assert_ne!(two[0], two[1]);
    }

    #[test]
    fn a_split_without_labels_is_sampled_too() {
        let (_data, pack) = pack(None, 10);
        let chosen = choose(&pack, 4, 0);
        assert_eq!(chosen.len(), 4);
        assert!(chosen.windows(2).all(|pair| pair[0].index < pair[1].index));
        assert!(chosen.iter().all(|s| s.label.is_none()));
    }
}
