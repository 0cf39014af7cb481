//! What unit tests need beside what they are about: numbers, images, packs. Small, and the same for all.

use std::sync::Arc;

use crate::dataset::pack_writer::PackHeader;
use crate::engine::Images;

/// Values without pattern in -1..1.
pub fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect()
}

/// Images without labels, of `pixels` [count, height, width, 3].
pub fn images(pixels: Vec<u8>, height: usize, width: usize) -> Images {
    let count = pixels.len() / (3 * height * width);
    Images { pixels: Arc::new(pixels), count, height, width, labels: Arc::new([]) }
}

/// A split of one image of one pixel, of the only class; labelled, unless it is test.
pub fn pack_header(split: &str) -> PackHeader {
    PackHeader {
        split: split.into(),
        synthetic: false,
        height: 1,
        width: 1,
        wnids: vec!["n1".into()],
        names: vec!["one".into()],
        files: vec!["file".into()],
        labels: (split != "test").then(|| vec![0]),
        boxes: None,
    }
}
