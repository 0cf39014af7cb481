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

    /// Where tile `t` of `values` starts, with all of its `channels` inside.
    fn points(&self, values: &Shared<'_>, t: usize, channels: usize) -> Points {
        let start = t * self.tile;
        let last = (self.size.points() - 1) * self.point + (channels - 1) / GROUP * self.group + (channels - 1) % GROUP;
        assert!(start + last < values.len());
        Points { data: values.at(start), point: self.point, group: self.group }
    }
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

    /// V of tile `t + first` of x [pixels, c] becomes tile `t` of `to`.
    #[expect(clippy::too_many_arguments, reason = "a tile of a source and of a destination")]
    pub fn input(&self, x: &[f32], c: usize, first: usize, t: usize, zeros: &[f32], to: &Shared<'_>, grid: Grid) {
        let mut pixels = [zeros[..c].as_ptr(); MOST_POINTS];
        self.pixels(first + t, self.size.input(), 1, |index, pixel| {
            if let Some(pixel) = pixel {
                pixels[index] = x[pixel * c..][..c].as_ptr();
            }
        });
        // SAFETY: each pixel has c floats, the points lie within `to`, and each task has tiles of its own.
        unsafe { input(self.set, self.size, &pixels, c, grid.points(to, t, c)) };
    }

    /// A dy A^T of tile `t + first` of dy [pixels, c] becomes tile `t` of `to`.
    #[expect(clippy::too_many_arguments, reason = "a tile of a source and of a destination")]
    pub fn gradient(&self, dy: &[f32], c: usize, first: usize, t: usize, zeros: &[f32], to: &Shared<'_>, grid: Grid) {
        let mut pixels = [zeros[..c].as_ptr(); MOST_POINTS];
        self.pixels(first + t, self.size.output(), 0, |index, pixel| {
            if let Some(pixel) = pixel {
                pixels[index] = dy[pixel * c..][..c].as_ptr();
            }
        });
        // SAFETY: as for the input.
        unsafe { gradient(self.set, self.size, &pixels, c, grid.points(to, t, c)) };
    }

    /// Tile `t` of the products `from`, of `count` channels, becomes channels `channel ..` of tile `t + first` of
    /// y [pixels, c], with bias and ReLU where asked.
    #[expect(clippy::too_many_arguments, reason = "a tile of a source and of a destination")]
    pub fn output(
        &self,
        from: &Shared<'_>,
        grid: Grid,
        t: usize,
        first: usize,
        c: usize,
        channel: usize,
        count: usize,
        bias: Option<&[f32]>,
        relu: bool,
        y: &Shared<'_>,
    ) {
        assert!(channel + count <= c);
        let mut pixels = [std::ptr::null_mut(); MOST_POINTS];
        self.pixels(first + t, self.size.output(), 0, |index, pixel| {
            if let Some(pixel) = pixel {
                assert!((pixel + 1) * c <= y.len());
                pixels[index] = y.at(pixel * c + channel);
            }
        });
        let bias = bias.map_or(std::ptr::null(), |bias| bias[channel..][..count].as_ptr());
        // SAFETY: the points lie within `from`, the pixels within y and the bias has `count` floats; no other task has
        // these channels of these pixels.
        unsafe { output(self.set, self.size, grid.points(from, t, count), count, bias, relu, &pixels) };
    }
}
