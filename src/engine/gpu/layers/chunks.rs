//! How sums over the pixels of a batch are cut: an invocation adds up a chunk of pixels for four channels, a second
//! kernel joins the chunks. The cut follows from the shape alone, so the order of a sum does too.

use crate::vgg::Shape;

/// Vectors of four channels of a pixel, the last one padded.
pub const fn quads(channels: usize) -> usize {
    channels.div_ceil(4)
}

/// Pixels of a chunk: few enough for one f32 sum, and enough chunks at small batches to fill a card.
pub const fn chunk(pixels: usize) -> usize {
    let quarter = pixels / 4;
    if quarter < 32 {
        32
    } else if quarter > 256 {
        256
    } else {
        quarter
    }
}

/// Chunks of `samples` maps of `pixels` each.
pub const fn chunks(pixels: usize, samples: usize) -> usize {
    (pixels * samples).div_ceil(chunk(pixels))
}

/// The map that 2x2 pooling leaves.
pub const fn pooled(shape: Shape) -> Shape {
    Shape::new(shape.height / 2, shape.width / 2, shape.channels)
}
