//! The layout understood: which classes there are, which image belongs where, with label and box.
//!
//! Official is `train/<wnid>/images/`, `val/images/` with val_annotations.txt and `test/images/`. People also have val
//! and test sorted into class folders, images without the folder `images` or in folders below, no test, and no val: then a
//! share of train is held out for it. Classes and images come in the order of torchvision's `ImageFolder`: classes sorted, file
//! names sorted in each. Reads the text files of a source, no image. What does not fit together is collected as [`Problem`]s.

mod classes;
mod reader;
mod splits;

use std::collections::BTreeMap;

use super::decode::{self, Size};
use super::finding::Problem;
use super::manifest::{Class, HeldOut, PrepareSettings};
use super::source::Source;
use crate::error::Result;
use reader::Reader;
pub use reader::{Image, LEFT_OUT, SplitLayout};
use splits::images_of_train;

/// What a source holds, after `--classes` and `--per-class`.
#[derive(Debug)]
pub struct SourceLayout {
    /// In class-index order.
    pub classes: Vec<Class>,
    /// Number of classes of the whole source.
    pub all_classes: usize,
    /// train, val and, where there are any, test images.
    pub splits: Vec<SplitLayout>,
    /// What does not fit together.
    pub problems: Vec<Problem>,
    /// What is unusual and was understood all the same, for people.
    pub notes: Vec<String>,
    /// What was held out of train as val, where the source has none.
    pub held_out: Option<HeldOut>,
    /// What to do about the problems, where that is known.
    pub help: Option<String>,
}

/// Understands a source. Errors: no classes, a val without labels, a class or more classes asked for than there are, text files
/// that cannot be read at all.
pub fn understand(source: &Source, settings: &PrepareSettings) -> Result<SourceLayout> {
    let mut reader =
        Reader { source, settings, problems: Vec::new(), notes: source.notes().to_vec(), held_out: None, help: None };
    let train = images_of_train(source);
    let (all, chosen, classes) = reader.classes(&train)?;
    let (train, held_out) = reader.train(&classes, &chosen, &train)?;
    let val = held_out.map_or_else(|| reader.val(&classes, &all), Ok)?;
    let mut splits = vec![train, val];
    let test = reader.test(&classes, &all);
    if !test.images.is_empty() {
        splits.push(test);
    }
    reader.leave_out(&classes);
    for split in &mut splits {
        reader.keep_one_of_each(split, &classes);
    }
    let Reader { problems, notes, held_out, help, .. } = reader;
    Ok(SourceLayout { classes, all_classes: all.len(), splits, problems, notes, held_out, help })
}

/// Larger images, such as photographs as a camera made them, are not packed as they are, however many are of one size:
/// networks take 64 pixels a side unless told, and hundreds at most.
const LARGEST_COMMON_SIDE: usize = 256;

/// The size that most of some images spread over train have; 64 x 64 where no size has most, or a large one.
pub fn common_size(source: &Source, layout: &SourceLayout) -> Size {
    let images: &[Image] = layout.splits.first().map_or(&[], |train| &train.images);
    let mut votes: BTreeMap<Size, usize> = BTreeMap::new();
    for image in images.iter().step_by((images.len() / 31).max(1)) {
        if let Ok(bytes) = source.read(&image.entry)
            && let Ok(size) = decode::size(&bytes)
            && size.0.max(size.1) <= LARGEST_COMMON_SIDE
        {
            *votes.entry(size).or_default() += 1;
        }
    }
    let all: usize = votes.values().sum();
    votes.into_iter().find(|(_, n)| 2 * n > all).map_or((64, 64), |(size, _)| size)
}
