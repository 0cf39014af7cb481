//! Train images that also stand in val or test: the same pixels, whatever the files' bytes.
//!
//! Finds them by their hashes and compares the pixels themselves. Drops nothing.

use std::collections::HashMap;

use super::fill::Filled;
use crate::dataset::finding::Problem;
use crate::dataset::layout::SplitLayout;
use crate::error::Result;

/// By index in train, with what each is the same as. `others` are val and test.
pub fn find(
    (train, filled): (&SplitLayout, &Filled),
    others: &[(SplitLayout, Filled)],
) -> Result<Vec<(usize, Problem)>> {
    let mut by_hash: HashMap<u64, Vec<(&Filled, &SplitLayout, usize)>> = HashMap::new();
    for (split, filled) in others {
        for (index, hash) in filled.hashes.iter().enumerate() {
            by_hash.entry(*hash).or_default().push((filled, split, index));
        }
    }
    let mut leaks = Vec::new();
    for (index, hash) in filled.hashes.iter().enumerate() {
        for (other, split, at) in by_hash.get(hash).into_iter().flatten() {
            if filled.writer.read(index)? == other.writer.read(*at)? {
                let reason = format!("has the same pixels as {}", split.images[*at].entry.path);
                leaks.push((index, Problem::error("duplicate-leak", &train.images[index].entry.path, reason)));
                break;
            }
        }
    }
    Ok(leaks)
}
