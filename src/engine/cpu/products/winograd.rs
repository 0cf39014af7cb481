//! 3x3 convolutions by Winograd's minimal filtering: with F(2x2, 3x3), 16 products of matrices take the place of 36
//! multiplications a tile and pair of channels, with F(4x4, 3x3), 36 of 144. Forward and input gradient;
//! `winograd_gradient` has the weights'.
//!
//! Tiles of input are transformed, then blocks of tiles and outputs are multiplied and transformed back while they are
//! in the thread's cache. In narrow layers a thread does both for a slab of tiles of its own. Wide layers, whose
//! filters are large, transform many tiles at once and share their blocks among the threads, so that filters are read
//! once. Which it is, the size of tiles, and every slab follow from the shape alone, of which the batch that the engine
//! was built for is a part.

use std::ops::Range;

use rayon::prelude::*;

use super::product::{GROUP, Left, Result, Right, multiply};
use super::shape::{Convolution, Workspace, WorkspaceSizes};
use super::winograd_tiles::{Grid, TileDestination, TileSource, Tiles, Transformed, rounded};
use super::winograd_transforms::{Points, Size, filter};
use crate::engine::cpu::plumbing::buffer::{Scratch, Shared};

/// Products of channels from which a layer's phases run one after the other.
const WIDE_FORWARD: usize = 256 * 512;
const WIDE_GRADIENT: usize = 256 * 512;
/// Most tiles that such a phase holds.
const WIDE_TILES: usize = 256;
/// Floats that a narrow layer's slab may take: 1.7 MB.
const SLAB_FLOATS: usize = 432 * 1024;
/// Most tiles and outputs of one block of products.
const BLOCK_TILES: usize = 128;
const BLOCK_OUTPUTS: usize = 64;
/// Multiply-adds in the time of reading one value of a filter, on two cores: 70 % of 345 GF/s over 25 GB/s.
const READING: usize = 20;
/// Inputs that are multiplied at a time, so that their filters stay in the thread's nearest cache.
pub(super) const DEPTH: usize = 128;

/// See the module. Only for kernels of 3.
#[derive(Clone, Copy, Debug)]
pub struct Winograd {
    pub(super) shape: Convolution,
    pub(super) tiles: Tiles,
    /// Whether phases are shared, in convolutions and in weight gradients.
    pub(super) wide: bool,
    pub(super) wide_gradient: bool,
}

/// Filters [3, 3, inputs, outputs]; `turned` by 180 degrees and with inputs and outputs swapped for the input gradient.
#[derive(Clone, Copy)]
pub(super) struct Filters<'a> {
    pub(super) weights: &'a [f32],
    pub(super) turned: bool,
}

/// How transformed filters lie: the values of group g of outputs at point p for input i at
/// `g * group + p * point + i * 16`. One group more than needed separates points.
#[derive(Clone, Copy)]
struct Panels {
    point: usize,
    group: usize,
}

impl Panels {
    fn new(size: Size, inputs: usize) -> Self {
        let point = (inputs + 1) * GROUP;
        Self { point, group: size.points() * point }
    }
}

/// What the blocks of a convolution share.
struct Pass<'a> {
    filters: Filters<'a>,
    /// All filters, transformed, in narrow layers. In wide ones each block transforms its own.
    ready: &'a [f32],
    bias: Option<&'a [f32]>,
    relu: bool,
    y: Shared<'a>,
}

impl Winograd {
    pub fn new(shape: Convolution) -> Self {
        let channels = shape.inputs * shape.outputs;
        let (wide, wide_gradient) = (channels >= WIDE_FORWARD, channels >= WIDE_GRADIENT);
        // Larger tiles multiply less, read more filters, and may stick out of small maps. The choice holds for training
        // and inference, so that both have the same bits.
        let pixels = shape.batch * shape.height * shape.width;
        let cost = |tiles: &Tiles| tiles.size.points() * (tiles.of(pixels) + READING);
        let (two, four) = (Tiles::new(&shape, Size::Two), Tiles::new(&shape, Size::Four));
        let tiles = if shape.precise || cost(&four) >= cost(&two) { two } else { four };
        Self { shape, tiles, wide, wide_gradient }
    }

