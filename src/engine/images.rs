//! The images of a split, as an engine is given them.

use std::sync::Arc;

/// Bytes that stay where they are: usually a memory map.
pub type Pixels = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// The images of one split where they lie: u8 RGB, [count, height, width, 3]. Cloning shares the pixels.
#[derive(Clone)]
pub struct Images {
    /// All pixels.
    pub pixels: Pixels,
    /// Number of images.
    pub count: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// A class index an image; empty where the split has no labels.
    pub labels: Arc<[u32]>,
}
