//! The sizes that a network sees its images in while it is trained: one, or several in turn, small ones first, which cost less
//! (progressive resizing; Tan & Le 2021, section 4.1).
//!
//! It knows nothing of engines; `session` opens a new one where the size changes.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::vgg::Network;

/// Sizes, each with the epochs that are done ahead of it, from none on. In text `64`, or `32:0,48:40,64:70`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sizes(Vec<(usize, usize)>);

impl Sizes {
    /// One size for all epochs.
    pub fn one(size: usize) -> Self {
        Self(vec![(size, 0)])
    }

    /// The size of the trained network.
    pub fn last(&self) -> usize {
        self.0.last().map_or_else(|| Network::default().image_size, |(size, _)| *size)
    }

    /// The size of `epoch`, from 1.
    pub fn at(&self, epoch: usize) -> usize {
        self.0.iter().rev().find(|(_, done)| *done < epoch).map_or_else(|| self.last(), |(size, _)| *size)
    }

    /// Epochs that are done before the last size; 0 for one size.
    pub fn before_last(&self) -> usize {
        self.0.last().map_or(0, |(_, done)| *done)
    }

    /// Itself, where there are several.
    pub fn several(&self) -> Option<Self> {
        (self.0.len() > 1).then(|| self.clone())
    }
}

impl Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(size, 0)] = self.0[..] {
            return write!(f, "{size}");
        }
        let each: Vec<String> = self.0.iter().map(|(size, done)| format!("{size}:{done}")).collect();
        f.write_str(&each.join(","))
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form =
            "choose PIXELS, or PIXELS:EPOCHS,... with the epochs that are done ahead of each size: 32:0,48:40,64:70";
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| form.to_owned());
        let mut sizes = Vec::new();
        for part in text.split(',') {
            let (size, done) = match part.split_once(':') {
                Some((size, done)) => (number(size)?, number(done)?),
                None if !text.contains(',') => (number(part)?, 0),
                None => return Err(form.to_owned()),
            };
            if !Network::IMAGE_SIZES.contains(&size) {
                let (least, most) = (Network::IMAGE_SIZES.start(), Network::IMAGE_SIZES.end());
                return Err(format!(
                    "choose from {least} to {most} pixels; the nearest is {}",
                    size.clamp(*least, *most)
                ));
            }
            match sizes.last() {
                None if done > 0 => return Err(format!("the first size begins at 0 epochs, not at {done}")),
                Some((_, before)) if done <= *before => {
                    return Err(format!("{size} pixels at {done} epochs cannot follow a size at {before}"));
                }
                _ => sizes.push((size, done)),
            }
        }
        Ok(Self(sizes))
    }
}

impl TryFrom<String> for Sizes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Sizes> for String {
    fn from(sizes: Sizes) -> Self {
        sizes.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_each_other() {
        let sizes: Sizes = "32:0,48:40,64:70".parse().expect("sizes");
        assert_eq!([1, 40, 41, 70, 71, 300].map(|epoch| sizes.at(epoch)), [32, 32, 48, 48, 64, 64]);
        assert_eq!((sizes.last(), sizes.before_last(), sizes.to_string()), (64, 70, "32:0,48:40,64:70".into()));
        assert_eq!(sizes.several(), Some(sizes));
        let one: Sizes = "64".parse().expect("a size");
        assert_eq!((one.clone(), one.at(1), one.several(), one.to_string()), (Sizes::one(64), 64, None, "64".into()));
        assert_eq!("64:0".parse(), Ok(one));
    }

    #[test]
    fn what_is_no_list_of_sizes_says_why() {
        for (text, part) in [
            ("31", "the nearest is 32"),
            ("5000", "the nearest is 4096"),
            ("big", "32:0,48:40,64:70"),
            ("32,64", "32:0,48:40,64:70"),
            ("32:5,64:9", "at 0 epochs"),
            ("32:0,64:0", "cannot follow"),
            ("32:0,48:9,64:4", "cannot follow"),
            ("", "PIXELS"),
            ("32:0,", "PIXELS"),
        ] {
            let error = text.parse::<Sizes>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
