//! Classes as a user asks for them, and what they are called.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files;

/// What `--classes` says. In JSON a number or a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Classes {
    /// So many: the first sorted wnids, or drawn by the seed.
    Count(usize),
    /// These, by wnid, folder or readable name as they were given, sorted.
    Named(Vec<String>),
}

impl Classes {
    /// A number from 1 on, a file with a class in each line (`#` begins a comment), or classes with commas between.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(count) = text.parse() {
            return if count == 0 { Err("there must be at least one class".into()) } else { Ok(Self::Count(count)) };
        }
        let path = Path::new(text);
        let mut names: Vec<String> = if path.is_file() {
            let text = files::read_to_string(path).map_err(|e| e.to_string())?;
            let lines = text.strip_prefix('\u{feff}').unwrap_or(&text).lines();
            let lines = lines.map(|line| line.split('#').next().unwrap_or_default());
            // What stands after a tab, as in words.txt, is for people.
            lines.map(|line| line.split('\t').next().unwrap_or_default().trim().to_owned()).collect()
        } else if text.contains(['/', '\\']) {
            return Err(format!("`{text}` is neither a file nor a number nor names of classes"));
        } else {
            text.split(',').map(|name| name.trim().to_owned()).collect()
        };
        names.retain(|name| !name.is_empty());
        names.sort();
        names.dedup();
        if names.is_empty() { Err("it names no class".into()) } else { Ok(Self::Named(names)) }
    }
}

/// What is wrong with the name of a class folder, for people.
pub fn class_name_fault(name: &str) -> Option<&'static str> {
    name.contains(char::is_control).then_some("has a line break, a tab or the like in it")
}

/// Whether classes are called by WordNet ids such as `n01443537`, as those of ImageNet are.
pub fn are_of_wordnet(classes: &[impl AsRef<str>]) -> bool {
    let is_wnid =
        |name: &str| name.len() == 9 && name.starts_with('n') && name[1..].bytes().all(|b| b.is_ascii_digit());
    classes.iter().all(|class| is_wnid(class.as_ref()))
}
