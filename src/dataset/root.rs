//! Where in a zip or folder the data begins, which of its folders is which split, and where a data folder may have a
//! source.
//!
//! Looks at names only. A root has a folder `train`, or folders of images for each class. What systems leave, and what
//! is hidden, is not there.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::inventory::owned_split;
use super::manifest::{Manifest, SPLITS};
use super::names::{ANNOTATIONS, LISTS, OFFICIAL_URL, is_image, is_wanted};
use crate::error::{Error, Result};
use crate::files::fs;

/// What the folder of a split may be called, in any case; of several, the first that has images is read. `val_` is what
/// some scripts call a val that they have sorted.
const NAMES: [(&str, &[&str]); 3] = [
    ("train", &["train", "training", "train_set"]),
    ("val", &["val", "val_", "valid", "validation", "val_set"]),
    ("test", &["test", "testing", "test_set"]),
];

/// Where the demo set is drawn, in its data folder. Never taken for a source that was found: it would pass for photographs.
pub const DEMO: &str = "tiny-imagenet-demo";

/// How the folders of a source stand for splits and classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// What stands before all that is read: nothing, or folders with `/` behind each.
    pub root: String,
    /// What was found under another name, for people.
    pub notes: Vec<String>,
    /// The folders of the splits, as they are called here and as everywhere else.
    splits: Vec<(String, &'static str)>,
    /// Where val's list lies, if not in the folder of its images.
    annotations: Option<String>,
    /// The folders of the root are classes of train.
    flat: bool,
}

impl Form {
    /// The form of a source with files of these names. An error says for people why it has none.
    pub fn of(names: &[&str]) -> Result<Self, String> {
        let mut files: Vec<Vec<&str>> = names.iter().map(|name| name.split('/').collect()).collect();
        files.retain(|parts| parts.iter().all(|part| is_wanted(part)));
        let images: Vec<&Vec<&str>> = files.iter().filter(|parts| parts.last().is_some_and(|f| is_image(f))).collect();
        let mut roots: BTreeSet<&[&str]> = BTreeSet::new();
        for parts in &images {
            // The last such folder with a class below it: people also have train/train/<class>/.
            let is_root = |at: &usize| split_of(parts[*at]) == Some("train") && parts.len() - at >= 3;
            roots.extend((0..parts.len()).rev().find(is_root).map(|at| &parts[..at]));
        }
        let Some(depth) = roots.iter().map(|root| root.len()).min() else { return Self::of_classes(&files, &images) };
        let mut roots = roots.into_iter().filter(|root| root.len() == depth);
        let root = roots.next().unwrap_or_default();
        if let Some(second) = roots.next() {
            return Err(format!(
                "there are several data sets in it, such as {}/ and {}/",
                root.join("/"),
                second.join("/")
            ));
        }
        Ok(Self::with_splits(root, &files, false))
    }

    /// Without a folder of train: class folders, the parts of all names after what is common to them.
    fn of_classes(files: &[Vec<&str>], images: &[&Vec<&str>]) -> Result<Self, String> {
        let folders: BTreeSet<&[&str]> = images.iter().map(|parts| &parts[..parts.len() - 1]).collect();
        let (Some(first), Some(last)) = (folders.first(), folders.last()) else {
            let there: Vec<String> = files.iter().take(3).map(|parts| parts.join("/")).collect();
            let more = if files.len() > 3 { ", ..." } else { "" };
            let archive = files.iter().find(|parts| parts.last().is_some_and(|file| is_archive(file)));
            return Err(match archive {
                Some(parts) => {
                    format!("there are no images in it, but another archive, {}: unpack that", parts.join("/"))
                }
                None if there.is_empty() => "there are no files in it".into(),
                None => format!("there are no images in it, only {}{more}", there.join(", ")),
            });
        };
        if folders.len() == 1
            && let Some(class) = first.last()
        {
            return Err(format!("there is one class folder only, {class}; there must be two"));
        }
        // Sorted: what is common to the first and the last is common to all.
        let common = first.iter().zip(*last).take_while(|(a, b)| a == b).count();
        let classes: BTreeSet<&str> = folders.iter().filter_map(|f| f.get(common)).copied().collect();
        let classes: Vec<&str> = classes.into_iter().filter(|class| split_of(class).is_none()).collect();
        match classes.len() {
            0 => Err("its images lie in no class folders; each class needs a folder of its own, and there must be two"
                .into()),
            1 => Err(format!("there is one class folder only, {}; there must be two", classes[0])),
            _ => Ok(Self::with_splits(&first[..common], files, true)),
        }
    }

