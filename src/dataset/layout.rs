//! The layout understood: which classes there are, which image belongs where, with label and box.
//!
//! Official is `train/<wnid>/images/`, `val/images/` with val_annotations.txt and `test/images/`. People also have val
//! sorted into class folders, a `val_` that some script made, images without the folder `images`, and no test.
//! Classes and images come in the order of torchvision's `ImageFolder`: wnids sorted, file names sorted in each.
//! Reads the text files of a source, no image. What does not fit together is collected as [`Problem`]s.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::annotations::{self, Annotated, Bounds, stem};
use super::choice;
use super::decode::{self, Size};
use super::finding::{Problem, Severity};
use super::manifest::{Class, Settings};
use super::source::{self, Entry, Source};
use crate::error::{Error, Result};

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

/// Understands a source. Errors: no classes, no val, a class or more classes asked for than there are, text files that
/// cannot be read at all.
pub fn understand(source: &Source, settings: &Settings) -> Result<Layout> {
    let mut reader = Reader { source, settings, problems: Vec::new(), notes: Vec::new() };
    let mut train: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in source.entries() {
        if let ["train", wnid, "images", file] | ["train", wnid, file] = parts(entry)[..]
            && source::is_image(file)
        {
            train.entry(wnid).or_default().push(entry);
        }
    }
    let all = reader.class_ids(&train)?;
    let chosen = choice::classes(settings, &all, source.path())?;
    let classes = reader.names(&all, &chosen)?;
    let train = reader.train(&classes, &chosen, &train)?;
    let val = reader.val(&classes, &all)?;
    let mut splits = vec![train, val];
    let test = reader.test();
    if !test.images.is_empty() {
        splits.push(test);
    }
    for split in &mut splits {
        reader.keep_one_of_each(split, &classes);
    }
    let Reader { problems, notes, .. } = reader;
    Ok(Layout { classes, all_classes: all.len(), splits, problems, notes })
}

/// No network takes larger images, so none are packed.
const LARGEST_COMMON_SIDE: usize = 4096;

/// The size that most of some images spread over train have; 64 x 64 where no size has most.
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
}

