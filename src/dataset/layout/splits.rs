//! The images of train, val and test: which files they are, with labels and boxes, and what lies there and is not taken.

use std::collections::{HashMap, HashSet};

use super::reader::{Image, Images, LEFT_OUT, Reader, SplitLayout, file_name, parts, some};
use crate::dataset::annotations::{self, Annotated, Bounds, stem};
use crate::dataset::choice;
use crate::dataset::finding::{Problem, Severity};
use crate::dataset::manifest::{Class, HeldOut};
use crate::dataset::names::{ANNOTATIONS, is_image};
use crate::dataset::source::{Entry, Source};
use crate::error::{Error, Result};

/// The images of train by class, each with the name that it will have, sorted.
pub fn images_of_train(source: &Source) -> Images<'_> {
    let mut train = Images::new();
    for entry in source.entries() {
        if let ["train", class, inside @ ..] = &parts(entry)[..]
            && let Some(file) = file_of(inside)
        {
            train.entry(class).or_default().push((file, entry));
        }
    }
    train.values_mut().for_each(|images| images.sort_by(|(a, _), (b, _)| a.cmp(b)));
    train
}

impl Reader<'_> {
    /// Train, and what of it is held out as val where there is none.
    pub fn train(
        &mut self,
        classes: &[Class],
        ranks: &[usize],
        train: &Images,
    ) -> Result<(SplitLayout, Option<SplitLayout>)> {
        let held_out = self.held_out()?;
        let (mut images, mut held, mut single) = (Vec::new(), Vec::new(), Vec::new());
        for (label, (class, rank)) in classes.iter().zip(ranks).enumerate() {
            let path = format!("train/{0}/{0}_boxes.txt", class.wnid);
            let text = self.optional_text(&path)?;
            let Annotated { files: boxes, wrong } = annotations::boxes(&text);
            self.problems
                .extend(wrong.into_iter().map(|reason| Problem::error("annotation-unreadable", &path, reason)));
            let entries = train.get(&class.wnid[..]).map_or(&[][..], Vec::as_slice);
            if self.source.find(&path).is_some() {
                let without = entries.iter().filter(|(_, e)| !boxes.contains_key(stem(file_name(e))));
                let warning =
                    |(_, e): &(String, &Entry)| Problem::warning("box-missing", &e.path, format!("is not in {path}"));
                self.problems.extend(without.map(warning));
                let there: HashSet<&str> = entries.iter().map(|(_, e)| stem(file_name(e))).collect();
                for file in missing(&boxes, &there) {
                    let reason = format!("has a line about `{}`, which is not there", file.escape_debug());
                    self.problems.push(Problem::warning("box-extra", &path, reason));
                }
            }
            let image = |index: usize| {
                let (file, entry) = &entries[index];
                image(entry, file, Some(label), boxes.get(stem(file_name(entry))).map(|(_, bounds)| *bounds))
            };
            let kept: Vec<usize> = match held_out {
                None => (0..entries.len()).collect(),
                Some(HeldOut { share, seed }) => {
                    let out = choice::held_out(&class.wnid, entries.len(), share, seed);
                    single.extend(out.is_empty().then(|| class.name.clone()));
                    held.extend(out.iter().map(|index| image(*index)));
                    (0..entries.len()).filter(|index| out.binary_search(index).is_err()).collect()
                }
            };
            let taken = choice::images(self.settings, *rank, kept.len());
            images.extend(taken.into_iter().map(|index| image(kept[index])));
        }
        let val = held_out.map(|held_out| self.say_held_out(held_out, held, &single)).transpose()?;
        Ok((SplitLayout { name: "train", labelled: true, images }, val))
    }

    /// The share of train that becomes val: none where the source has a val.
    fn held_out(&self) -> Result<Option<HeldOut>> {
        let has_val = self.source.entries().iter().any(|entry| {
            entry.place.starts_with("val/") && (entry.place.ends_with(ANNOTATIONS) || is_image(&entry.place))
        });
        match (has_val, self.settings.val_share) {
            (true, Some(_)) => Err(Error::usage("--val-share takes images of train for val, but the source has a val")
                .with_help("leave the flag out, or take the folder val out of the source")),
            (true, None) => Ok(None),
            (false, share) => {
                let (share, seed) = (share.unwrap_or(choice::VAL_SHARE), self.settings.seed.unwrap_or_default());
                Ok(Some(HeldOut { share, seed }))
            }
        }
    }

    fn say_held_out(&mut self, held_out: HeldOut, images: Vec<Image>, single: &[String]) -> Result<SplitLayout> {
        if images.is_empty() {
            let what = "has no val, and no class has two images, so that none can be held out as val";
            return Err(
                Error::data(self.source.path(), what).with_help("add images, or a folder val with class folders")
            );
        }
        let HeldOut { share, seed } = held_out;
        self.notes.push(format!(
            "there is no val: {} images, a share of {share} of each class, were held out of train by seed {seed} \
             (--val-share, --seed)",
            images.len()
        ));
        if !single.is_empty() {
            self.notes.push(format!("val has no image of a class that has but one: {}", some(single)));
        }
        self.held_out = Some(held_out);
        Ok(SplitLayout { name: "val", labelled: true, images })
    }

    /// Labels are those of val_annotations.txt or, where images are sorted, of their folders; they must not differ.
    pub fn val(&mut self, classes: &[Class], all: &[String]) -> Result<SplitLayout> {
        let list = format!("val/{ANNOTATIONS}");
        let entry = self.source.find(&list);
        let text = entry.map_or_else(|| Ok(String::new()), |entry| self.source.read_text(entry))?;
        let path = entry.map_or(&list[..], |entry| &entry.path);
        let Annotated { files: annotated, wrong } = annotations::val(&text);
        self.problems.extend(wrong.into_iter().map(|reason| Problem::error("annotation-unreadable", path, reason)));

        let (mut images, mut sorted, mut unlabelled) = (Vec::new(), 0, 0);
        let mut there = HashSet::new();
        for entry in self.source.entries() {
            let parts = parts(entry);
            let ["val", inside @ ..] = &parts[..] else { continue };
            let (Some(file), of_folder) = (match inside {
                [file] | ["images", file] => (file_of(&[*file]), None),
                [class, inside @ ..] => (file_of(inside), Some(*class)),
                [] => continue,
            }) else {
                continue;
            };
            let stem = stem(file_name(entry));
            there.insert(stem);
            sorted += usize::from(of_folder.is_some());
            let line = annotated.get(stem).map(|(_, line)| line);
            let mut problem = |code, reason: String| self.problems.push(Problem::error(code, &entry.path, reason));
            let wnid = match (of_folder, line) {
                (Some(folder), Some((wnid, _))) if folder != *wnid => {
                    problem("annotation-class", format!("lies in the class `{folder}`, but {path} has `{wnid}`"));
                    continue;
                }
                (Some(wnid), _) => wnid,
                (None, Some((wnid, _))) => *wnid,
                (None, None) if self.source.find(&list).is_none() => {
                    unlabelled += 1;
                    continue;
                }
                (None, None) => {
                    problem("annotation-missing", format!("is not in {path}"));
                    continue;
                }
            };
            if let Ok(label) = classes.binary_search_by(|c| c.wnid.as_str().cmp(wnid)) {
                images.push(image(entry, &file, Some(label), line.and_then(|(_, bounds)| *bounds)));
            } else if self.settings.classes.is_none() && all.binary_search_by(|w| w.as_str().cmp(wnid)).is_err() {
                let what = format!("has the class `{}`, which train/ does not have", wnid.escape_debug());
                problem("annotation-class", what);
            }
        }
        for file in missing(&annotated, &there) {
            let reason = format!("is missing, though {path} lists it");
            let path =
                format!("{}/images/{}", path.trim_end_matches(ANNOTATIONS).trim_end_matches('/'), file.escape_debug());
            self.problems.push(Problem::error("annotation-extra", path, reason));
        }
        if unlabelled > 0 {
            let what = format!("there is no {path}: val has no labels");
            let help = "add that list, sort the images of val into class folders, or take val out of the source: then some of \
                        train are held out for it";
            return Err(Error::data(self.source.path(), what).with_help(help));
        }
        if images.is_empty() && self.problems.iter().all(|p| p.severity != Severity::Error) {
            return Err(Error::data(self.source.path(), "there is no image in val/images/"));
        }
        if sorted > 0 {
            self.notes.push("val is sorted into class folders already".into());
        }
        let seen: HashSet<Option<usize>> = images.iter().map(|image| image.label).collect();
        let unseen = classes.iter().enumerate().filter(|(label, _)| !seen.contains(&Some(*label)));
        let unseen: Vec<String> = unseen.map(|(_, class)| class.name.clone()).collect();
        if !unseen.is_empty() && !images.is_empty() {
            self.notes.push(format!("val has no image of {} classes: {}", unseen.len(), some(&unseen)));
        }
        images.sort_by(|a, b| (a.label, &a.file).cmp(&(b.label, &b.file)));
        Ok(SplitLayout { name: "val", labelled: true, images })
    }

    /// Test has labels where all of it lies in folders of train's classes, else none.
    pub fn test(&mut self, classes: &[Class], all: &[String]) -> SplitLayout {
        let of_class = |entry: &Entry| match parts(entry)[..] {
            ["test", "images", ..] | ["test", _] => None,
            ["test", class, ..] => Some(class.to_owned()),
            _ => None,
        };
        let in_test = self.source.entries().iter().filter(|e| e.place.starts_with("test/") && is_image(&e.place));
        let entries: Vec<&Entry> = in_test.collect();
        let labelled =
            !entries.is_empty() && entries.iter().all(|e| of_class(e).is_some_and(|c| all.binary_search(&c).is_ok()));
        let mut images = Vec::new();
        for entry in entries {
            let parts = parts(entry);
            if !labelled {
                images.extend(file_of(&parts[1..]).map(|file| image(entry, &file, None, None)));
            } else if let Ok(label) = classes.binary_search_by(|class| class.wnid.as_str().cmp(parts[1])) {
                images.extend(file_of(&parts[2..]).map(|file| image(entry, &file, Some(label), None)));
            }
        }
        if labelled {
            self.notes.push("test is sorted into class folders: it has labels".into());
        }
        images.sort_by(|a, b| (a.label, &a.file).cmp(&(b.label, &b.file)));
        SplitLayout { name: "test", labelled, images }
    }

    /// What lies in the class folders and is no image by its name, of the classes that are taken.
    pub fn leave_out(&mut self, classes: &[Class]) {
        let taken = |name: &str| classes.binary_search_by(|class| class.wnid.as_str().cmp(name)).is_ok();
        for entry in self.source.entries() {
            let parts = parts(entry);
            let image = parts.last().is_some_and(|file| is_image(file));
            let reason = match &parts[..] {
                ["train", _] if image => "lies in no class folder",
                ["train", class, file] if *file == format!("{class}_boxes.txt") => continue,
                ["train" | "val" | "test", folder, _, ..] if !image && (*folder == "images" || taken(folder)) => {
                    "is no image by its name"
                }
                _ => continue,
            };
            self.problems.push(Problem::warning(LEFT_OUT, &entry.path, reason));
        }
    }
}

/// The name that an image in a class folder will have: a folder `images` is not part of it, other folders are.
fn file_of(inside: &[&str]) -> Option<String> {
    let inside = match inside {
        ["images", rest @ ..] if !rest.is_empty() => rest,
        _ => inside,
    };
    inside.last().filter(|file| is_image(file)).map(|_| inside.join("_"))
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
