//! The weight gradient by Winograd's minimal filtering: dU = sum over tiles of V^T (A dy A^T) for each point of a tile,
//! then dw = G^T dU G.
//!
//! Blocks of inputs and outputs are summed over a run of tiles and transformed back while their sums are in the thread's
//! cache. In narrow layers each thread does this for parts of the tiles, a slab at a time, and the parts are added in
//! order. In wide layers, whose gradients are large, the threads share the blocks of one run.

use std::ops::Range;

use rayon::prelude::*;

use super::product::{GROUP, Left, Result, Right, multiply};
use super::shape::{Convolution, Workspace, WorkspaceSizes};
use super::winograd::Winograd;
use super::winograd_tiles::{Grid, TileSource, Transformed, rounded};
use super::winograd_transforms::{Points, filter_gradient};
use crate::engine::cpu::plumbing::buffer::Shared;

/// Tiles whose products are summed before the sum is added to the rest: one long sum would lose digits.
const CHUNK: usize = 96;
/// Floats of a narrow layer's gradients that run side by side, and most of them.
const PARTS_FLOATS: usize = 4 << 20;
const MOST_PARTS: usize = 16;
/// Inputs and outputs of one block of sums.
const BLOCK: usize = 64;
/// Floats of a row of such a block.
const ROW: usize = BLOCK;

/// Transformed input and gradient of some tiles.
struct Sides<'a> {
    v: Shared<'a>,
    d: Shared<'a>,
    tiles: usize,
}

/// Sums of a block: [point][input][output].
fn sums_point() -> usize {
    BLOCK * ROW + GROUP
}

impl Winograd {
    /// Floats of dw.
    fn weights(&self) -> usize {
        9 * self.shape.inputs * self.shape.outputs
    }

    /// Gradients of a narrow layer that run side by side.
    fn parts(&self) -> usize {
        (PARTS_FLOATS / self.weights()).clamp(1, MOST_PARTS)
    }

    fn grids(&self, tiles: usize) -> (Grid, Grid) {
        let Convolution { inputs, outputs, .. } = self.shape;
        (Grid::groups(self.tiles.size, tiles, inputs), Grid::groups(self.tiles.size, tiles, outputs))
    }

    /// Floats of both sides.
    fn sides(&self, tiles: usize) -> usize {
        let (v, d) = self.grids(tiles);
        v.len() + d.len()
    }

    /// Tiles of a narrow layer's slab.
    fn gradient_slab(&self) -> usize {
        self.slab(rounded(self.shape.inputs) + rounded(self.shape.outputs) + 2 * GROUP, CHUNK)
    }

    /// What [`Self::weight_gradient`] of a batch of `n` needs.
    pub(super) fn gradient_workspace(&self, n: usize) -> WorkspaceSizes {
        let own = self.zeros() + self.tiles.size.points() * sums_point();
        if self.wide_gradient {
            return WorkspaceSizes { scratch: own, shared: self.sides(self.phase_tiles(n)), filters: 0 };
        }
        let scratch = own + self.sides(self.gradient_slab());
        WorkspaceSizes { scratch, shared: self.parts() * self.weights(), filters: 0 }
    }

    /// dw [3, 3, inputs, outputs].
    pub fn weight_gradient(&self, x: &[f32], dy: &[f32], dw: &mut [f32], workspace: &mut Workspace<'_>) {
        let Convolution { inputs, outputs, .. } = self.shape;
        let pixels = x.len() / inputs;
        assert!(x.len() == pixels * inputs && dy.len() == pixels * outputs && dw.len() == self.weights());
        let total = self.tiles.of(pixels);
        if self.wide_gradient {
            self.sum_wide(x, dy, total, dw, workspace)
        } else {
            self.sum_narrow(x, dy, total, dw, workspace)
        }
    }

    /// Each part of the tiles has a gradient of its own, added up in the end.
    fn sum_narrow(&self, x: &[f32], dy: &[f32], total: usize, dw: &mut [f32], workspace: &mut Workspace<'_>) {
        let slab = self.gradient_slab();
        let part = total.div_ceil(slab).div_ceil(self.parts()) * slab;
        let parts = &mut workspace.shared[..total.div_ceil(part) * self.weights()];
        let blocks = self.blocks();
        parts.par_chunks_mut(self.weights()).with_max_len(1).enumerate().for_each(|(index, dw)| {
            let dw = Shared::new(dw);
            self.with_zeros(workspace.scratch, |zeros, scratch| {
                let (sums, scratch) = scratch.split_at_mut(self.tiles.size.points() * sums_point());
                let end = total.min((index + 1) * part);
                for first in (index * part..end).step_by(slab) {
                    let sides = self.split(scratch, slab.min(end - first));
                    (0..sides.tiles).for_each(|t| self.transform(x, dy, first, t, zeros, &sides));
                    (0..blocks).for_each(|block| self.sum_block(&sides, block, sums, &dw, first > index * part));
                }
            });
        });
        let run = 4096;
        dw.par_chunks_mut(run).enumerate().for_each(|(index, dw)| {
            let (first, end) = (index * run, index * run + dw.len());
            dw.copy_from_slice(&parts[first..end]);
            for part in parts.chunks_exact(self.weights()).skip(1) {
                dw.iter_mut().zip(&part[first..end]).for_each(|(dw, part)| *dw += part);
            }
        });
    }