impl Reader<'_> {
    /// The sorted wnids of train's folders; wnids.txt, where there is one, should have the same.
    fn class_ids(&mut self, train: &BTreeMap<&str, Vec<&Entry>>) -> Result<Vec<String>> {
        let folders: Vec<String> = train.keys().map(|wnid| (*wnid).to_owned()).collect();
        if folders.is_empty() {
            return Err(Error::data(self.source.path(), "there is no image in train/<wnid>/images/"));
        }
        if let Some(odd) = folders.iter().find(|name| !choice::is_class_name(name)) {
            let what = format!("`{}` is no name for a class: letters, digits, `_` and `-` are", odd.escape_debug());
            return Err(Error::data(self.source.path(), what));
        }
        let Some(list) = self.source.find("wnids.txt") else { return Ok(folders) };
        let listed = match annotations::wnids(&self.source.read_text(list)?) {
            Ok(listed) => listed,
            Err(reason) => {
                self.problems.push(Problem::of_the_whole("class-list", "wnids.txt", reason));
                return Ok(folders);
            }
        };
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|w| those.binary_search(w).is_err()).cloned().collect()
        };
        let (missing, extra) = (only(&listed, &folders), only(&folders, &listed));
        if !missing.is_empty() {
            let what = format!("{} of its classes have no images in train/ ({})", missing.len(), some(&missing));
            self.problems.push(Problem::of_the_whole("class-list", "wnids.txt", what));
        }
        if !extra.is_empty() {
            let what = format!("{} folders of train/ are not in it ({})", extra.len(), some(&extra));
            self.problems.push(Problem::of_the_whole("class-list", "wnids.txt", what));
        }
        Ok(folders)
    }

    fn names(&mut self, all: &[String], chosen: &[usize]) -> Result<Vec<Class>> {
        const WORDS: &str = "words.txt";
        let text = self.optional_text(WORDS)?;
        let (names, listed) = (annotations::names(&text), annotations::named(&text));
        if self.source.find(WORDS).is_none() {
            let reason = "is missing: classes are called by their wnids";
            self.problems.push(Problem::warning("class-names", WORDS, reason));
        } else {
            let missing: Vec<String> = all.iter().filter(|w| !listed.contains(&w[..])).cloned().collect();
            if !missing.is_empty() {
                let reason = format!("has no line about {} ({})", count(missing.len(), "class"), some(&missing));
                self.problems.push(Problem::warning("class-names", WORDS, reason));
            }
        }
        let class = |rank: &usize| {
            let wnid = &all[*rank];
            Class { wnid: wnid.clone(), name: names.get(&wnid[..]).unwrap_or(&&wnid[..]).to_string() }
        };
        Ok(chosen.iter().map(class).collect())
    }

    fn train(
        &mut self,
        classes: &[Class],
        ranks: &[usize],
        train: &BTreeMap<&str, Vec<&Entry>>,
    ) -> Result<SplitLayout> {
        let mut images = Vec::new();
        for (label, (class, rank)) in classes.iter().zip(ranks).enumerate() {
            let path = format!("train/{0}/{0}_boxes.txt", class.wnid);
            let text = self.optional_text(&path)?;
            let Annotated { files: boxes, wrong } = annotations::boxes(&text);
            self.problems
                .extend(wrong.into_iter().map(|reason| Problem::error("annotation-unreadable", &path, reason)));
            let mut entries = train.get(&class.wnid[..]).cloned().unwrap_or_default();
            entries.sort_by_key(|entry| file_name(entry));
            if self.source.find(&path).is_some() {
                let without = entries.iter().filter(|e| !boxes.contains_key(stem(file_name(e))));
                let warning = |e: &&Entry| Problem::warning("box-missing", &e.path, format!("is not in {path}"));
                self.problems.extend(without.map(warning));
                let there: HashSet<&str> = entries.iter().map(|e| stem(file_name(e))).collect();
                for file in missing(&boxes, &there) {
                    let reason = format!("has a line about `{}`, which is not there", file.escape_debug());
                    self.problems.push(Problem::warning("box-extra", &path, reason));
                }
            }
            for index in choice::images(self.settings, *rank, entries.len()) {
                let file = file_name(entries[index]);
                images.push(image(entries[index], file, Some(label), boxes.get(stem(file)).map(|(_, bounds)| *bounds)));
            }
        }
        Ok(SplitLayout { name: "train", labelled: true, images })
    }

    /// Labels are those of val_annotations.txt or, where images are sorted, of their folders; they must not differ.
    fn val(&mut self, classes: &[Class], all: &[String]) -> Result<SplitLayout> {
        let in_folder = |folder: &str| {
            let images = self.source.entries().iter().filter(|e| source::is_image(file_name(e)));
            images.filter_map(|e| Some((e, e.path.strip_prefix(folder)?.strip_prefix('/')?))).collect::<Vec<_>>()
        };
        let mut folder = "val";
        let mut found = in_folder(folder);
        if found.is_empty() {
            (folder, found) = ("val_", in_folder("val_"));
            if !found.is_empty() {
                self.notes.push("val is read from val_/: there are no images in val/".into());
            }
        }
        let lists = ["val", "val_"].map(|folder| format!("{folder}/val_annotations.txt"));
        let list = lists.iter().find_map(|path| self.source.find(path));
        let text = list.map_or_else(|| Ok(String::new()), |entry| self.source.read_text(entry))?;
        let path = list.map_or(&lists[0][..], |entry| &entry.path);
        let Annotated { files: annotated, wrong } = annotations::val(&text);
        self.problems.extend(wrong.into_iter().map(|reason| Problem::error("annotation-unreadable", path, reason)));

        let (mut images, mut sorted, mut unlabelled) = (Vec::new(), 0, 0);
        let mut there = HashSet::new();
        for (entry, below) in found {
            let parts: Vec<&str> = below.split('/').collect();
            let (file, of_folder) = match parts[..] {
                ["images", file] | [file] => (file, None),
                [wnid, "images", file] | [wnid, file] => (file, Some(wnid)),
                _ => continue,
            };
            there.insert(stem(file));
            sorted += usize::from(of_folder.is_some());
            let line = annotated.get(stem(file)).map(|(_, line)| line);
            let mut problem = |code, reason: String| self.problems.push(Problem::error(code, &entry.path, reason));
            let wnid = match (of_folder, line) {
                (Some(folder), Some((wnid, _))) if folder != *wnid => {
                    problem("annotation-class", format!("lies in the class `{folder}`, but {path} has `{wnid}`"));
                    continue;
                }
                (Some(wnid), _) => wnid,
                (None, Some((wnid, _))) => *wnid,
                (None, None) if list.is_none() => {
                    unlabelled += 1;
                    continue;
                }
                (None, None) => {
                    problem("annotation-missing", format!("is not in {path}"));
                    continue;
                }
            };
            if let Ok(label) = classes.binary_search_by(|c| c.wnid.as_str().cmp(wnid)) {
                images.push(image(entry, file, Some(label), line.and_then(|(_, bounds)| *bounds)));
            } else if all.binary_search_by(|w| w.as_str().cmp(wnid)).is_err() {
                let what = format!("has the class `{}`, which train/ does not have", wnid.escape_debug());
                problem("annotation-class", what);
            }
        }
        for file in missing(&annotated, &there) {
            let reason = format!("is missing, though {path} lists it");
            let path = format!("{folder}/images/{}", file.escape_debug());
            self.problems.push(Problem::error("annotation-extra", path, reason));
        }
        if unlabelled > 0 {
            return Err(Error::data(self.source.path(), format!("there is no {path}: val has no labels")));
        }
        if images.is_empty() && self.problems.iter().all(|p| p.severity != Severity::Error) {
            return Err(Error::data(self.source.path(), "there is no image in val/images/"));
        }
        if sorted > 0 {
            self.notes.push("val is sorted into class folders already".into());
        }
        images.sort_by(|a, b| (a.label, &a.file).cmp(&(b.label, &b.file)));
        Ok(SplitLayout { name: "val", labelled: true, images })
    }

    fn test(&self) -> SplitLayout {
        let in_test = |entry: &Entry| match parts(entry)[..] {
            ["test", "images", file] | ["test", file] if source::is_image(file) => Some(image(entry, file, None, None)),
            _ => None,
        };
        let mut images: Vec<Image> = self.source.entries().iter().filter_map(in_test).collect();
        images.sort_by(|a, b| a.file.cmp(&b.file));
        SplitLayout { name: "test", labelled: false, images }
    }

    /// Two files that would have the same place in the prepared folders: the first stays.
    fn keep_one_of_each(&mut self, split: &mut SplitLayout, classes: &[Class]) {
        let mut places: HashMap<String, String> = HashMap::new();
        let targets: Vec<String> = split.images.iter().map(|image| split.target(image, classes)).collect();
        let mut targets = targets.into_iter();
        split.images.retain(|image| {
            let Some(target) = targets.next() else { return true };
            let Some(first) = places.get(&target) else {
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

/// Files that are listed but not there.
fn missing<'a, T>(listed: &HashMap<&str, (&'a str, T)>, there: &HashSet<&str>) -> Vec<&'a str> {
    let lines = listed.iter().filter(|(stem, _)| !there.contains(*stem));
    let mut missing: Vec<&str> = lines.map(|(_, (file, _))| *file).collect();
    missing.sort_unstable();
    missing
}

fn image(entry: &Entry, file: &str, label: Option<usize>, bounds: Option<Bounds>) -> Image {
    Image { entry: entry.clone(), file: file.to_owned(), label, bounds }
}

fn parts(entry: &Entry) -> Vec<&str> {
    entry.path.split('/').collect()
}

fn file_name(entry: &Entry) -> &str {
    entry.path.rsplit('/').next().unwrap_or_default()
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}es") }
}

/// The first few of a list, for a message.
fn some(list: &[String]) -> String {
    let more = if list.len() > 5 { ", ..." } else { "" };
    format!("{}{more}", list[..list.len().min(5)].join(", "))
}
