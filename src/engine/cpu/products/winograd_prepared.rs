//! 3x3 convolutions of few tiles, for inference: filters are transformed once, when weights are loaded, and kept packed
//! in the order in which the products read them. Only forward, and only until the weights change.
//!
//! Over few tiles, reading the filters takes about as long as multiplying them, and transforming them several times as
//! long. Sums run in the order of `winograd`, so that an engine that only infers has the bits of one that trains.

use std::ops::Range;

use rayon::prelude::*;

use super::direct;
use super::product::{GROUP, Left, Result, Right, multiply};
use super::shape::{Convolution, Workspace, WorkspaceSizes};
use super::winograd::{DEPTH, Filters, Winograd};
use super::winograd_tiles::{Grid, TileDestination, TileSource, Transformed};
use crate::engine::cpu::plumbing::buffer::Shared;

/// Most pixels (n * height * width) of a batch for which filters are kept: with 64 tiles of F(4x4), transforming them
/// takes half as long as the products, and keeping them takes four times the weights' memory.
const MOST_PIXELS: usize = 1024;
/// Outputs of one task: the groups that a product takes at once.
const TASK_OUTPUTS: usize = 2 * GROUP;
/// Most tiles of one task.
const TASK_TILES: usize = 64;
/// Inputs by which filters are asked for ahead of the products: memory answers after about as many.
const AHEAD: usize = 64;

/// See the module.
///
/// Filters lie as [outputs / 32][points][inputs][32], which is how each task reads them from first to last.
#[derive(Clone, Debug)]
pub struct Prepared {
    winograd: Winograd,
    /// Where this layer's filters lie among those of all layers.
    range: Range<usize>,
}

impl Prepared {
    /// For batches of at most `shape.batch`, with filters from `start` on. None where another way is at least as fast.
    pub fn new(shape: Convolution, start: usize) -> Option<Self> {
        let pixels = shape.batch * shape.height * shape.width;
        let suits = shape.kernel == 3 && pixels <= MOST_PIXELS && !direct::suits(&shape, pixels);
        suits.then(|| Self::always(Winograd::new(shape), start))
    }

    /// However many tiles there are.
    pub(super) fn always(winograd: Winograd, start: usize) -> Self {
        let Convolution { inputs, outputs, .. } = winograd.shape;
        let floats = outputs.div_ceil(TASK_OUTPUTS) * winograd.tiles.size.points() * inputs * TASK_OUTPUTS;
        Self { winograd, range: start..start + floats }
    }

    /// Whether a batch of `n` takes it: so few that they are summed directly do not, here as in training.
    pub fn suits(&self, n: usize) -> bool {
        let shape = &self.winograd.shape;
        !direct::suits(shape, n * shape.height * shape.width)
    }

    /// Where its filters lie.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// What a forward pass over a batch of `n` or less needs, direct ones included.
    pub fn workspace(&self, n: usize) -> WorkspaceSizes {
        let Winograd { shape, tiles, .. } = &self.winograd;
        let total = tiles.of(n * shape.height * shape.width);
        let v = Grid::rows(tiles.size, total, shape.inputs).len();
        let m = Grid::rows(tiles.size, total.min(TASK_TILES), shape.outputs.min(TASK_OUTPUTS)).len();
        WorkspaceSizes { scratch: self.winograd.zeros() + m, shared: v.max(direct::shared(shape, n)), filters: 0 }
    }

    /// Transforms `weights` [3, 3, inputs, outputs] to its range of `filters`.
    pub fn prepare(&self, weights: &[f32], filters: &mut [f32]) {
        let Winograd { shape: Convolution { inputs, outputs, .. }, tiles, .. } = self.winograd;
        let point = inputs * TASK_OUTPUTS;
        let weights = Filters { weights, turned: false };
        let tasks = filters[self.range()].par_chunks_mut(tiles.size.points() * point).enumerate();
        tasks.for_each(|(task, to)| {
            let first = task * TASK_OUTPUTS / GROUP;
            for group in first..outputs.div_ceil(GROUP).min(first + TASK_OUTPUTS / GROUP) {
                let to = &mut to[(group - first) * GROUP..];
                self.winograd.transform_filters(weights, 0..inputs, group, to, point, TASK_OUTPUTS);
            }
        });
    }

    /// y [n,h,w,outputs] = x [n,h,w,inputs] * the `filters` in its range + bias, then ReLU where asked.
    pub fn forward(
        &self,
        x: &[f32],
        filters: &[f32],
        bias: &[f32],
        relu: bool,
        y: &mut [f32],
        workspace: &mut Workspace<'_>,
    ) {
        let Winograd { shape: Convolution { inputs, outputs, set, .. }, tiles, .. } = self.winograd;
        let pixels = x.len() / inputs;
        assert!(x.len() == pixels * inputs && y.len() == pixels * outputs);
        let (size, total) = (tiles.size, tiles.of(pixels));
        let filters = &filters[self.range()];
        let from = Grid::rows(size, total, inputs);
        let v = Shared::new(&mut workspace.shared[..from.len()]);
        let v = Transformed { values: &v, grid: from };
        let x = TileSource { values: x, channels: inputs, first: 0 };
        self.winograd.each_tile(total, workspace.scratch, |t, zeros| tiles.input(x, t, zeros, v));
        let y = Shared::new(y);
        let height = total.div_ceil(total.div_ceil(TASK_TILES).max(1)).max(1);
        let rows = total.div_ceil(height);
        (0..rows * outputs.div_ceil(TASK_OUTPUTS)).into_par_iter().with_max_len(1).for_each(|task| {
            let (task, row) = (task / rows, task % rows * height);
            let channel = task * TASK_OUTPUTS;
            let (count, channels) = (height.min(total - row), TASK_OUTPUTS.min(outputs - channel));
            let filters = &filters[task * size.points() * inputs * TASK_OUTPUTS..];
            assert!(filters.len() >= size.points() * inputs * TASK_OUTPUTS);
            let to = Grid::rows(size, count, channels);
            workspace.scratch.with(|scratch| {
                let m = Shared::new(&mut scratch[..to.len()]);
                for (point, start) in (0..size.points()).flat_map(|p| (0..inputs).step_by(DEPTH).map(move |i| (p, i))) {
                    let data = v.values.at(point * from.point + row * from.tile + start);
                    let left = Left { data, row: from.tile, step: 1 };
                    let data = filters[(point * inputs + start) * TASK_OUTPUTS..].as_ptr();
                    let ahead = Some(AHEAD * TASK_OUTPUTS);
                    let right = Right { data, group: GROUP, step: TASK_OUTPUTS, ahead };
                    let to = Result { data: m.at(point * to.point), row: to.tile, accumulate: start > 0 };
                    let (depth, groups) = (DEPTH.min(inputs - start), channels.div_ceil(GROUP));
                    // SAFETY: v has a row of `inputs` for each tile at each point, m one of whole groups of outputs,
                    // the filters one of 32 for each input of a point; m is this task's alone.
                    unsafe { multiply(set, count, depth, groups, left, right, to) };
                }
                let m = Transformed { values: &m, grid: to };
                let y = TileDestination { y: &y, all: outputs, channel, channels, first: row, bias: Some(bias), relu };
                (0..count).for_each(|t| tiles.output(m, t, y));
            });
        });
    }
}
