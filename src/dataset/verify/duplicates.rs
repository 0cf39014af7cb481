//! Images that stand in a data set more than once: across splits (what is learnt is then tested), across classes
//! (contradicting labels), within a class.
//!
//! Exact: the same pixels, found by hash and then compared. Whether the files have the same bytes too is said.

use std::collections::HashMap;

use super::look::Look;
use crate::dataset::finding::{Findings, Group, Severity};

/// Reads the pixels of an image again.
pub type Pixels<'a> = dyn Fn(&Look) -> Option<Vec<u8>> + Sync + 'a;

/// How the images of a group lie to each other, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spread {
    /// In more than one split.
    Splits,
    /// In one split, under several labels.
    Classes,
    /// In one class, or in a split without labels.
    Within,
}

impl Spread {
    pub const ALL: [Self; 3] = [Self::Splits, Self::Classes, Self::Within];

    pub fn of(group: &[&Look]) -> Self {
        let all = |same: &dyn Fn(&Look, &Look) -> bool| group.windows(2).all(|pair| same(pair[0], pair[1]));
        if !all(&|a, b| a.split == b.split) {
            Self::Splits
        } else if !all(&|a, b| a.label == b.label) {
            Self::Classes
        } else {
            Self::Within
        }
    }

    /// For a message.
    pub fn words(self) -> &'static str {
        match self {
            Self::Splits => "across splits (leakage)",
            Self::Classes => "across classes",
            Self::Within => "within a class",
        }
    }
}

/// Adds a finding for each spread, and returns the groups as indices into `looks`.
pub fn check(looks: &[Look], pixels: &Pixels, findings: &mut Findings) -> Vec<Vec<usize>> {
    let groups = same_pixels(looks, pixels);
    for spread in Spread::ALL {
        let (mut listed, mut images, mut same_bytes, mut contradicting) = (Vec::new(), 0, 0, 0);
        for group in &groups {
            let members: Vec<&Look> = group.iter().map(|i| &looks[*i]).collect();
            if Spread::of(&members) != spread {
                continue;
            }
            let bytes = members.iter().all(|m| m.bytes.is_some() && m.bytes == members[0].bytes);
            let labels: Vec<usize> = members.iter().filter_map(|m| m.label).collect();
            images += members.len();
            same_bytes += usize::from(bytes);
            contradicting += usize::from(labels.windows(2).any(|pair| pair[0] != pair[1]));
            let mut files: Vec<String> = members.iter().map(|m| m.file.clone()).collect();
            files.sort();
            listed.push(Group { distance: None, same_bytes: bytes, files });
        }
        let (severity, code) = match spread {
            Spread::Splits => (Severity::Warning, "duplicate-splits"),
            Spread::Classes => (Severity::Warning, "duplicate-classes"),
            Spread::Within => (Severity::Note, "duplicate-within"),
        };
        let groups = if listed.len() == 1 { "1 group".into() } else { format!("{} groups", listed.len()) };
        let mut message = format!("{groups} of the same pixels {}: {images} images", spread.words());
        if same_bytes > 0 {
            message += &format!(", {same_bytes} groups with the same bytes");
        }
        if spread == Spread::Splits && contradicting > 0 {
            message += &format!(", {contradicting} groups with different labels");
        }
        findings.add_groups(severity, code, message, listed);
    }
    groups
}

/// Groups of two or more, each ascending.
fn same_pixels(looks: &[Look], pixels: &Pixels) -> Vec<Vec<usize>> {
    let mut by_hash: HashMap<u64, Vec<usize>> = HashMap::new();
    for (index, look) in looks.iter().enumerate() {
        by_hash.entry(look.measures.hash).or_default().push(index);
    }
    let mut groups = Vec::new();
    for candidates in by_hash.into_values().filter(|group| group.len() > 1) {
        // Equal hashes of different pixels are next to impossible, and sorted out here.
        let mut distinct: Vec<(Vec<u8>, Vec<usize>)> = Vec::new();
        for index in candidates {
            let Some(pixels) = pixels(&looks[index]) else { continue };
            match distinct.iter_mut().find(|(known, _)| *known == pixels) {
                Some((_, group)) => group.push(index),
                None => distinct.push((pixels, vec![index])),
            }
        }
        groups.extend(distinct.into_iter().map(|(_, group)| group).filter(|group| group.len() > 1));
    }
    groups.sort();
    groups
}
