//! 3x3 convolutions by Winograd's minimal filtering F(2x2, 3x3): 16 products of matrices take the place of 36
//! multiplications a tile and pair of channels. Forward and input gradient; `winograd_gradient` has the weights'.
//!
//! Narrow layers run all phases on a slab of tiles that stays near the thread's cache. Wide layers, whose transformed
//! filters are large, run each phase over many tiles at once and share the products among the threads, so that a filter
//! is read once. Which it is, and every slab, follows from the shape alone.

use rayon::prelude::*;

use super::buffer::{Scratch, Shared};
use super::convolution::{Convolution, Room, RoomSizes};
use super::product::{GROUP, Left, Result, Right, multiply};
use super::winograd_tiles::{Grid, Tiles, rounded};
use super::winograd_transforms::{POINTS, Points, filter};

/// Products of channels from which a layer's phases run one after the other.
const WIDE_FORWARD: usize = 256 * 512;
const WIDE_GRADIENT: usize = 256 * 256;
/// Most tiles that such a phase holds.
const WIDE_TILES: usize = 256;
/// Floats that a narrow layer's slab may take: 1.7 MB.
const SLAB_FLOATS: usize = 432 * 1024;
/// Column groups of one task of a wide product.
const TASK_GROUPS: usize = 4;

/// See the module. Only for kernels of 3.
#[derive(Clone, Copy)]
pub struct Winograd {
    pub(super) shape: Convolution,
    pub(super) tiles: Tiles,
    /// Whether phases are shared, in convolutions and in weight gradients.
    pub(super) wide: bool,
    pub(super) wide_gradient: bool,
}

impl Winograd {
    pub fn new(shape: Convolution) -> Self {
        let channels = shape.inputs * shape.outputs;
        let (wide, wide_gradient) = (channels >= WIDE_FORWARD, channels >= WIDE_GRADIENT);
        Self { shape, tiles: Tiles::new(&shape), wide, wide_gradient }
    }

    /// The same with shared phases, however narrow.
    #[cfg(test)]
    pub fn shared(self) -> Self {
        Self { wide: true, wide_gradient: true, ..self }
    }

    /// The same with inputs and outputs swapped.
    fn turned(&self) -> Self {
        let (inputs, outputs) = (self.shape.outputs, self.shape.inputs);
        Self { shape: Convolution { inputs, outputs, ..self.shape }, ..*self }
    }

    /// What forward and backward passes over a batch of `n` need.
    pub fn room(&self, n: usize, training: bool) -> RoomSizes {
        let Convolution { inputs, outputs, .. } = self.shape;
        let tiles = if self.wide { self.phase_tiles(n) } else { self.slab_tiles() };
        let grids = Grid::rows(tiles, inputs).len() + Grid::rows(tiles, outputs).len();
        let zeros = rounded(inputs.max(outputs));
        let room = RoomSizes {
            scratch: zeros + if self.wide { 0 } else { grids },
            workspace: if self.wide { grids } else { 0 },
            filters: POINTS * (inputs * rounded(outputs)).max(outputs * rounded(inputs)),
        };
        if training { room.max(self.gradient_room(n)) } else { room }
    }

    /// Whole rows of tiles near `target` tiles.
    fn whole_rows(&self, target: usize) -> usize {
        (target / self.tiles.across).max(1) * self.tiles.across
    }

    /// Tiles of a narrow layer's slab, of at most `most`.
    pub(super) fn slab(&self, most: usize) -> usize {
        let each = POINTS * (rounded(self.shape.inputs) + rounded(self.shape.outputs) + 2 * GROUP);
        self.whole_rows((SLAB_FLOATS / each).clamp(24, most))
    }

    fn slab_tiles(&self) -> usize {
        self.slab(96)
    }

    /// Tiles of a wide layer's phase for a batch of `n`.
    pub(super) fn phase_tiles(&self, n: usize) -> usize {
        self.whole_rows(WIDE_TILES).min(n * self.tiles.down * self.tiles.across)
    }

    /// y = x * weights + bias, then ReLU where asked.
    pub fn forward(&self, x: &[f32], weights: &[f32], bias: &[f32], relu: bool, y: &mut [f32], room: &mut Room<'_>) {
        self.transform_filters(weights, room.filters);
        self.convolve(x, Some(bias), relu, y, room);
    }

    /// dx from dy: the forward pass with turned filters and channels swapped.
    pub fn input_gradient(&self, dy: &[f32], weights: &[f32], dx: &mut [f32], room: &mut Room<'_>) {
        self.transform_turned_filters(weights, room.filters);
        self.turned().convolve(dy, None, false, dx, room);
    }

    /// Filters as the products read them: [group of outputs][point][inputs][16].
    fn transform_filters(&self, weights: &[f32], to: &mut [f32]) {
        let Convolution { inputs, outputs, set, .. } = self.shape;
        assert_eq!(weights.len(), 9 * inputs * outputs);
        let to = &mut to[..POINTS * inputs * rounded(outputs)];
        to.par_chunks_mut(POINTS * inputs * GROUP).enumerate().for_each(|(group, to)| {
            let channels = GROUP.min(outputs - group * GROUP);
            if channels < GROUP {
                to.fill(0.0);
            }
            for i in 0..inputs {
                let to = &mut to[i * GROUP..];
                let points = Points { data: to.as_mut_ptr(), point: inputs * GROUP, group: 0 };
                let from = &weights[i * outputs + group * GROUP..];
                assert!(from.len() >= 8 * inputs * outputs + channels && to.len() >= 15 * inputs * GROUP + GROUP);
                // SAFETY: the nine taps lie inputs * outputs apart within `from`, the points within `to`.
                unsafe { filter(set, from.as_ptr(), inputs * outputs, channels, points) };
            }
        });
    }