    /// With tiles of `size`.
    #[cfg(test)]
    pub(super) fn with_size(shape: Convolution, size: Size) -> Self {
        Self { tiles: Tiles::new(&shape, size), ..Self::new(shape) }
    }

    /// The same with shared phases, however narrow.
    #[cfg(test)]
    pub fn shared(self) -> Self {
        Self { wide: true, wide_gradient: true, ..self }
    }

    /// The same with tiles of its own for each thread, however wide.
    #[cfg(test)]
    pub fn narrow(self) -> Self {
        Self { wide: false, wide_gradient: false, ..self }
    }

    /// The same with inputs and outputs swapped.
    fn turned(&self) -> Self {
        let (inputs, outputs) = (self.shape.outputs, self.shape.inputs);
        Self { shape: Convolution { inputs, outputs, ..self.shape }, ..*self }
    }

    /// What forward and backward passes over a batch of `n` need.
    pub fn workspace(&self, n: usize, training: bool) -> WorkspaceSizes {
        let workspace = self.forward_workspace(n);
        if training {
            workspace.max(self.turned().forward_workspace(n)).max(self.gradient_workspace(n))
        } else {
            workspace
        }
    }

    fn forward_workspace(&self, n: usize) -> WorkspaceSizes {
        let tiles = if self.wide { self.phase_tiles(n) } else { self.slab_tiles() };
        let (v, m) = (Grid::rows(self.tiles.size, tiles, self.shape.inputs).len(), self.products(tiles).len());
        if self.wide {
            return WorkspaceSizes { scratch: self.zeros() + self.block_filters() + m, shared: v, filters: 0 };
        }
        WorkspaceSizes { scratch: self.zeros() + v + m, shared: 0, filters: self.all_filters() }
    }

    /// Floats of all transformed filters.
    fn all_filters(&self) -> usize {
        self.shape.outputs.div_ceil(GROUP) * Panels::new(self.tiles.size, self.shape.inputs).group
    }

    /// Floats of the filters that a block of a wide layer transforms at a time.
    fn block_filters(&self) -> usize {
        BLOCK_OUTPUTS / GROUP * Panels::new(self.tiles.size, DEPTH).group
    }

    /// A row of zeros stands for pixels outside of the image.
    pub(super) fn zeros(&self) -> usize {
        rounded(self.shape.inputs.max(self.shape.outputs))
    }

    /// The products of a block of `tiles` or fewer tiles.
    fn products(&self, tiles: usize) -> Grid {
        Grid::rows(self.tiles.size, tiles.min(BLOCK_TILES), self.shape.outputs.min(BLOCK_OUTPUTS))
    }

    /// Whole rows of tiles near `target` tiles.
    fn whole_rows(&self, target: usize) -> usize {
        (target / self.tiles.across).max(1) * self.tiles.across
    }

    /// Tiles of a narrow layer's slab that takes `each` floats a tile and point.
    pub(super) fn slab(&self, each: usize, most: usize) -> usize {
        self.whole_rows((SLAB_FLOATS / (self.tiles.size.points() * each)).clamp(24, most))
    }

    fn slab_tiles(&self) -> usize {
        self.slab(rounded(self.shape.inputs) + rounded(self.shape.outputs.min(BLOCK_OUTPUTS)) + 2 * GROUP, 96)
    }

    /// Tiles of a wide layer's phase for a batch of `n`.
    pub(super) fn phase_tiles(&self, n: usize) -> usize {
        self.whole_rows(WIDE_TILES).min(n * self.tiles.down * self.tiles.across)
    }

    /// y = x * weights + bias, then ReLU where asked.
    pub fn forward(
        &self,
        x: &[f32],
        weights: &[f32],
        bias: &[f32],
        relu: bool,
        y: &mut [f32],
        workspace: &mut Workspace<'_>,
    ) {
        self.convolve(x, Filters { weights, turned: false }, Some(bias), relu, y, workspace);
    }

    /// dx from dy: the forward pass with turned filters and channels swapped.
    pub fn input_gradient(&self, dy: &[f32], weights: &[f32], dx: &mut [f32], workspace: &mut Workspace<'_>) {
        self.turned().convolve(dy, Filters { weights, turned: true }, None, false, dx, workspace);
    }