    /// One run of tiles after the other, the blocks of each shared among the threads.
    fn sum_wide(&self, x: &[f32], dy: &[f32], total: usize, dw: &mut [f32], workspace: &mut Workspace<'_>) {
        let dw = Shared::new(dw);
        let phase = self.phase_tiles(total);
        for first in (0..total).step_by(phase) {
            let sides = self.split(workspace.shared, phase.min(total - first));
            self.each_tile(sides.tiles, workspace.scratch, |t, zeros| self.transform(x, dy, first, t, zeros, &sides));
            (0..self.blocks()).into_par_iter().with_max_len(1).for_each(|block| {
                self.with_zeros(workspace.scratch, |_, sums| self.sum_block(&sides, block, sums, &dw, first > 0));
            });
        }
    }

    /// Room for both sides of `tiles` tiles. Lanes beyond the last output are zero, those beyond the last input unread.
    fn split<'a>(&self, memory: &'a mut [f32], tiles: usize) -> Sides<'a> {
        let outputs = self.shape.outputs;
        let grids = self.grids(tiles);
        let (v, d) = memory.split_at_mut(grids.0.len());
        let d = &mut d[..grids.1.len()];
        if rounded(outputs) > outputs {
            d.fill(0.0);
        }
        Sides { v: Shared::new(v), d: Shared::new(d), tiles }
    }

    /// Transforms both sides of tile `first + t` into tile `t`.
    fn transform(&self, x: &[f32], dy: &[f32], first: usize, t: usize, zeros: &[f32], sides: &Sides<'_>) {
        let Convolution { inputs, outputs, .. } = self.shape;
        let (v, d) = self.grids(sides.tiles);
        let x = TileSource { values: x, channels: inputs, first };
        let dy = TileSource { values: dy, channels: outputs, first };
        self.tiles.input(x, t, zeros, Transformed { values: &sides.v, grid: v });
        self.tiles.gradient(dy, t, zeros, Transformed { values: &sides.d, grid: d });
    }

    /// Blocks of all inputs and outputs.
    fn blocks(&self) -> usize {
        self.shape.inputs.div_ceil(BLOCK) * self.shape.outputs.div_ceil(BLOCK)
    }

    /// dU of one block, summed over `sides`, becomes its part of dw, or is added to it with `accumulate`.
    fn sum_block(&self, sides: &Sides<'_>, block: usize, sums: &mut [f32], dw: &Shared<'_>, accumulate: bool) {
        let Convolution { inputs, outputs, set, .. } = self.shape;
        let size = self.tiles.size;
        let columns = outputs.div_ceil(BLOCK);
        let range = |block: usize, end: usize| block * BLOCK..end.min((block + 1) * BLOCK);
        let (rows, columns) = (range(block / columns, inputs), range(block % columns, outputs));
        let sums = Shared::new(&mut sums[..size.points() * sums_point()]);
        for point in 0..size.points() {
            self.add_products(sides, point, rows.clone(), columns.clone(), &sums);
        }
        for (row, i) in rows.enumerate() {
            let from = Points { data: sums.at(row * ROW), point: sums_point(), group: GROUP };
            let to = dw.at(i * outputs + columns.start);
            // SAFETY: the sums have BLOCK rows of BLOCK floats at each point; tap t of filter (i, o) lies at
            // (t * inputs + i) * outputs + o of dw, and no other task has this block.
            unsafe { filter_gradient(set, size, from, columns.len(), to, inputs * outputs, accumulate) };
        }
    }

    /// V^T D of one point, for inputs `rows` and outputs `columns`, a chunk of tiles at a time.
    fn add_products(
        &self,
        sides: &Sides<'_>,
        point: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        sums: &Shared<'_>,
    ) {
        let (v, d) = self.grids(sides.tiles);
        let groups = columns.start / GROUP..columns.end.div_ceil(GROUP);
        for group in groups.clone().step_by(2) {
            // A chunk of both sides and the sums stay in the nearest cache over all rows.
            for t in (0..sides.tiles).step_by(CHUNK) {
                let depth = CHUNK.min(sides.tiles - t);
                for row in rows.clone().step_by(GROUP) {
                    let height = GROUP.min(rows.end - row);
                    let data = sides.v.at(point * v.point + row / GROUP * v.group + t * GROUP);
                    let left = Left { data, row: 1, step: GROUP };
                    let data = sides.d.at(point * d.point + group * d.group + t * GROUP);
                    let right = Right { data, group: d.group, step: GROUP, ahead: None };
                    let to = point * sums_point() + (row - rows.start) * ROW + (group - groups.start) * GROUP;
                    let to = Result { data: sums.at(to), row: ROW, accumulate: t > 0 };
                    // SAFETY: v has `tiles` tiles of whole groups of inputs at each point, d as many of outputs, and
                    // the sums a row of BLOCK floats for each input of the block; they are this task's alone.
                    unsafe { multiply(self.shape.set, height, depth, 2.min(groups.end - group), left, right, to) };
                }
            }
        }
    }
}