    /// The same for the input gradient, whose filters are turned by 180 degrees and whose inputs are the outputs:
    /// [group of inputs][point][outputs][16]. Turning a filter swaps the first and last point of each direction.
    fn transform_turned_filters(&self, weights: &[f32], to: &mut [f32]) {
        let Convolution { inputs, outputs, set, .. } = self.shape;
        assert_eq!(weights.len(), 9 * inputs * outputs);
        let to = &mut to[..POINTS * outputs * rounded(inputs)];
        to.par_chunks_mut(POINTS * outputs * GROUP).enumerate().for_each(|(group, to)| {
            let channels = GROUP.min(inputs - group * GROUP);
            let mut block = [[[0.0f32; GROUP]; GROUP]; POINTS]; // [point][input][output]
            for first in (0..outputs).step_by(GROUP) {
                let columns = GROUP.min(outputs - first);
                for i in 0..channels {
                    let from = &weights[(group * GROUP + i) * outputs + first..];
                    assert!(from.len() >= 8 * inputs * outputs + columns);
                    let data = block.as_flattened_mut().as_flattened_mut()[i * GROUP..].as_mut_ptr();
                    let points = Points { data, point: GROUP * GROUP, group: 0 };
                    // SAFETY: the nine taps lie within `from`, the points within `block`.
                    unsafe { filter(set, from.as_ptr(), inputs * outputs, columns, points) };
                }
                for (point, block) in block.iter().enumerate() {
                    let turn = |p: usize| [3, 1, 2, 0][p];
                    let turned = 4 * turn(point / 4) + turn(point % 4);
                    let to = &mut to[(turned * outputs + first) * GROUP..][..columns * GROUP];
                    for (o, to) in to.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
                        *to = std::array::from_fn(|i| block[i][o]);
                    }
                }
            }
        });
    }

    /// The forward pass with transformed filters.
    fn convolve(&self, x: &[f32], bias: Option<&[f32]>, relu: bool, y: &mut [f32], room: &mut Room<'_>) {
        let Convolution { inputs, outputs, set, .. } = self.shape;
        let pixels = x.len() / inputs;
        assert!(x.len() == pixels * inputs && y.len() == pixels * outputs);
        let total = self.tiles.of(pixels);
        let y = Shared::new(y);
        let filters = &room.filters[..POINTS * inputs * rounded(outputs)];
        let groups = outputs.div_ceil(GROUP);
        // Products of one point for `columns` groups from `group` on.
        let product = |v: &Shared<'_>, m: &Shared<'_>, count, point, group, columns| {
            let (from, to) = (Grid::rows(count, inputs), Grid::rows(count, outputs));
            let left = Left { data: v.at(point * from.point), row: from.tile, step: 1 };
            let panel = POINTS * inputs * GROUP;
            let data = filters[group * panel + point * inputs * GROUP..].as_ptr();
            let right = Right { data, group: panel, step: GROUP };
            let to = Result { data: m.at(point * to.point + group * GROUP), row: to.tile, accumulate: false };
            // SAFETY: v has `count` rows of `inputs` at each point, m as many of whole groups of outputs, the filters a
            // row of whole groups for each input; tasks write tiles, points or columns of their own.
            unsafe { multiply(set, count, inputs, columns, left, right, to) };
        };
        if !self.wide {
            let slab = self.slab_tiles();
            (0..total.div_ceil(slab)).into_par_iter().with_max_len(1).for_each(|index| {
                self.with_zeros(room.scratch, |zeros, scratch| {
                    let first = index * slab;
                    let count = slab.min(total - first);
                    let (from, to) = (Grid::rows(count, inputs), Grid::rows(count, outputs));
                    let (v, m) = scratch.split_at_mut(from.len());
                    let (v, m) = (Shared::new(v), Shared::new(&mut m[..to.len()]));
                    (0..count).for_each(|t| self.tiles.input(x, inputs, first, t, zeros, &v, from));
                    (0..POINTS).for_each(|point| product(&v, &m, count, point, 0, groups));
                    (0..count).for_each(|t| self.tiles.output(&m, to, outputs, first, t, bias, relu, &y));
                });
            });
            return;
        }
        let phase = self.phase_tiles(total);
        for first in (0..total).step_by(phase) {
            let count = phase.min(total - first);
            let (from, to) = (Grid::rows(count, inputs), Grid::rows(count, outputs));
            let (v, m) = room.workspace.split_at_mut(from.len());
            let (v, m) = (Shared::new(v), Shared::new(&mut m[..to.len()]));
            self.each_tile(count, room.scratch, |t, zeros| {
                self.tiles.input(x, inputs, first, t, zeros, &v, from);
            });
            let tasks = groups.div_ceil(TASK_GROUPS);
            (0..POINTS * tasks).into_par_iter().with_max_len(1).for_each(|task| {
                let (point, group) = (task / tasks, task % tasks * TASK_GROUPS);
                product(&v, &m, count, point, group, TASK_GROUPS.min(groups - group));
            });
            self.each_tile(count, room.scratch, |t, _| {
                self.tiles.output(&m, to, outputs, first, t, bias, relu, &y);
            });
        }
    }

    /// Runs `task` with a row of zeros, which stand for pixels outside of the image, and the rest of a thread's scratch.
    pub(super) fn with_zeros(&self, scratch: &Scratch, task: impl FnOnce(&[f32], &mut [f32])) {
        scratch.with(|scratch| {
            let (zeros, rest) = scratch.split_at_mut(rounded(self.shape.inputs.max(self.shape.outputs)));
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
