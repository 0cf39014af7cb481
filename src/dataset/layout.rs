//! The layout understood: which classes there are, which image belongs where, with label and box.
//!
//! Official is `train/<wnid>/images/`, `val/images/` with val_annotations.txt and `test/images/`. People also have val
//! and test sorted into class folders, images without the folder `images` or in folders below, no test, and no val: then a
//! share of train is held out for it. Classes and images come in the order of torchvision's `ImageFolder`: classes sorted, file
//! names sorted in each. Reads the text files of a source, no image. What does not fit together is collected as [`Problem`]s.

mod classes;
mod splits;

use std::collections::{BTreeMap, HashMap};

use super::annotations::Bounds;
use super::decode::{self, Size};
use super::finding::Problem;
use super::manifest::{Class, HeldOut, Settings};
use super::source::{Entry, Source};
use crate::error::Result;
use splits::images_of_train;

/// What a source holds, after `--classes` and `--per-class`.
#[derive(Debug)]
pub struct Layout {
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

/// The images of one split, in the order in which they are packed.
#[derive(Clone, Debug)]
pub struct SplitLayout {
    /// "train", "val" or "test".
    pub name: &'static str,
    /// Test has no labels.
    pub labelled: bool,
    /// Sorted by class, then by file name.
    pub images: Vec<Image>,
}

/// One image of a split.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where the source has it.
    pub entry: Entry,
    /// Its file name.
    pub file: String,
    /// Class index, where the split has labels.
    pub label: Option<usize>,
    /// x0, y0, x1, y1 in pixels, where known.
    pub bounds: Option<Bounds>,
}

impl SplitLayout {
    /// Where an image lies in the prepared folders: `train/<wnid>/<file>`, or `test/images/<file>`.
    pub fn target(&self, image: &Image, classes: &[Class]) -> String {
        let folder = image.label.map_or("images", |label| &classes[label].wnid);
        format!("{}/{folder}/{}", self.name, image.file)
    }
}

/// The code of files and folders that are left out because they are no images, or no classes.
pub const LEFT_OUT: &str = "file-left-out";

/// Images by class, each with the name that it will have.
type Images<'a> = BTreeMap<&'a str, Vec<(String, &'a Entry)>>;

/// Understands a source. Errors: no classes, a val without labels, a class or more classes asked for than there are, text files
/// that cannot be read at all.
pub fn understand(source: &Source, settings: &Settings) -> Result<Layout> {
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
    Ok(Layout { classes, all_classes: all.len(), splits, problems, notes, held_out, help })
}

/// Larger images, such as photographs as a camera made them, are not packed as they are, however many are of one size:
/// networks take 64 pixels a side unless told, and hundreds at most.
const LARGEST_COMMON_SIDE: usize = 256;

/// The size that most of some images spread over train have; 64 x 64 where no size has most, or a large one.
pub fn common_size(source: &Source, layout: &Layout) -> Size {
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

struct Reader<'a> {
    source: &'a Source,
    settings: &'a Settings,
    problems: Vec<Problem>,
    notes: Vec<String>,
    held_out: Option<HeldOut>,
    help: Option<String>,
}

impl Reader<'_> {
    /// Two files that would have the same place in the prepared folders: the first stays.
    fn keep_one_of_each(&mut self, split: &mut SplitLayout, classes: &[Class]) {
        let mut places: HashMap<String, String> = HashMap::new();
        let mut in_any_case: HashMap<String, String> = HashMap::new();
        let targets: Vec<String> = split.images.iter().map(|image| split.target(image, classes)).collect();
        let mut targets = targets.into_iter();
        split.images.retain(|image| {
            let Some(target) = targets.next() else { return true };
            let Some(first) = places.get(&target) else {
                let folded = target.to_lowercase();
                if let Some(first) = in_any_case.get(&folded) {
                    let reason =
                        format!("differs from {first} in upper and lower case only: some systems keep one of them");
                    self.problems.push(Problem::warning("file-case", &image.entry.path, reason));
                }
                in_any_case.insert(folded, image.entry.path.clone());
                places.insert(target, image.entry.path.clone());
                return true;
            };
            let reason = format!("has the same place as {first}");
            self.problems.push(Problem::error("file-twice", &image.entry.path, reason));
            false
        });
    }

    /// The text of a file that may be missing.
    fn optional_text(&self, path: &str) -> Result<String> {
        self.source.find(path).map_or_else(|| Ok(String::new()), |entry| self.source.read_text(entry))
    }
}

fn parts(entry: &Entry) -> Vec<&str> {
    entry.place.split('/').collect()
}

fn file_name(entry: &Entry) -> &str {
    entry.place.rsplit('/').next().unwrap_or_default()
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}es") }
}

/// The first few of a list, for a message.
fn some(list: &[String]) -> String {
    let more = if list.len() > 5 { ", ..." } else { "" };
    format!("{}{more}", list[..list.len().min(5)].join(", "))
}
