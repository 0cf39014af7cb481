//! The weight gradient by Winograd's F(2x2, 3x3): dU = sum over tiles of V^T (A dy A^T) for each of the 16 points, then
//! dw = G^T dU G.
//!
//! Narrow layers sum parts of the tiles side by side, each over slabs that stay near the thread's cache, and add the
//! parts in order. Wide layers, whose sums are large, share the points and channels of one sum among the threads.

use std::ops::Range;

use rayon::prelude::*;

use super::buffer::{Scratch, Shared};
use super::convolution::{Convolution, Room, RoomSizes};
use super::product::{GROUP, Left, Result, Right, multiply};
use super::winograd::Winograd;
use super::winograd_tiles::{Grid, rounded};
use super::winograd_transforms::{POINTS, Points, filter_gradient};

/// Tiles whose products are summed before the sum is added to the rest: one long sum would lose digits.
const CHUNK: usize = 96;
/// Floats of a narrow layer's sums, and most of them.
const SUMS_FLOATS: usize = 4 << 20;
const MOST_PARTS: usize = 16;
/// Input channels of one task of a wide layer.
const TASK_CHANNELS: usize = 64;

/// Transformed input and gradient of some tiles.
struct Sides<'a> {
    v: Shared<'a>,
    d: Shared<'a>,
    tiles: usize,
}

impl Winograd {
    /// Floats of dU: [point][inputs][outputs, rounded].
    fn products(&self) -> usize {
        POINTS * self.shape.inputs * rounded(self.shape.outputs)
    }

    /// Sums of a narrow layer that run side by side.
    fn parts(&self) -> usize {
        (SUMS_FLOATS / self.products()).clamp(1, MOST_PARTS)
    }

    fn sides(&self, tiles: usize) -> usize {
        Grid::groups(tiles, self.shape.inputs).len() + Grid::groups(tiles, self.shape.outputs).len()
    }

    /// What [`Self::weight_gradient`] of a batch of `n` needs.
    pub(super) fn gradient_room(&self, n: usize) -> RoomSizes {
        let zeros = rounded(self.shape.inputs.max(self.shape.outputs));
        if self.wide_gradient {
            let workspace = self.products() + self.sides(self.phase_tiles(n));
            return RoomSizes { scratch: zeros, workspace, filters: 0 };
        }
        let scratch = zeros + self.sides(self.slab(CHUNK));
        RoomSizes { scratch, workspace: self.parts() * self.products(), filters: 0 }
    }

    /// dw [3, 3, inputs, outputs].
    pub fn weight_gradient(&self, x: &[f32], dy: &[f32], dw: &mut [f32], room: &mut Room<'_>) {
        let Convolution { inputs, outputs, set, .. } = self.shape;
        let pixels = x.len() / inputs;
        assert!(x.len() == pixels * inputs && dy.len() == pixels * outputs && dw.len() == 9 * inputs * outputs);
        let total = self.tiles.of(pixels);
        let (products, row) = (self.products(), rounded(outputs));
        let parts = if self.wide_gradient {
            let (sums, workspace) = room.workspace.split_at_mut(products);
            self.sum_wide(x, dy, total, sums, workspace, room.scratch);
            1
        } else {
            self.sum_narrow(x, dy, total, &mut room.workspace[..self.parts() * products], room.scratch)
        };
        let (sums, dw) = (Shared::new(&mut room.workspace[..parts * products]), Shared::new(dw));
        (0..inputs).into_par_iter().for_each(|i| {
            let from = Points { data: sums.at(i * row), point: inputs * row, group: GROUP };
            // SAFETY: the parts' sums lie within the workspace; tap t of input i lies at (t * inputs + i) * outputs of
            // dw, and each task has an input of its own.
            unsafe { filter_gradient(set, from, parts, products, outputs, dw.at(i * outputs), inputs * outputs) };
        });
    }

