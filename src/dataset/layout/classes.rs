//! Which classes there are, by train's folders; which of them are taken; what they are called.

use super::reader::{Images, Reader, count, some};
use crate::dataset::classes::{Classes, are_of_wordnet, class_name_fault};
use crate::dataset::finding::Problem;
use crate::dataset::manifest::Class;
use crate::dataset::{annotations, choice};
use crate::error::{Error, Result};

const WORDS: &str = "words.txt";
const LIST: &str = "wnids.txt";
/// As many classes as a help names one by one.
const MOST_NAMED: usize = 12;

impl Reader<'_> {
    /// All classes of the source (the sorted names of train's folders), and the ranks of those that are taken.
    pub fn classes(&mut self, train: &Images) -> Result<(Vec<String>, Vec<usize>, Vec<Class>)> {
        let all: Vec<String> = train.keys().map(|name| (*name).to_owned()).collect();
        if all.is_empty() {
            return Err(Error::data(self.source.path(), "there is no image in train/<wnid>/images/"));
        }
        if let Some((odd, fault)) = all.iter().find_map(|name| Some((name, class_name_fault(name)?))) {
            let what = format!("the folder `{}` cannot be a class: its name {fault}", odd.escape_debug());
            return Err(Error::data(self.source.path(), what).with_help("rename the folder"));
        }
        let words = self.optional_text(WORDS)?;
        let names = annotations::names(&words);
        let name = |class: &String| names.get(&class[..]).unwrap_or(&&class[..]).to_string();
        let listed = self.listed()?;
        let chosen = choice::classes(self.settings, &all, &annotations::synonyms(&words), self.source.path());
        let chosen = chosen.map_err(|error| self.without_images(error, &all, &listed))?;
        self.compare_with_list(&all, &listed);
        self.compare_with_words(&all, &words);
        self.empty_folders(&all);
        let classes = chosen.iter().map(|rank| Class { wnid: all[*rank].clone(), name: name(&all[*rank]) }).collect();
        Ok((all, chosen, classes))
    }

    /// The sorted wnids of wnids.txt, where there is one that can be read.
    fn listed(&mut self) -> Result<Option<Vec<String>>> {
        let Some(list) = self.source.find(LIST) else { return Ok(None) };
        match annotations::wnids(&self.source.read_text(list)?) {
            Ok(listed) => Ok(Some(listed)),
            Err(reason) => {
                self.problems.push(Problem::of_the_whole("class-list", LIST, reason));
                Ok(None)
            }
        }
    }

    /// Says of a class that was named and is not there if the list has it.
    fn without_images(&self, error: Error, all: &[String], listed: &Option<Vec<String>>) -> Error {
        let Some(Classes::Named(names)) = &self.settings.classes else { return error };
        let empty = |name: &&String| {
            let in_list = listed.as_ref().is_some_and(|listed| listed.binary_search(name).is_ok());
            (in_list || self.source.class_folders().contains(*name)) && all.binary_search(name).is_err()
        };
        match names.iter().find(empty) {
            Some(name) => Error::usage(format!("--classes: `{}` has no images in train/", name.escape_debug()))
                .with_help("leave it out, or add its images to the source"),
            None => error,
        }
    }

    /// wnids.txt should have the folders of train. Where classes are chosen, the others do not matter.
    fn compare_with_list(&mut self, all: &[String], listed: &Option<Vec<String>>) {
        let Some(listed) = listed.as_ref().filter(|_| self.settings.classes.is_none()) else { return };
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|w| those.binary_search(w).is_err()).cloned().collect()
        };
        let (missing, extra) = (only(listed, all), only(all, listed));
        if !missing.is_empty() {
            let what = format!("{} of its classes have no images in train/ ({})", missing.len(), some(&missing));
            self.problems.push(Problem::of_the_whole("class-list", LIST, what));
            let whole: Vec<&str> = all.iter().filter(|w| listed.binary_search(w).is_ok()).map(String::as_str).collect();
            let given = if whole.len() > MOST_NAMED || whole.iter().any(|w| w.contains([',', ' '])) {
                "FILE, a file with a class in each line".to_owned()
            } else {
                whole.join(",")
            };
            self.help = Some(format!("prepare the classes that are whole with --classes {given}"));
        }
        if !extra.is_empty() {
            let what = format!("{} folders of train/ are not in it ({})", extra.len(), some(&extra));
            self.problems.push(Problem::of_the_whole("class-list", LIST, what));
        }
    }

    fn compare_with_words(&mut self, all: &[String], words: &str) {
        if self.source.find(WORDS).is_none() {
            if are_of_wordnet(all) {
                let reason = "is missing: classes are called by their wnids";
                self.problems.push(Problem::warning("class-names", WORDS, reason));
            }
            return;
        }
        let listed = annotations::named(words);
        let missing: Vec<String> = all.iter().filter(|w| !listed.contains(&w[..])).cloned().collect();
        if !missing.is_empty() {
            let reason = format!("has no line about {} ({})", count(missing.len(), "class"), some(&missing));
            self.problems.push(Problem::warning("class-names", WORDS, reason));
        }
    }

    /// Folders in train without an image are no classes; torchvision's `ImageFolder` would fail on them.
    fn empty_folders(&mut self, all: &[String]) {
        let empty = self.source.class_folders().iter().filter(|name| all.binary_search(name).is_err());
        let problems: Vec<Problem> = empty
            .filter(|_| self.settings.classes.is_none())
            .map(|name| Problem::warning(super::LEFT_OUT, format!("train/{name}/"), "has no images: it is no class"))
            .collect();
        self.problems.extend(problems);
    }
}
