//! What a look at all images gave.

use super::duplicates::Pixels;
use super::look::Look;
use crate::dataset::decode::Size;

/// What a look at all images gave, to be compared.
pub struct Seen<'a> {
    pub looks: Vec<Look>,
    pub size: Size,
    pub pixels: Box<Pixels<'a>>,
}