    /// dU of each part of the tiles, [part][point][inputs][outputs, rounded]; returns the number of parts.
    fn sum_narrow(&self, x: &[f32], dy: &[f32], total: usize, sums: &mut [f32], scratch: &Scratch) -> usize {
        let products = self.products();
        let slab = self.slab(CHUNK);
        let part = total.div_ceil(slab).div_ceil(self.parts()) * slab;
        let parts = total.div_ceil(part);
        sums[..parts * products].par_chunks_mut(products).with_max_len(1).enumerate().for_each(|(index, sums)| {
            sums.fill(0.0);
            let sums = Shared::new(sums);
            self.with_zeros(scratch, |zeros, scratch| {
                let end = total.min((index + 1) * part);
                for first in (index * part..end).step_by(slab) {
                    let sides = self.split(scratch, slab.min(end - first));
                    (0..sides.tiles).for_each(|t| self.transform(x, dy, first, t, zeros, &sides));
                    (0..POINTS).for_each(|point| self.add_products(&sides, point, 0..self.shape.inputs, &sums));
                }
            });
        });
        parts
    }

    /// dU of all tiles.
    fn sum_wide(
        &self,
        x: &[f32],
        dy: &[f32],
        total: usize,
        sums: &mut [f32],
        workspace: &mut [f32],
        scratch: &Scratch,
    ) {
        let inputs = self.shape.inputs;
        sums.par_chunks_mut(sums.len() / POINTS).for_each(|sums| sums.fill(0.0));
        let sums = Shared::new(sums);
        let phase = self.phase_tiles(total);
        for first in (0..total).step_by(phase) {
            let sides = self.split(workspace, phase.min(total - first));
            self.each_tile(sides.tiles, scratch, |t, zeros| self.transform(x, dy, first, t, zeros, &sides));
            let tasks = inputs.div_ceil(TASK_CHANNELS);
            (0..POINTS * tasks).into_par_iter().with_max_len(1).for_each(|task| {
                let (point, row) = (task / tasks, task % tasks * TASK_CHANNELS);
                self.add_products(&sides, point, row..inputs.min(row + TASK_CHANNELS), &sums);
            });
        }
    }

    /// Room for both sides of `tiles` tiles. Lanes beyond the last output are zero, those beyond the last input unread.
    fn split<'a>(&self, memory: &'a mut [f32], tiles: usize) -> Sides<'a> {
        let (inputs, outputs) = (self.shape.inputs, self.shape.outputs);
        let (v, d) = memory.split_at_mut(Grid::groups(tiles, inputs).len());
        let d = &mut d[..Grid::groups(tiles, outputs).len()];
        if rounded(outputs) > outputs {
            d.fill(0.0);
        }
        Sides { v: Shared::new(v), d: Shared::new(d), tiles }
    }

    /// Transforms both sides of tile `first + t` into tile `t`.
    fn transform(&self, x: &[f32], dy: &[f32], first: usize, t: usize, zeros: &[f32], sides: &Sides<'_>) {
        let Convolution { inputs, outputs, .. } = self.shape;
        self.tiles.input(x, inputs, first, t, zeros, &sides.v, Grid::groups(sides.tiles, inputs));
        self.tiles.gradient(dy, outputs, first, t, zeros, &sides.d, Grid::groups(sides.tiles, outputs));
    }

    /// Adds V^T D of one point to rows `rows` of its sums, a chunk of tiles at a time.
    fn add_products(&self, sides: &Sides<'_>, point: usize, rows: Range<usize>, sums: &Shared<'_>) {
        let Convolution { inputs, outputs, set, .. } = self.shape;
        let (v, d) = (Grid::groups(sides.tiles, inputs), Grid::groups(sides.tiles, outputs));
        let row_length = rounded(outputs);
        for group in (0..row_length / GROUP).step_by(2) {
            let groups = 2.min(row_length / GROUP - group);
            // A chunk of both sides and the sums stay in the nearest cache over all rows.
            for t in (0..sides.tiles).step_by(CHUNK) {
                let depth = CHUNK.min(sides.tiles - t);
                for row in rows.clone().step_by(GROUP) {
                    let height = GROUP.min(rows.end - row);
                    let data = sides.v.at(point * v.point + row / GROUP * v.group + t * GROUP);
                    let left = Left { data, row: 1, step: GROUP };
                    let data = sides.d.at(point * d.point + group * d.group + t * GROUP);
                    let right = Right { data, group: d.group, step: GROUP };
                    let data = sums.at((point * inputs + row) * row_length + group * GROUP);
                    let to = Result { data, row: row_length, accumulate: true };
                    // SAFETY: v has `tiles` tiles of whole groups of inputs at each point, d as many of outputs, and
                    // sums a row of whole groups for each input; these rows of this point are this task's alone.
                    unsafe { multiply(set, height, depth, groups, left, right, to) };
                }
            }
        }
    }
}
