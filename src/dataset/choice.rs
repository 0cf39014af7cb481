//! Which classes and train images of a source are taken: all, the first so many, those that are named, or so many drawn
//! by a seed.
//!
//! Chooses among what the layout found; never invents a class. The order stays that of the source.

use std::path::Path;

use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::manifest::Settings;
use crate::error::{Error, Result};
use crate::files;

/// What `--classes` says. In JSON a number or a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Classes {
    /// So many: the first sorted wnids, or drawn by the seed.
    Count(usize),
    /// These wnids, sorted.
    Named(Vec<String>),
}

impl Classes {
    /// A number from 1 on, a file that begins each line with a wnid (`#` begins a comment), or wnids with commas between.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(count) = text.parse() {
            return if count == 0 { Err("there must be at least one class".into()) } else { Ok(Self::Count(count)) };
        }
        let path = Path::new(text);
        let mut wnids: Vec<String> = if path.is_file() {
            let text = files::read_to_string(path).map_err(|e| e.to_string())?;
            let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
            lines.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
        } else {
            let names: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
            if let Some(odd) = names.iter().find(|name| !is_class_name(name)) {
                return Err(format!("`{odd}` is neither a file nor a number nor a wnid such as n01443537"));
            }
            names.into_iter().map(str::to_owned).collect()
        };
        wnids.sort();
        wnids.dedup();
        if wnids.is_empty() { Err("it names no class".into()) } else { Ok(Self::Named(wnids)) }
    }
}

/// Whether a class folder may have this name: letters, digits, `_` and `-`.
pub fn is_class_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

/// Ranks of the chosen classes among `all`, which are sorted. Errors: more than there are, or a name that is not there.
pub fn classes(settings: &Settings, all: &[String], source: &Path) -> Result<Vec<usize>> {
    let there = || format!("{} has {} classes", source.display(), all.len());
    match &settings.classes {
        None => Ok((0..all.len()).collect()),
        Some(Classes::Count(count)) if *count > all.len() => {
            Err(Error::usage(format!("--classes {count}: {}", there())))
        }
        Some(Classes::Count(count)) => Ok(drawn(settings.seed, 0, all.len(), *count)),
        Some(Classes::Named(names)) => names
            .iter()
            .map(|name| {
                all.binary_search(name).map_err(|_| {
                    let near = all.iter().min_by_key(|wnid| strsim::levenshtein(wnid, name));
                    let near = near.map_or_else(String::new, |near| format!("; the nearest is `{near}`"));
                    Error::usage(format!("--classes: there is no class `{}`: {}{near}", name.escape_debug(), there()))
                })
            })
            .collect(),
    }
}

/// Indices of the chosen train images of a class that has `there` of them; `class` is its rank among all of the source,
/// so that another choice of classes leaves the images of each as they were.
pub fn images(settings: &Settings, class: usize, there: usize) -> Vec<usize> {
    let wanted = settings.per_class.unwrap_or(there).min(there);
    drawn(settings.seed, class as u64 + 1, there, wanted)
}

/// `wanted` of 0..`there`, ascending: the first, or with a seed any.
fn drawn(seed: Option<u64>, stream: u64, there: usize, wanted: usize) -> Vec<usize> {
    let Some(seed) = seed else { return (0..wanted).collect() };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    let mut chosen = index::sample(&mut rng, there, wanted).into_vec();
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_a_number_a_list_or_a_file() {
        let named = |names: &[&str]| Ok(Classes::Named(names.iter().map(|n| (*n).to_owned()).collect()));
        assert_eq!(Classes::parse("10"), Ok(Classes::Count(10)));
        assert_eq!(Classes::parse("n2,n1, n2,"), named(&["n1", "n2"]));
        assert!(Classes::parse("0").is_err() && Classes::parse(",").is_err());
        assert!(Classes::parse("../nowhere.txt").unwrap_err().contains("neither a file"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# mine\nn3\tgoldfish, Carassius\n\nn1 # first\n").unwrap();
        assert_eq!(Classes::parse(file.path().to_str().unwrap()), named(&["n1", "n3"]));
    }

    #[test]
    fn a_seed_draws_and_none_takes_the_first() {
        let mut settings = Settings { per_class: Some(5), ..Settings::default() };
        assert_eq!(images(&settings, 3, 100), [0, 1, 2, 3, 4]);
        settings.seed = Some(1);
        let drawn = images(&settings, 3, 100);
        assert_eq!(drawn, images(&settings, 3, 100));
        assert!(drawn.is_sorted() && drawn.len() == 5 && drawn != [0, 1, 2, 3, 4]);
        assert_ne!(drawn, images(&settings, 4, 100), "each class draws its own");
        assert_eq!(images(&settings, 3, 4), [0, 1, 2, 3]);
        let all: Vec<String> = (0..9).map(|i| format!("n{i}")).collect();
        settings.classes = Some(Classes::Named(vec!["n7".into(), "n9".into()]));
        let error = classes(&settings, &all, Path::new("a.zip")).unwrap_err().to_string();
        assert!(error.contains("no class `n9`") && error.contains("a.zip has 9 classes"), "{error}");
    }
}
