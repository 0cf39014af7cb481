//! The official layout understood: which classes there are, which image belongs where, with label and box.
//!
//! Classes and images come in the order of torchvision's `ImageFolder`: wnids sorted, file names sorted in each.
//! Reads the text files of a source, no image. What does not fit together is collected as [`Problem`]s.

use std::collections::{BTreeMap, HashMap};

use super::annotations::{self, Bounds};
use super::manifest::{Class, Settings};
use super::source::{Entry, Source};
use crate::error::{Error, Result};

/// A file that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, below the source's root.
    pub path: String,
    /// For people.
    pub reason: String,
}

/// What a source holds, after `--classes` and `--per-class`.
#[derive(Debug)]
pub struct Layout {
    /// In class-index order.
    pub classes: Vec<Class>,
    /// train, val and, where there are any, test images.
    pub splits: Vec<SplitLayout>,
    /// What does not fit together.
    pub problems: Vec<Problem>,
}

/// The images of one split, in the order in which they are packed.
#[derive(Debug)]
pub struct SplitLayout {
    /// "train", "val" or "test".
    pub name: &'static str,
    /// Test has no labels.
    pub labelled: bool,
    /// Sorted by class, then by file name.
    pub images: Vec<Image>,
}

/// One image of a split.
#[derive(Debug)]
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

/// Understands a source. Errors: no classes or no val, classes that wnids.txt and train/ do not agree on, more
/// classes asked for than there are, text files that cannot be read.
pub fn understand(source: &Source, settings: &Settings) -> Result<Layout> {
    let mut problems = Vec::new();
    let mut train: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in source.entries() {
        if let ["train", wnid, "images", file] = parts(entry)[..]
            && is_image(file)
        {
            train.entry(wnid).or_default().push(entry);
        }
    }
    let all = class_ids(source, &train)?;
    let count = settings.classes.unwrap_or(all.len());
    if count > all.len() {
        let message = format!("--classes {count}: {} has {} classes", source.path().display(), all.len());
        return Err(Error::usage(message));
    }
    let words = optional_text(source, "words.txt")?;
    let names = annotations::names(&words);
    let class =
        |wnid: &String| Class { wnid: wnid.clone(), name: names.get(&wnid[..]).unwrap_or(&&wnid[..]).to_string() };
    let classes: Vec<Class> = all[..count].iter().map(class).collect();

    let train = train_split(source, settings, &classes, &train, &mut problems)?;
    let val = val_split(source, &classes, &all, &mut problems)?;
    let mut splits = vec![train, val];
    let test: Vec<Image> = source
        .entries()
        .iter()
        .filter_map(|entry| match parts(entry)[..] {
            ["test", "images", file] if is_image(file) => Some(image(entry, file, None, None)),
            _ => None,
        })
        .collect();
    if !test.is_empty() {
        splits.push(SplitLayout { name: "test", labelled: false, images: test });
    }
    Ok(Layout { classes, splits, problems })
}

/// The sorted wnids. wnids.txt, where there is one, and the folders of train must agree.
fn class_ids(source: &Source, train: &BTreeMap<&str, Vec<&Entry>>) -> Result<Vec<String>> {
    let folders: Vec<String> = train.keys().map(|wnid| (*wnid).to_owned()).collect();
    if folders.is_empty() {
        return Err(Error::data(source.path(), "there is no image in train/<wnid>/images/"));
    }
    if let Some(odd) = folders.iter().find(|w| !w.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))) {
        let what = format!("`{}` is no name for a class: letters, digits, `_` and `-` are", odd.escape_debug());
        return Err(Error::data(source.path(), what));
    }
    let Some(list) = source.find("wnids.txt") else { return Ok(folders) };
    let listed =
        annotations::wnids(&source.read_text(list)?).map_err(|e| Error::data(source.path().join("wnids.txt"), e))?;
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|w| those.binary_search(w).is_err()).cloned().collect()
    };
    let (missing, extra) = (only(&listed, &folders), only(&folders, &listed));
    if missing.is_empty() && extra.is_empty() {
        return Ok(listed);
    }
    let mut what = Vec::new();
    if !missing.is_empty() {
        what.push(format!("{} of its classes have no images in train/ ({})", missing.len(), some(&missing)));
    }
    if !extra.is_empty() {
        what.push(format!("{} folders of train/ are not in it ({})", extra.len(), some(&extra)));
    }
    let error = Error::data(source.path().join("wnids.txt"), what.join("; "));
    Err(error.with_help("the source is not complete: get it again, or make wnids.txt list the classes that are there"))
}