    /// Transforms the filters of some `inputs` and one group of outputs; the values of the first input go to `to`, those
    /// of each further one `next` floats further on.
    pub(super) fn transform_filters(
        &self,
        filters: Filters<'_>,
        inputs: Range<usize>,
        group: usize,
        to: &mut [f32],
        point: usize,
        next: usize,
    ) {
        let Convolution { inputs: all, outputs, set, .. } = self.shape;
        let size = self.tiles.size;
        assert!(inputs.end <= all && filters.weights.len() == 9 * all * outputs);
        assert!(to.len() + next >= (size.points() - 1) * point + inputs.len() * next + GROUP);
        let first = group * GROUP;
        let channels = GROUP.min(outputs - first);
        if !filters.turned && channels == GROUP {
            let from = filters.weights[inputs.start * outputs + first..].as_ptr();
            let to = Points { data: to.as_mut_ptr(), point, group: 0 };
            // SAFETY: filter (i, o) lies at i * outputs + o, its taps all * outputs apart; the points lie within `to`.
            unsafe { filter(set, size, from, all * outputs, inputs.len(), outputs, GROUP, to, next) };
            return;
        }
        let mut block = [[[0.0f32; GROUP]; GROUP]; 9]; // [tap][input][output]
        for start in inputs.clone().step_by(GROUP) {
            let rows = GROUP.min(inputs.end - start);
            for (tap, block) in block.iter_mut().enumerate() {
                if filters.turned {
                    (0..channels).for_each(|o| {
                        let from = &filters.weights[((8 - tap) * outputs + first + o) * all + start..][..rows];
                        (0..rows).for_each(|i| block[i][o] = from[i]);
                    });
                } else {
                    for (i, block) in block.iter_mut().enumerate().take(rows) {
                        let from = &filters.weights[(tap * all + start + i) * outputs + first..][..channels];
                        block[..channels].copy_from_slice(from);
                    }
                }
            }
            let from = block.as_flattened().as_flattened().as_ptr();
            let data = to[(start - inputs.start) * next..].as_mut_ptr();
            let to = Points { data, point, group: 0 };
            // SAFETY: nine taps of 16 rows of 16 lie in `block`, `rows` rows of 16 at each point within `to`.
            unsafe { filter(set, size, from, GROUP * GROUP, rows, GROUP, GROUP, to, next) };
        }
    }

    /// y from x.
    fn convolve(
        &self,
        x: &[f32],
        filters: Filters<'_>,
        bias: Option<&[f32]>,
        relu: bool,
        y: &mut [f32],
        workspace: &mut Workspace<'_>,
    ) {
        let Convolution { inputs, outputs, .. } = self.shape;
        let size = self.tiles.size;
        let pixels = x.len() / inputs;
        assert!(x.len() == pixels * inputs && y.len() == pixels * outputs);
        let total = self.tiles.of(pixels);
        let columns = outputs.div_ceil(BLOCK_OUTPUTS);
        if !self.wide {
            let Panels { point, group } = Panels::new(size, inputs);
            let ready = &mut workspace.filters[..self.all_filters()];
            ready.par_chunks_mut(group).enumerate().for_each(|(group, to)| {
                self.transform_filters(filters, 0..inputs, group, to, point, GROUP);
            });
            let pass = Pass { filters, ready, bias, relu, y: Shared::new(y) };
            let slab = self.slab_tiles();
            (0..total.div_ceil(slab)).into_par_iter().with_max_len(1).for_each(|index| {
                self.with_zeros(workspace.scratch, |zeros, scratch| {
                    let first = index * slab;
                    let count = slab.min(total - first);
                    let from = Grid::rows(size, count, inputs);
                    let (v, rest) = scratch.split_at_mut(from.len());
                    let v = Transformed { values: &Shared::new(v), grid: from };
                    let x = TileSource { values: x, channels: inputs, first };
                    (0..count).for_each(|t| self.tiles.input(x, t, zeros, v));
                    for column in 0..columns {
                        // One row of a large image has more tiles than a block.
                        for row in (0..count).step_by(BLOCK_TILES) {
                            let rows = row..count.min(row + BLOCK_TILES);
                            self.block(&pass, v, first, rows, column, rest);
                        }
                    }
                });
            });
            return;
        }
        let pass = Pass { filters, ready: &[], bias, relu, y: Shared::new(y) };
        let phase = self.phase_tiles(total);
        for first in (0..total).step_by(phase) {
            let count = phase.min(total - first);
            let from = Grid::rows(size, count, inputs);
            let v = Shared::new(&mut workspace.shared[..from.len()]);
            let v = Transformed { values: &v, grid: from };
            let x = TileSource { values: x, channels: inputs, first };
            self.each_tile(count, workspace.scratch, |t, zeros| self.tiles.input(x, t, zeros, v));
            let height = count.div_ceil(count.div_ceil(BLOCK_TILES));
            let rows = count.div_ceil(height);
            (0..rows * columns).into_par_iter().with_max_len(1).for_each(|task| {
                let (column, row) = (task / rows, task % rows * height);
                self.with_zeros(workspace.scratch, |_, rest| {
                    self.block(&pass, v, first, row..count.min(row + height), column, rest);
                });
            });
        }
    }