    fn with_splits(root: &[&str], files: &[Vec<&str>], flat: bool) -> Self {
        let mut form = Self { root: root.iter().map(|part| format!("{part}/")).collect(), flat, ..Self::default() };
        if flat {
            form.notes.push("there is no folder train/: each folder of images is taken for a class".into());
        }
        let below: Vec<&[&str]> = files.iter().filter_map(|p| p.strip_prefix(root)).filter(|p| !p.is_empty()).collect();
        for (split, names) in NAMES {
            let there = below.iter().filter(|parts| parts.len() > 1 && split_of(parts[0]) == Some(split));
            let with_images =
                |folder: &str| below.iter().any(|p| p[0] == folder && p.last().is_some_and(|f| is_image(f)));
            let rank = |name: &str| names.iter().position(|known| known.eq_ignore_ascii_case(name));
            let there: BTreeSet<&str> = there.map(|parts| parts[0]).collect();
            let mut there: Vec<&str> = there.into_iter().collect();
            there.sort_by_key(|name| (!with_images(name), rank(name), *name));
            let Some((&taken, others)) = there.split_first() else { continue };
            let others: Vec<String> = others.iter().filter(|o| with_images(o)).map(|o| format!("{o}/")).collect();
            let instead =
                if others.is_empty() { String::new() } else { format!(", and {} is left out", others.join(" and ")) };
            if taken != split || !others.is_empty() {
                form.notes.push(format!("{split} is read from {taken}/{instead}"));
            }
            if split == "val" {
                let list = |folder: &&str| below.iter().any(|p| p[..] == [*folder, ANNOTATIONS]);
                let list = there.iter().find(|folder| list(folder)).filter(|folder| **folder != taken);
                form.annotations = list.map(|folder| format!("{folder}/{ANNOTATIONS}"));
            }
            form.splits.push((taken.to_owned(), split));
        }
        form
    }

    /// Where a file has its place in the usual layout, such as `train/<class>/<file>`; nothing where it is not read. `below`
    /// is its name below the root.
    pub fn place(&self, below: &str) -> Option<String> {
        if LISTS.contains(&below) {
            return Some(below.to_owned());
        }
        if self.annotations.as_deref() == Some(below) {
            return Some(format!("val/{ANNOTATIONS}"));
        }
        if !below.split('/').all(is_wanted) {
            return None;
        }
        let (first, rest) = below.split_once('/')?;
        match self.splits.iter().find(|(name, _)| name == first) {
            Some((_, split)) => Some(format!("{split}/{rest}")),
            None if self.flat && split_of(first).is_none() => Some(format!("train/{below}")),
            None => None,
        }
    }

    /// The class of train whose folder this is, if it is one.
    pub fn class_of_folder(&self, below: &str) -> Option<String> {
        let inside = self.place(&format!("{}/x", below.trim_end_matches('/')))?;
        match inside.split('/').collect::<Vec<_>>()[..] {
            ["train", class, _] => Some(class.to_owned()),
            _ => None,
        }
    }
}

/// The split that a folder is called by.
fn split_of(folder: &str) -> Option<&'static str> {
    let known = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(folder));
    NAMES.iter().find(|(_, names)| known(names)).map(|(split, _)| *split)
}