fn train_split(
    source: &Source,
    settings: &Settings,
    classes: &[Class],
    train: &BTreeMap<&str, Vec<&Entry>>,
    problems: &mut Vec<Problem>,
) -> Result<SplitLayout> {
    let mut images = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let path = format!("train/{0}/{0}_boxes.txt", class.wnid);
        let text = optional_text(source, &path)?;
        let boxes = annotations::boxes(&text).unwrap_or_else(|reason| {
            problems.push(Problem { path, reason });
            HashMap::new()
        });
        let entries = train.get(&class.wnid[..]).map_or(&[][..], Vec::as_slice); // sorted, as all entries are
        for entry in entries.iter().take(settings.per_class.unwrap_or(usize::MAX)) {
            let file = file_name(entry);
            images.push(image(entry, file, Some(label), boxes.get(file).copied()));
        }
    }
    Ok(SplitLayout { name: "train", labelled: true, images })
}

fn val_split(source: &Source, classes: &[Class], all: &[String], problems: &mut Vec<Problem>) -> Result<SplitLayout> {
    const ANNOTATIONS: &str = "val/val_annotations.txt";
    let Some(list) = source.find(ANNOTATIONS) else {
        return Err(Error::data(source.path(), format!("there is no {ANNOTATIONS}: val has no labels")));
    };
    let text = source.read_text(list)?;
    let annotated = annotations::val(&text).map_err(|e| Error::data(source.path().join(ANNOTATIONS), e))?;
    let mut images = Vec::new();
    let mut seen = 0;
    for entry in source.entries() {
        let ["val", "images", file] = parts(entry)[..] else { continue };
        if !is_image(file) {
            continue;
        }
        let mut problem = |reason: String| problems.push(Problem { path: entry.path.clone(), reason });
        match annotated.get(file) {
            None => problem(format!("is not in {ANNOTATIONS}")),
            Some((wnid, bounds)) => {
                seen += 1;
                if let Ok(label) = classes.binary_search_by(|c| c.wnid.as_str().cmp(wnid)) {
                    images.push(image(entry, file, Some(label), *bounds));
                } else if all.binary_search_by(|w| w.as_str().cmp(wnid)).is_err() {
                    problem(format!("has the class `{}`, which train/ does not have", wnid.escape_debug()));
                }
            }
        }
    }
    if seen < annotated.len() {
        let mut missing: Vec<&str> = annotated.keys().copied().collect();
        missing.retain(|file| source.find(&format!("val/images/{file}")).is_none());
        missing.sort_unstable();
        problems.extend(missing.into_iter().map(|file| Problem {
            path: format!("val/images/{}", file.escape_debug()),
            reason: format!("is missing, though {ANNOTATIONS} lists it"),
        }));
    }
    if images.is_empty() && problems.is_empty() {
        return Err(Error::data(source.path(), "there is no image in val/images/"));
    }
    images.sort_by(|a, b| (a.label, &a.file).cmp(&(b.label, &b.file)));
    Ok(SplitLayout { name: "val", labelled: true, images })
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

fn is_image(file: &str) -> bool {
    file.rsplit_once('.').is_some_and(|(_, e)| e.eq_ignore_ascii_case("jpeg") || e.eq_ignore_ascii_case("jpg"))
}

/// The text of a file that may be missing.
fn optional_text(source: &Source, path: &str) -> Result<String> {
    source.find(path).map_or_else(|| Ok(String::new()), |entry| source.read_text(entry))
}

/// The first few of a list, for a message.
fn some(list: &[String]) -> String {
    let more = if list.len() > 5 { ", ..." } else { "" };
    format!("{}{more}", list[..list.len().min(5)].join(", "))
}