    /// Tiles `rows` of the transformed input `v`, whose first tile is `first`, times column `column` of the filters.
    fn block(
        &self,
        pass: &Pass<'_>,
        Transformed { values: v, grid: from }: Transformed<'_>,
        first: usize,
        rows: Range<usize>,
        column: usize,
        scratch: &mut [f32],
    ) {
        let Convolution { inputs, outputs, set, .. } = self.shape;
        let size = self.tiles.size;
        let channel = column * BLOCK_OUTPUTS;
        let channels = BLOCK_OUTPUTS.min(outputs - channel);
        let groups = channels.div_ceil(GROUP);
        let (own, rest) = scratch.split_at_mut(if self.wide { self.block_filters() } else { 0 });
        let to = Grid::rows(size, rows.len(), channels);
        let m = Shared::new(&mut rest[..to.len()]);
        for start in (0..inputs).step_by(DEPTH) {
            let depth = DEPTH.min(inputs - start);
            let panels = Panels::new(size, if self.wide { DEPTH } else { inputs });
            let filters = if self.wide {
                for (group, to) in own.chunks_exact_mut(panels.group).enumerate().take(groups) {
                    let group = channel / GROUP + group;
                    self.transform_filters(pass.filters, start..start + depth, group, to, panels.point, GROUP);
                }
                &*own
            } else {
                &pass.ready[channel / GROUP * panels.group + start * GROUP..]
            };
            assert!(filters.len() >= (groups - 1) * panels.group + (size.points() - 1) * panels.point + depth * GROUP);
            for point in 0..size.points() {
                let data = v.at(point * from.point + rows.start * from.tile + start);
                let left = Left { data, row: from.tile, step: 1 };
                let right = Right {
                    data: filters[point * panels.point..].as_ptr(),
                    group: panels.group,
                    step: GROUP,
                    ahead: None,
                };
                let to = Result { data: m.at(point * to.point), row: to.tile, accumulate: start > 0 };
                // SAFETY: v has a row of `inputs` for each tile at each point, m one of whole groups of outputs, the
                // filters one of whole groups for each input; m is this task's alone.
                unsafe { multiply(set, rows.len(), depth, groups, left, right, to) };
            }
        }
        let Pass { bias, relu, ref y, .. } = *pass;
        let m = Transformed { values: &m, grid: to };
        let y = TileDestination { y, all: outputs, channel, channels, first: first + rows.start, bias, relu };
        (0..rows.len()).for_each(|t| self.tiles.output(m, t, y));
    }

    /// Runs `task` with a row of zeros and the rest of a thread's scratch.
    pub(super) fn with_zeros(&self, scratch: &Scratch, task: impl FnOnce(&[f32], &mut [f32])) {
        scratch.with(|scratch| {
            let (zeros, rest) = scratch.split_at_mut(self.zeros());
            zeros.fill(0.0);
            task(zeros, rest);
        });
    }

    /// Runs `task` for tiles 0 .. count on all threads, a few at a time, with a thread's row of zeros.
    pub(super) fn each_tile(&self, count: usize, scratch: &Scratch, task: impl Fn(usize, &[f32]) + Sync) {
        let step = 8;
        (0..count.div_ceil(step)).into_par_iter().for_each(|block| {
            self.with_zeros(scratch, |zeros, _| {
                (block * step..count.min((block + 1) * step)).for_each(|t| task(t, zeros));
            });
        });
    }
}
