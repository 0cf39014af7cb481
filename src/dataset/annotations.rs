//! The text files of the layout: wnids.txt, words.txt, `<wnid>_boxes.txt`, val_annotations.txt.
//!
//! Parses text, touches no file. A line that cannot be read is an error with its number, never skipped.

use std::collections::HashMap;

/// x0, y0, x1, y1 in pixels, all inside the image.
pub type Bounds = [i16; 4];

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

/// A `<wnid>_boxes.txt`: file name -> box.
pub fn boxes(text: &str) -> Result<HashMap<&str, Bounds>, String> {
    lines(text)
        .map(|(number, line)| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [file, bounds @ ..] = &fields[..] else { return Err(unreadable(number, line)) };
            Ok((*file, parse_bounds(bounds).ok_or_else(|| unreadable(number, line))?))
        })
        .collect()
}

/// val_annotations.txt: file name -> wnid and, where it has one, box.
pub fn val(text: &str) -> Result<HashMap<&str, (&str, Option<Bounds>)>, String> {
    let mut all = HashMap::new();
    for (number, line) in lines(text) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [file, wnid, bounds @ ..] = &fields[..] else { return Err(unreadable(number, line)) };
        let bounds = match bounds {
            [] => None,
            bounds => Some(parse_bounds(bounds).ok_or_else(|| unreadable(number, line))?),
        };
        if all.insert(*file, (*wnid, bounds)).is_some() {
            return Err(format!("line {number}: `{file}` stands twice"));
        }
    }
    Ok(all)
}

/// The lines that are not empty, with their numbers from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, line)| (i + 1, line.trim_end())).filter(|(_, line)| !line.is_empty())
}

fn parse_bounds(fields: &[&str]) -> Option<Bounds> {
    let numbers: Vec<i16> = fields.iter().map(|f| f.trim().parse().ok()).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

fn unreadable(number: usize, line: &str) -> String {
    format!("line {number} cannot be read: `{}`", line.escape_debug())
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
        assert_eq!(boxes("a.JPEG\t0\t10\t63\t58\n").unwrap()["a.JPEG"], [0, 10, 63, 58]);
        let annotations = val("v0\tn1\t1\t2\t3\t4\r\nv1\tn2\n").unwrap();
        assert_eq!(annotations["v0"], ("n1", Some([1, 2, 3, 4])));
        assert_eq!(annotations["v1"], ("n2", None));
    }

    #[test]
    fn broken_lines_are_named() {
        assert!(boxes("a\t0\t10\t63\n").unwrap_err().contains("line 1"));
        assert!(boxes("a\t0\t0\t1\t1\nb\t0\tx\t1\t1\n").unwrap_err().contains("line 2"));
        assert!(val("v0\tn1\nv1\n").unwrap_err().contains("line 2"));
        assert!(val("v0\tn1\t1\t2\t3\t99999\n").is_err());
        assert!(val("v0\tn1\nv0\tn2\n").unwrap_err().contains("twice"));
    }
}