fn is_archive(file: &str) -> bool {
    const ENDS: [&str; 9] = ["zip", "tar", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar"];
    file.rsplit_once('.').is_some_and(|(_, end)| ENDS.iter().any(|known| end.eq_ignore_ascii_case(known)))
}

/// Whether the folder has `train/<class>/images`, or images in `train/<class>`. Errors: there is a `train` that cannot be read.
pub fn is_layout(folder: &Path) -> Result<bool> {
    let below = |folder: &Path| fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let class = |path: PathBuf| path.join("images").is_dir() || below(&path).any(|path| is_image(&name(&path)));
    for train in below(folder).filter(|path| split_of(&name(path)) == Some("train") && path.is_dir()) {
        let classes = fs::read_dir(&train).map_err(|e| Error::io("cannot read", &train, e))?;
        if classes.filter_map(|entry| Some(entry.ok()?.path())).any(class) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The error where there is no layout, with the reason.
pub fn not_there(path: &Path, why: &str) -> Error {
    Error::data(path, format!("not in the layout of Tiny ImageNet, nor one of own images: {why}")).with_help(format!(
        "own images lie in a folder for each class, train/<class>/ or <class>/; the layout of {OFFICIAL_URL} is \
         train/<wnid>/images/, val/images/, val/{ANNOTATIONS}, test/images/, wnids.txt and words.txt, in one folder"
    ))
}

/// Whether class folders in a data folder are what `prepare` wrote, not its owner's.
pub fn has_prepared_folders(data: &Path) -> bool {
    Manifest::load(data).is_ok_and(|m| SPLITS.iter().any(|split| owned_split(&m, split).is_some()))
}

/// The source to use when none was named: `tiny-imagenet-200.zip` or folder `tiny-imagenet-200` in the data folder,
/// or the only other zip or folder there that has the layout and is not what `prepare` writes itself, or the data folder, where
/// the archive was unpacked straight into it. `None` where there is nothing.
pub fn find(data: &Path) -> Result<Option<PathBuf>> {
    for name in ["tiny-imagenet-200.zip", "tiny-imagenet-200"] {
        let path = data.join(name);
        if path.exists() {
            return Ok(Some(path));
        }
    }
    let ours = ["train", "val", "test", "packs", "demo", DEMO];
    let is_ours = |name: &OsStr| {
        let text = name.to_string_lossy();
        ours.iter().any(|o| name == *o) || text.ends_with(".partial") || text.ends_with(".replaced")
    };
    let mut found: Vec<PathBuf> = fs::read_dir(data)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| {
            if path.is_dir() {
                !path.file_name().is_some_and(is_ours) && is_layout(path).unwrap_or(false)
            } else {
                path.extension().is_some_and(|e| e.eq_ignore_ascii_case("zip"))
            }
        })
        .collect();
    if !has_prepared_folders(data) && is_layout(data)? {
        found.push(data.to_path_buf());
    }
    found.sort();
    match &found[..] {
        [one] => Ok(Some(one.clone())),
        [] => Ok(None),
        several => {
            let names: Vec<String> = several.iter().map(|p| p.display().to_string()).collect();
            Err(Error::usage(format!("there are several sources: {}", names.join(", ")))
                .with_help("choose with --source"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(names: &[&str]) -> Vec<String> {
        let form = Form::of(names).unwrap();
        names.iter().filter_map(|name| form.place(name.strip_prefix(&form.root)?)).collect()
    }

    #[test]
    fn splits_are_found_under_their_names_at_any_depth() {
        let official = ["train/n1/images/a.JPEG", "val/images/b.JPEG", "val/val_annotations.txt", "words.txt"];
        assert_eq!(places(&official), official);
        let moved: Vec<String> = official.iter().map(|name| format!("a b/c/{name}")).collect();
        assert_eq!(places(&moved.iter().map(String::as_str).collect::<Vec<_>>()), official);
        let others = ["Training/Katze/1.JPG", "Training/Hund/1.jpg", "valid/Hund/2.jpg", "Test/x.png", "notes.txt"];
        assert_eq!(places(&others), ["train/Katze/1.JPG", "train/Hund/1.jpg", "val/Hund/2.jpg", "test/x.png"]);
        assert_eq!(places(&["train/train/a/1.jpg", "train/train/b/1.jpg"]), ["train/a/1.jpg", "train/b/1.jpg"]);
        assert_eq!(places(&["train/train/1.jpg", "train/car/1.jpg"]), ["train/train/1.jpg", "train/car/1.jpg"]);
        let form = Form::of(&["train/a/1.jpg", "train/b/1.jpg", "valid/a/2.jpg", "val/val_annotations.txt"]).unwrap();
        assert_eq!(form.place("val/val_annotations.txt").unwrap(), "val/val_annotations.txt");
        assert_eq!(form.notes, ["val is read from valid/"]);
    }

    #[test]
    fn class_folders_alone_are_train() {
        let names =
            ["pets/the cat/1.jpg", "pets/dog/sub/2.webp", "pets/test/3.jpg", "pets/.x/4.jpg", "pets/@eaDir/5.jpg"];
        assert_eq!(places(&names), ["train/the cat/1.jpg", "train/dog/sub/2.webp", "test/3.jpg"]);
        let form = Form::of(&names).unwrap();
        assert_eq!(form.class_of_folder("empty/"), Some("empty".into()));
        assert_eq!((form.class_of_folder("dog/sub"), form.class_of_folder("test")), (None, None));
        for (names, why) in [
            (&["1.jpg", "2.jpg"][..], "no class folders"),
            (&["cat/1.jpg", "cat/2.jpg"], "one class folder only, cat"),
            (&["cat/1.jpg", "test/2.jpg"], "one class folder only, cat"),
            (&["in/tiny.zip", "readme.txt"], "another archive, in/tiny.zip"),
            (&["readme.txt"], "only readme.txt"),
            (&[], "no files"),
            (&["a/train/x/1.jpg", "b/train/x/1.jpg"], "a/ and b/"),
        ] {
            assert!(Form::of(names).unwrap_err().contains(why), "{names:?}: {:?}", Form::of(names));
        }
    }
}
