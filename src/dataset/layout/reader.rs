//! A source as it is being understood, and what comes of it for each split.

use std::collections::{BTreeMap, HashMap};

use crate::dataset::annotations::Bounds;
use crate::dataset::finding::Problem;
use crate::dataset::manifest::{Class, HeldOut, PrepareSettings};
use crate::dataset::source::{Entry, Source};
use crate::error::Result;

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
pub type Images<'a> = BTreeMap<&'a str, Vec<(String, &'a Entry)>>;

pub struct Reader<'a> {
    pub source: &'a Source,
    pub settings: &'a PrepareSettings,
    pub problems: Vec<Problem>,
    pub notes: Vec<String>,
    pub held_out: Option<HeldOut>,
    pub help: Option<String>,
}

impl Reader<'_> {
    /// Two files that would have the same place in the prepared folders: the first stays.
    pub fn keep_one_of_each(&mut self, split: &mut SplitLayout, classes: &[Class]) {
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
    pub fn optional_text(&self, path: &str) -> Result<String> {
        self.source.find(path).map_or_else(|| Ok(String::new()), |entry| self.source.read_text(entry))
    }
}

pub fn parts(entry: &Entry) -> Vec<&str> {
    entry.place.split('/').collect()
}

pub fn file_name(entry: &Entry) -> &str {
    entry.place.rsplit('/').next().unwrap_or_default()
}

pub fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}es") }
}

/// The first few of a list, for a message.
pub fn some(list: &[String]) -> String {
    let more = if list.len() > 5 { ", ..." } else { "" };
    format!("{}{more}", list[..list.len().min(5)].join(", "))
}
