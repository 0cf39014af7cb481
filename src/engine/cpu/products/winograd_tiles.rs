//! Where Winograd's tiles and their transformed values lie, and the transforms of one tile between the two.

use super::product::GROUP;
use super::shape::Convolution;
use super::winograd_transforms::{MOST_POINTS, Points, Size, gradient, input, output};
use crate::engine::cpu::plumbing::buffer::Shared;
use crate::engine::cpu::plumbing::simd::InstructionSet;

/// `channels` in whole groups.
pub fn rounded(channels: usize) -> usize {
    channels.next_multiple_of(GROUP)
}

/// How the transformed values of some tiles lie: point p of channel c of tile t at
/// `p * point + c / 16 * group + t * tile + c % 16`. One group more than needed separates points, and groups or tiles,
/// so that they do not share sets of the cache.
#[derive(Clone, Copy)]
pub struct Grid {
    pub size: Size,
    pub point: usize,
    pub group: usize,
    pub tile: usize,
}

impl Grid {
    /// A tile's channels follow each other: what a product reads row by row.
    pub fn rows(size: Size, tiles: usize, channels: usize) -> Self {
        let tile = rounded(channels) + GROUP;
        Self { size, point: tiles * tile + GROUP, group: GROUP, tile }
    }

    /// A group's tiles follow each other: what a product over tiles reads.
    pub fn groups(size: Size, tiles: usize, channels: usize) -> Self {
        let group = tiles * GROUP + GROUP;
        Self { size, point: channels.div_ceil(GROUP) * group + GROUP, group, tile: GROUP }
    }

    /// Floats of all points.
    pub fn len(&self) -> usize {
        self.size.points() * self.point
    }
}

/// Transformed values of some tiles, and how they lie.
#[derive(Clone, Copy)]
pub struct Transformed<'a> {
    pub values: &'a Shared<'a>,
    pub grid: Grid,
}

impl Transformed<'_> {
    /// Where tile `t` starts, with all of its `channels` inside.
    fn points(&self, t: usize, channels: usize) -> Points {
        let Grid { size, point, group, tile } = self.grid;
        let start = t * tile;
        let last = (size.points() - 1) * point + (channels - 1) / GROUP * group + (channels - 1) % GROUP;
        assert!(start + last < self.values.len());
        Points { data: self.values.at(start), point, group }
    }
}

/// Activations, or their gradient, of which tiles are read.
#[derive(Clone, Copy)]
pub struct TileSource<'a> {
    /// [pixels, channels].
    pub values: &'a [f32],
    pub channels: usize,
    /// The tile that counts as the first.
    pub first: usize,
}

/// Where the results of tiles go: some channels of y.
#[derive(Clone, Copy)]
pub struct TileDestination<'a> {
    /// [pixels, all channels].
    pub y: &'a Shared<'a>,
    pub all: usize,
    /// The first of the channels, and how many.
    pub channel: usize,
    pub channels: usize,
    /// The tile that counts as the first.
    pub first: usize,
    /// Of all channels.
    pub bias: Option<&'a [f32]>,
    pub relu: bool,
}

/// The tiles of a batch's output, counted row by row over all images.
#[derive(Clone, Copy, Debug)]
pub struct Tiles {
    pub size: Size,
    height: usize,
    width: usize,
    /// Rows of tiles of an image.
    pub down: usize,
    /// Tiles of a row.
    pub across: usize,
    set: InstructionSet,
}

impl Tiles {
    pub fn new(shape: &Convolution, size: Size) -> Self {
        let Convolution { height, width, set, .. } = *shape;
        Self { size, height, width, down: height.div_ceil(size.output()), across: width.div_ceil(size.output()), set }
    }

    /// Tiles of a batch of `pixels` pixels.
    pub fn of(&self, pixels: usize) -> usize {
        pixels / (self.height * self.width) * self.down * self.across
    }

    /// Calls `each(index, pixel)` for the pixels of a window of `side` rows and columns that starts `margin` ahead of
    /// tile `t`, in row-major order, with the pixel's index into [n * h * w], or `None` outside of the image.
    #[inline(always)]
    fn pixels(&self, t: usize, side: usize, margin: usize, mut each: impl FnMut(usize, Option<usize>)) {
        let (line, across) = (t / self.across, t % self.across);
        let (image, down) = (line / self.down, line % self.down);
        for r in 0..side {
            let y = (self.size.output() * down + r).wrapping_sub(margin);
            let start = (image * self.height).wrapping_add(y).wrapping_mul(self.width);
            for s in 0..side {
                let x = (self.size.output() * across + s).wrapping_sub(margin);
                each(side * r + s, (y < self.height && x < self.width).then(|| start.wrapping_add(x)));
            }
        }
    }

    /// V of tile `t` of activations `from`, with `zeros` for pixels outside of an image, becomes tile `t` of `to`.
    pub fn input(&self, from: TileSource<'_>, t: usize, zeros: &[f32], to: Transformed<'_>) {
        let TileSource { values, channels, first } = from;
        let mut pixels = [zeros[..channels].as_ptr(); MOST_POINTS];
        self.pixels(first + t, self.size.input(), 1, |index, pixel| {
            if let Some(pixel) = pixel {
                pixels[index] = values[pixel * channels..][..channels].as_ptr();
            }
        });
        // SAFETY: each pixel has all channels, the points lie within `to`, and each task has tiles of its own.
        unsafe { input(self.set, self.size, &pixels, channels, to.points(t, channels)) };
    }

    /// A dy A^T of tile `t` of a gradient `from` becomes tile `t` of `to`.
    pub fn gradient(&self, from: TileSource<'_>, t: usize, zeros: &[f32], to: Transformed<'_>) {
        let TileSource { values, channels, first } = from;
        let mut pixels = [zeros[..channels].as_ptr(); MOST_POINTS];
        self.pixels(first + t, self.size.output(), 0, |index, pixel| {
            if let Some(pixel) = pixel {
                pixels[index] = values[pixel * channels..][..channels].as_ptr();
            }
        });
        // SAFETY: as for the input.
        unsafe { gradient(self.set, self.size, &pixels, channels, to.points(t, channels)) };
    }

    /// Tile `t` of the products `from` becomes tile `t` of `to`, with bias and ReLU where asked.
    pub fn output(&self, from: Transformed<'_>, t: usize, to: TileDestination<'_>) {
        let TileDestination { y, all, channel, channels, first, bias, relu } = to;
        assert!(channel + channels <= all);
        let mut pixels = [std::ptr::null_mut(); MOST_POINTS];
        self.pixels(first + t, self.size.output(), 0, |index, pixel| {
            if let Some(pixel) = pixel {
                assert!((pixel + 1) * all <= y.len());
                pixels[index] = y.at(pixel * all + channel);
            }
        });
        let bias = bias.map_or(std::ptr::null(), |bias| bias[channel..][..channels].as_ptr());
        // SAFETY: the points lie within `from`, the pixels within y and the bias has as many floats as channels; no other
        // task has these channels of these pixels.
        unsafe { output(self.set, self.size, from.points(t, channels), channels, bias, relu, &pixels) };
    }
}
