//! Which classes and train images of a source are taken: all, the first so many, those that are named, or so many drawn
//! by a seed.
//!
//! Chooses among what the layout found; never invents a class. The order stays that of the source.

use std::collections::HashMap;
use std::path::Path;

use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;

use super::classes::Classes;
use super::fingerprint;
use super::manifest::PrepareSettings;
use crate::error::{Error, Result};

/// Ranks of the chosen classes among `all`, which are sorted; `names` has the readable names of some. Errors: more than
/// there are, a name that is not there or is the name of several.
pub fn classes(
    settings: &PrepareSettings,
    all: &[String],
    names: &HashMap<&str, Vec<&str>>,
    source: &Path,
) -> Result<Vec<usize>> {
    let there = || format!("{} has {} classes", source.display(), all.len());
    match &settings.classes {
        None => Ok((0..all.len()).collect()),
        Some(Classes::Count(count)) if *count > all.len() => {
            Err(Error::usage(format!("--classes {count}: {}", there())))
        }
        Some(Classes::Count(count)) => Ok(drawn(settings.seed, 0, all.len(), *count)),
        Some(Classes::Named(given)) => {
            let rank =
                |name: &String| rank_of(name, all, names).map_err(|why| Error::usage(why.replace("{there}", &there())));
            let mut ranks = given.iter().map(rank).collect::<Result<Vec<_>>>()?;
            ranks.sort_unstable();
            ranks.dedup();
            Ok(ranks)
        }
    }
}

/// The rank of the class that is called so: by its folder; by the first of its readable names; by any of them; by the
/// first word of a line that goes on.
fn rank_of(given: &str, all: &[String], names: &HashMap<&str, Vec<&str>>) -> Result<usize, String> {
    if let Ok(rank) = all.binary_search_by(|class| class.as_str().cmp(given)) {
        return Ok(rank);
    }
    let wanted = given.to_lowercase();
    let of = |class: &String| names.get(&class[..]).map_or(&[][..], Vec::as_slice);
    let by = |is: &dyn Fn(&String) -> bool| (0..all.len()).filter(|rank| is(&all[*rank])).collect::<Vec<_>>();
    let like = |name: &str| name.to_lowercase() == wanted;
    for found in [
        by(&|class| like(class)),
        by(&|class| of(class).first().is_some_and(|name| like(name))),
        by(&|class| of(class).iter().any(|name| like(name))),
    ] {
        match found[..] {
            [] => {}
            [rank] => return Ok(rank),
            _ => {
                let several: Vec<String> =
                    found.iter().map(|rank| format!("{} ({})", all[*rank], of(&all[*rank]).join(", "))).collect();
                let given = given.escape_debug();
                return Err(format!("--classes: `{given}` is the name of several classes: {}", several.join("; ")));
            }
        }
    }
    if let Some((first, _)) = given.split_once(char::is_whitespace)
        && let Ok(rank) = all.binary_search_by(|class| class.as_str().cmp(first))
    {
        return Ok(rank);
    }
    let known = all.iter().map(String::as_str).chain(all.iter().flat_map(|class| of(class).iter().copied()));
    let near = known.min_by_key(|name| strsim::levenshtein(&name.to_lowercase(), &wanted));
    let near = near.map_or_else(String::new, |near| format!("; the nearest is `{near}`"));
    Err(format!("--classes: there is no class `{}`: {{there}}{near}", given.escape_debug()))
}

/// The share of train that becomes val where a source has none, unless another is asked for.
pub const VAL_SHARE: f64 = 0.1;

/// Which of a class's images are held out as val, ascending: a share of them, of two and more at least one, and never all.
/// The same for the same class, number, share and seed, whatever other classes there are.
pub fn held_out(class: &str, there: usize, share: f64, seed: u64) -> Vec<usize> {
    if there < 2 {
        return Vec::new();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of `there`")]
    let wanted = ((there as f64 * share).round() as usize).clamp(1, there - 1);
    drawn(Some(seed), fingerprint::hash(class.as_bytes()), there, wanted)
}

/// Indices of the chosen train images of a class that has `there` of them; `class` is its rank among all of the source,
/// so that another choice of classes leaves the images of each as they were.
pub fn images(settings: &PrepareSettings, class: usize, there: usize) -> Vec<usize> {
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
        let mut settings = PrepareSettings { per_class: Some(5), ..PrepareSettings::default() };
        assert_eq!(images(&settings, 3, 100), [0, 1, 2, 3, 4]);
        settings.seed = Some(1);
        let drawn = images(&settings, 3, 100);
        assert_eq!(drawn, images(&settings, 3, 100));
        assert!(drawn.is_sorted() && drawn.len() == 5 && drawn != [0, 1, 2, 3, 4]);
        assert_ne!(drawn, images(&settings, 4, 100), "each class draws its own");
        assert_eq!(images(&settings, 3, 4), [0, 1, 2, 3]);
        let all: Vec<String> = (0..9).map(|i| format!("n{i}")).collect();
        settings.classes = Some(Classes::Named(vec!["n7".into(), "n9".into()]));
        let error = classes(&settings, &all, &HashMap::new(), Path::new("a.zip")).unwrap_err().to_string();
        assert!(error.contains("no class `n9`") && error.contains("a.zip has 9 classes"), "{error}");
    }

    #[test]
    fn classes_go_by_their_readable_names_too() {
        let all = ["Große Katze", "n1", "n2", "n3"].map(str::to_owned);
        let words = "n1\tgoldfish, Carassius auratus\nn2\tcrane\nn3\tcrane, bird\n";
        let names = super::super::annotations::synonyms(words);
        let rank = |given: &str| rank_of(given, &all, &names);
        assert_eq!(["n1", "Goldfish", "carassius AURATUS", "n1 goldfish"].map(rank), [const { Ok(1) }; 4]);
        assert_eq!((rank("große katze"), rank("bird")), (Ok(0), Ok(3)));
        let several = rank("crane").unwrap_err();
        assert!(several.contains("n2 (crane); n3 (crane, bird)"), "{several}");
        assert!(rank("goldfisch").unwrap_err().contains("the nearest is `goldfish`"));
    }

    #[test]
    fn some_of_each_class_are_held_out_and_never_all() {
        let counts = [0, 1, 2, 3, 10, 100].map(|there| held_out("cat", there, 0.1, 0).len());
        assert_eq!(counts, [0, 0, 1, 1, 1, 10]);
        assert_eq!((held_out("cat", 4, 0.99, 0).len(), held_out("cat", 20, 0.25, 0).len()), (3, 5));
        let some = held_out("cat", 100, 0.1, 0);
        assert!(some.is_sorted() && some == held_out("cat", 100, 0.1, 0));
        assert_ne!(some, held_out("cat", 100, 0.1, 1), "another seed, others");
        assert_ne!(some, held_out("dog", 100, 0.1, 0), "each class draws its own");
    }
}
