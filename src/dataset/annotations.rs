//! The text files of the layout: wnids.txt, words.txt, `<wnid>_boxes.txt`, val_annotations.txt.
//!
//! Parses text, touches no file. A line that cannot be read is told with its number, never skipped in silence.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

/// x0, y0, x1, y1 in pixels; the last row and column are included.
pub type Bounds = [i16; 4];

/// What is wrong with a box in an image of `size` (rows, columns), for people; `None` where nothing is.
pub fn fault(bounds: Bounds, (rows, columns): (usize, usize)) -> Option<&'static str> {
    let [x0, y0, x1, y1] = bounds.map(i64::from);
    if x0 > x1 || y0 > y1 {
        Some("is inverted")
    } else if x0 < 0 || y0 < 0 || x1 >= columns as i64 || y1 >= rows as i64 {
        Some("is not inside the image")
    } else {
        None
    }
}

/// The wnids of wnids.txt, sorted.
pub fn wnids(text: &str) -> Result<Vec<String>, String> {
    let mut wnids: Vec<String> = lines(text).map(|(_, line)| line.trim().to_owned()).collect();
    wnids.sort();
    match wnids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("`{}` stands twice", pair[0])),
        None => Ok(wnids),
    }
}

/// The first name of each wnid in words.txt: of `n01443537<TAB>goldfish, Carassius auratus` it is `goldfish`.
pub fn names(text: &str) -> HashMap<&str, &str> {
    lines(text)
        .filter_map(|(_, line)| line.split_once('\t'))
        .map(|(wnid, names)| (wnid.trim(), names.split(',').next().unwrap_or_default().trim()))
        .filter(|(_, name)| !name.is_empty())
        .collect()
}

/// All names of each wnid in words.txt.
pub fn synonyms(text: &str) -> HashMap<&str, Vec<&str>> {
    let lines = lines(text).filter_map(|(_, line)| line.split_once('\t'));
    let names = lines.map(|(wnid, names)| (wnid.trim(), names.split(',').map(str::trim)));
    names.map(|(wnid, names)| (wnid, names.filter(|name| !name.is_empty()).collect())).collect()
}

/// The wnids of words.txt, whatever their names.
pub fn named(text: &str) -> HashSet<&str> {
    lines(text).filter_map(|(_, line)| line.split_once('\t')).map(|(wnid, _)| wnid.trim()).collect()
}

/// What lines say about files, and what is wrong with others, by number.
#[derive(Debug, PartialEq, Eq)]
pub struct Annotated<'a, T> {
    /// By [`stem`], with the whole file name.
    pub files: HashMap<&'a str, (&'a str, T)>,
    /// "line 3 cannot be read: ..."
    pub wrong: Vec<String>,
}

/// A `<wnid>_boxes.txt`: file name -> box.
pub fn boxes(text: &str) -> Annotated<'_, Bounds> {
    annotated(text, |fields| match fields {
        [file, bounds @ ..] => Some((file, parse_bounds(bounds)?)),
        [] => None,
    })
}

/// val_annotations.txt: file name -> wnid and, where it has one, box.
pub fn val(text: &str) -> Annotated<'_, (&str, Option<Bounds>)> {
    annotated(text, |fields| match fields {
        [file, wnid] => Some((file, (*wnid, None))),
        [file, wnid, bounds @ ..] => Some((file, (*wnid, Some(parse_bounds(bounds)?)))),
        _ => None,
    })
}

/// A line's fields, separated by tabs -> file name and what is said about it; the first line about a file counts.
fn annotated<'a, T>(text: &'a str, parse: impl Fn(&[&'a str]) -> Option<(&'a str, T)>) -> Annotated<'a, T> {
    let mut result = Annotated { files: HashMap::new(), wrong: Vec::new() };
    for (number, line) in lines(text) {
        let fields: Vec<&str> = line.split('\t').collect();
        match parse(&fields) {
            None => result.wrong.push(format!("line {number} cannot be read: `{}`", line.escape_debug())),
            Some((file, said)) => match result.files.entry(stem(file)) {
                Entry::Vacant(place) => {
                    place.insert((file, said));
                }
                Entry::Occupied(_) => {
                    result.wrong.push(format!("line {number}: `{}` stands twice", file.escape_debug()))
                }
            },
        }
    }
    result
}

/// A file's name without its extension: images that were converted keep their lines.
pub fn stem(file: &str) -> &str {
    file.rsplit_once('.').map_or(file, |(stem, _)| stem)
}

/// The lines that are not empty, with their numbers from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, line)| (i + 1, line.trim_end())).filter(|(_, line)| !line.is_empty())
}

fn parse_bounds(fields: &[&str]) -> Option<Bounds> {
    let numbers: Vec<i16> = fields.iter().map(|f| f.trim().parse().ok()).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_what_they_say() {
        assert_eq!(wnids("n2\nn1\r\n\nn3").unwrap(), ["n1", "n2", "n3"]);
        assert!(wnids("n1\nn2\nn1\n").unwrap_err().contains("`n1` stands twice"));
        let words = names("n1\tgoldfish, Carassius auratus\nn2\tcrane\nn3\t\nbroken\n");
        assert_eq!((words["n1"], words["n2"], words.get("n3")), ("goldfish", "crane", None));
        assert_eq!(boxes("a.JPEG\t0\t10\t63\t58\n").files["a"], ("a.JPEG", [0, 10, 63, 58]));
        let annotations = val("v0\tn1\t1\t2\t3\t4\r\nv1\tn2\n").files;
        assert_eq!(annotations["v0"].1, ("n1", Some([1, 2, 3, 4])));
        assert_eq!(annotations["v1"].1, ("n2", None));
    }

    #[test]
    fn broken_lines_are_all_named() {
        assert_eq!(boxes("a\t0\t10\t63\n").wrong, ["line 1 cannot be read: `a\\t0\\t10\\t63`"]);
        let some = boxes("a\t0\t0\t1\t1\nb\t0\tx\t1\t1\n\nc\n");
        assert_eq!(some.files.len(), 1);
        assert!(some.wrong[0].starts_with("line 2 ") && some.wrong[1].starts_with("line 4 ") && some.wrong.len() == 2);
        assert_eq!(val("v0\tn1\nv1\n").wrong.len(), 1);
        assert_eq!(val("v0\tn1\t1\t2\t3\t99999\n").wrong.len(), 1);
        let twice = val("v0\tn1\nv0\tn2\n");
        assert_eq!(
            (twice.files["v0"].1, &twice.wrong[..]),
            (("n1", None), &["line 2: `v0` stands twice".to_owned()][..])
        );
    }

    #[test]
    fn boxes_are_held_to_the_image() {
        assert_eq!(fault([0, 0, 63, 31], (32, 64)), None);
        assert_eq!(fault([0, 0, 64, 31], (32, 64)), Some("is not inside the image"));
        assert_eq!(fault([0, -1, 63, 31], (32, 64)), Some("is not inside the image"));
        assert_eq!(fault([5, 0, 4, 31], (32, 64)), Some("is inverted"));
    }
}
