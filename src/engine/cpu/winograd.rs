//! 3x3 convolutions by Winograd's minimal filtering F(2x2, 3x3): 16 products of matrices take the place of 36
//! multiplications a tile and pair of channels. Forward, input gradient and weight gradient.
//!
//! Narrow layers run all phases on a slab of tiles that stays near the thread's cache. Wide layers, whose transformed
//! filters are large, run each phase over many tiles at once and share the products among the threads, so that a filter
//! is read once. Which it is, and every slab, follows from the shape alone.

use rayon::prelude::*;

use super::buffer::{Scratch, Shared};
use super::convolution::{Convolution, Room, RoomSizes};
use super::product::{GROUP, Left, Result, Right, multiply};
use super::simd::InstructionSet;
use super::winograd_transforms::{POINTS, Points, filter, filter_gradient, gradient, input, output};

/// Products of channels from which a layer's phases run one after the other.
const WIDE_FORWARD: usize = 256 * 512;
const WIDE_GRADIENT: usize = 256 * 256;
/// Most tiles that such a phase holds.
const WIDE_TILES: usize = 512;
/// Floats that a narrow layer's slab may take: 1.7 MB.
const SLAB_FLOATS: usize = 432 * 1024;
/// Tiles whose products are summed before the sum is added to the rest: one long sum would lose digits.
const CHUNK: usize = 96;
/// Column groups of one task of a wide product.
const TASK_GROUPS: usize = 4;

/// The tiles of a batch, counted row by row over all images.
#[derive(Clone, Copy)]
struct Tiles {
    height: usize,
    width: usize,
    /// Rows of tiles of an image, and tiles of a row.
    down: usize,
    across: usize,
}

impl Tiles {
    fn new(shape: &Convolution) -> Self {
        let Convolution { height, width, .. } = *shape;
        Self { height, width, down: height.div_ceil(2), across: width.div_ceil(2) }
    }

    /// Pixel (row, column) of tile `t`, counted from its 2x2 output, as an index into [n * h * w]; `None` outside.
    #[inline(always)]
    fn pixel(&self, t: usize, row: usize, column: usize, margin: usize) -> Option<usize> {
        let (line, across) = (t / self.across, t % self.across);
        let (image, down) = (line / self.down, line % self.down);
        let y = (2 * down + row).checked_sub(margin).filter(|y| *y < self.height)?;
        let x = (2 * across + column).checked_sub(margin).filter(|x| *x < self.width)?;
        Some((image * self.height + y) * self.width + x)
    }
}

/// Floats between rows of transformed values: whole groups, and one more so that rows do not share cache sets.
fn padded(channels: usize) -> usize {
    channels.next_multiple_of(GROUP) + GROUP
}

fn rounded(channels: usize) -> usize {
    channels.next_multiple_of(GROUP)
}

/// See the module. Only for kernels of 3.
#[derive(Clone, Copy)]
pub struct Winograd {
    shape: Convolution,
    tiles: Tiles,
    set: InstructionSet,
    /// Whether phases are shared, in convolutions and in weight gradients.
    wide: bool,
    wide_gradient: bool,
}

impl Winograd {
    pub fn new(shape: Convolution, set: InstructionSet) -> Self {
        let channels = shape.inputs * shape.outputs;
        let (wide, wide_gradient) = (channels >= WIDE_FORWARD, channels >= WIDE_GRADIENT);
        Self { shape, tiles: Tiles::new(&shape), set, wide, wide_gradient }
    }

    /// The same with shared phases, however narrow.
    #[cfg(test)]
    pub fn shared(self) -> Self {
        Self { wide: true, wide_gradient: true, ..self }
    }

    /// What forward and backward passes over a batch of `n` need.
    pub fn room(&self, n: usize, training: bool) -> RoomSizes {
        let forward = self.workspace(n, training);
        let workspace = if training { forward.max(self.turned().workspace(n, false)) } else { forward };
        RoomSizes { scratch: self.scratch(), workspace, filters: self.filters() }
    }

    /// The same with inputs and outputs swapped.
    fn turned(&self) -> Self {
        let (inputs, outputs) = (self.shape.outputs, self.shape.inputs);
        Self { shape: Convolution { inputs, outputs, ..self.shape }, ..*self }
    }

    /// Floats of a layer's transformed filters, in either direction.
    fn filters(&self) -> usize {
        POINTS * (self.shape.inputs * rounded(self.shape.outputs)).max(self.shape.outputs * rounded(self.shape.inputs))
    }

    /// Floats that a thread needs.
    fn scratch(&self) -> usize {
        let Convolution { inputs, outputs, .. } = self.shape;
        let widest = inputs.max(outputs);
        let forward = self.slab_tiles() * (padded(inputs) + padded(outputs));
        let gradient = self.chunk_tiles() * (rounded(inputs) + rounded(outputs));
        rounded(widest) + POINTS * forward.max(gradient)
    }

    /// Floats that all threads share, for a batch of `n`.
    fn workspace(&self, n: usize, training: bool) -> usize {
        let Convolution { inputs, outputs, .. } = self.shape;
        let tiles = self.wide_tiles(n);
        let forward = if self.wide { POINTS * tiles * (padded(inputs) + padded(outputs)) } else { 0 };
        let products = POINTS * inputs * rounded(outputs);
        let gradient = if self.wide_gradient {
            products + POINTS * tiles * (rounded(inputs) + rounded(outputs))
        } else {
            self.parts() * products
        };
        if training { forward.max(gradient) } else { forward }
    }

    /// Whole rows of tiles near `target` tiles.
    fn whole_rows(&self, target: usize) -> usize {
        (target / self.tiles.across).max(1) * self.tiles.across
    }

    /// Tiles of a narrow layer's slab.
    fn slab_tiles(&self) -> usize {
        let each = POINTS * (padded(self.shape.inputs) + padded(self.shape.outputs));
        self.whole_rows((SLAB_FLOATS / each).clamp(24, 96))
    }

    /// Tiles of a narrow weight gradient's chunk.
    fn chunk_tiles(&self) -> usize {
        let each = POINTS * (rounded(self.shape.inputs) + rounded(self.shape.outputs));
        self.whole_rows((SLAB_FLOATS / each).clamp(24, CHUNK))
    }

    /// Tiles of a wide layer's phase.
    fn wide_tiles(&self, n: usize) -> usize {
        self.whole_rows(WIDE_TILES).min(n * self.tiles.down * self.tiles.across)
    }

    /// Sums of a narrow weight gradient that run side by side.
    fn parts(&self) -> usize {
        let products = POINTS * self.shape.inputs * rounded(self.shape.outputs);
        (4 * 1024 * 1024 / products).clamp(1, 16)
    }

    fn all_tiles(&self, pixels: usize) -> usize {
        pixels / (self.tiles.height * self.tiles.width) * self.tiles.down * self.tiles.across
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
        let Convolution { inputs, outputs, .. } = self.shape;
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
                unsafe { filter(self.set, from.as_ptr(), inputs * outputs, channels, points) };
            }
        });
    }

    /// The same for the input gradient, whose filters are turned by 180 degrees and whose inputs are the outputs:
    /// [group of inputs][point][outputs][16]. Turning a filter swaps the first and last point of each direction.
    fn transform_turned_filters(&self, weights: &[f32], to: &mut [f32]) {
        let Convolution { inputs, outputs, .. } = self.shape;
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
                    unsafe { filter(self.set, from.as_ptr(), inputs * outputs, columns, points) };
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
        let Convolution { inputs, outputs, .. } = self.shape;
        let pixels = x.len() / inputs;
        assert!(x.len() == pixels * inputs && y.len() == pixels * outputs);
        assert!(bias.is_none_or(|b| b.len() == outputs));
        let total = self.all_tiles(pixels);
        let y = Shared::new(y);
        let filters = &room.filters[..POINTS * inputs * rounded(outputs)];
        let right = |point: usize| Right {
            data: filters[point * inputs * GROUP..].as_ptr(),
            group: POINTS * inputs * GROUP,
            step: GROUP,
        };
        let (v_row, m_row) = (padded(inputs), padded(outputs));
        let groups = rounded(outputs) / GROUP;
        if !self.wide {
            let slab = self.slab_tiles();
            (0..total.div_ceil(slab)).into_par_iter().with_max_len(1).for_each(|index| {
                room.scratch.with(|scratch| {
                    let (zeros, scratch) = scratch.split_at_mut(rounded(inputs.max(outputs)));
                    zeros.fill(0.0);
                    let first = index * slab;
                    let count = slab.min(total - first);
                    let (v, m) = scratch.split_at_mut(POINTS * count * v_row);
                    let (v, m) = (Shared::new(v), Shared::new(&mut m[..POINTS * count * m_row]));
                    for t in 0..count {
                        self.transform_input(x, first + t, zeros, &v, t * v_row, count * v_row, GROUP);
                    }
                    for point in 0..POINTS {
                        let left = Left { data: v.at(point * count * v_row), row: v_row, step: 1 };
                        let to = Result { data: m.at(point * count * m_row), row: m_row, accumulate: false };
                        // SAFETY: v has `count` rows of `inputs` at each point, m as many of whole groups of outputs,
                        // the filters a row of whole groups for each input; v and m are this task's alone.
                        unsafe { multiply(self.set, count, inputs, groups, left, right(point), to) };
                    }
                    for t in 0..count {
                        self.transform_output(&m, t * m_row, count * m_row, first + t, bias, relu, &y);
                    }
                });
            });
            return;
        }
        let phase = self.whole_rows(WIDE_TILES);
        for first in (0..total).step_by(phase) {
            let count = phase.min(total - first);
            let (v, m) = room.workspace.split_at_mut(POINTS * count * v_row);
            let (v, m) = (Shared::new(v), Shared::new(&mut m[..POINTS * count * m_row]));
            self.each_tile(count, room.scratch, |t, zeros| {
                self.transform_input(x, first + t, zeros, &v, t * v_row, count * v_row, GROUP);
            });
            let tasks = groups.div_ceil(TASK_GROUPS);
            (0..POINTS * tasks).into_par_iter().with_max_len(1).for_each(|task| {
                let (point, group) = (task / tasks, task % tasks * TASK_GROUPS);
                let left = Left { data: v.at(point * count * v_row), row: v_row, step: 1 };
                let right = right(point);
                // SAFETY: as for a slab; tasks write different points or different columns of m.
                unsafe {
                    let right = Right { data: right.data.add(group * right.group), ..right };
                    let to =
                        Result { data: m.at(point * count * m_row + group * GROUP), row: m_row, accumulate: false };
                    multiply(self.set, count, inputs, TASK_GROUPS.min(groups - group), left, right, to);
                }
            });
            self.each_tile(count, room.scratch, |t, _| {
                self.transform_output(&m, t * m_row, count * m_row, first + t, bias, relu, &y);
            });
        }
    }

    /// Runs `task` for tiles 0 .. count on all threads, a few at a time, with a thread's row of zeros.
    fn each_tile(&self, count: usize, scratch: &Scratch, task: impl Fn(usize, &[f32]) + Sync) {
        let step = 8;
        (0..count.div_ceil(step)).into_par_iter().for_each(|block| {
            scratch.with(|scratch| {
                let zeros = &mut scratch[..rounded(self.shape.inputs.max(self.shape.outputs))];
                zeros.fill(0.0);
                (block * step..count.min((block + 1) * step)).for_each(|t| task(t, zeros));
            });
        });
    }

    /// V of tile `tile`: point p of channel c goes to `start + p * point + c / 16 * group + c % 16` of `to`.
    #[expect(clippy::too_many_arguments, reason = "a strided destination takes this many numbers to name")]
    fn transform_input(
        &self,
        x: &[f32],
        tile: usize,
        zeros: &[f32],
        to: &Shared<'_>,
        start: usize,
        point: usize,
        group: usize,
    ) {
        let c = self.shape.inputs;
        let pixels: [*const f32; POINTS] = std::array::from_fn(|p| match self.tiles.pixel(tile, p / 4, p % 4, 1) {
            Some(pixel) => x[pixel * c..][..c].as_ptr(),
            None => zeros[..c].as_ptr(),
        });
        assert!(start + (POINTS - 1) * point + (c - 1) / GROUP * group + (c - 1) % GROUP < to.len());
        // SAFETY: each pixel has c floats; the destination lies within `to` (asserted) and is this tile's alone.
        unsafe { input(self.set, &pixels, c, Points { data: to.at(start), point, group }) };
    }

    /// A dy A^T of tile `tile`, to where [`Self::transform_input`] would put it.
    #[expect(clippy::too_many_arguments, reason = "a strided destination takes this many numbers to name")]
    fn transform_gradient(
        &self,
        dy: &[f32],
        tile: usize,
        zeros: &[f32],
        to: &Shared<'_>,
        start: usize,
        point: usize,
        group: usize,
    ) {
        let c = self.shape.outputs;
        let pixels: [*const f32; 4] = std::array::from_fn(|p| match self.tiles.pixel(tile, p / 2, p % 2, 0) {
            Some(pixel) => dy[pixel * c..][..c].as_ptr(),
            None => zeros[..c].as_ptr(),
        });
        assert!(start + (POINTS - 1) * point + (c - 1) / GROUP * group + (c - 1) % GROUP < to.len());
        // SAFETY: as for the input.
        unsafe { gradient(self.set, &pixels, c, Points { data: to.at(start), point, group }) };
    }

    /// y of tile `tile` from its products, at `start + p * point + c` of `m`.
    #[expect(clippy::too_many_arguments, reason = "a strided source takes this many numbers to name")]
    fn transform_output(
        &self,
        m: &Shared<'_>,
        start: usize,
        point: usize,
        tile: usize,
        bias: Option<&[f32]>,
        relu: bool,
        y: &Shared<'_>,
    ) {
        let c = self.shape.outputs;
        let pixels: [*mut f32; 4] = std::array::from_fn(|p| match self.tiles.pixel(tile, p / 2, p % 2, 0) {
            Some(pixel) => {
                assert!((pixel + 1) * c <= y.len());
                y.at(pixel * c)
            }
            None => std::ptr::null_mut(),
        });
        assert!(start + (POINTS - 1) * point + c <= m.len());
        let bias = bias.map_or(std::ptr::null(), <[f32]>::as_ptr);
        // SAFETY: the source lies within `m` and the pixels within `y` (asserted); no other tile has these pixels.
        unsafe { output(self.set, Points { data: m.at(start), point, group: GROUP }, c, bias, relu, &pixels) };
    }

    /// dw [3, 3, inputs, outputs].
    pub fn weight_gradient(&self, x: &[f32], dy: &[f32], dw: &mut [f32], room: &mut Room<'_>) {
        let Convolution { inputs, outputs, .. } = self.shape;
        let pixels = x.len() / inputs;
        assert!(x.len() == pixels * inputs && dy.len() == pixels * outputs && dw.len() == 9 * inputs * outputs);
        let total = self.all_tiles(pixels);
        let products = POINTS * inputs * rounded(outputs);
        let parts = if self.wide_gradient {
            let (du, workspace) = room.workspace.split_at_mut(products);
            self.sum_wide(x, dy, total, du, workspace, room.scratch);
            1
        } else {
            self.sum_narrow(x, dy, total, &mut room.workspace[..self.parts() * products], room.scratch)
        };
        let (sums, dw) = (Shared::new(&mut *room.workspace), Shared::new(dw));
        (0..inputs).into_par_iter().for_each(|i| {
            let from = Points { data: sums.at(i * rounded(outputs)), point: inputs * rounded(outputs), group: GROUP };
            // SAFETY: the parts' sums lie within the workspace; tap t of input i lies at (t * inputs + i) * outputs of
            // dw, and each task has an input of its own.
            unsafe {
                filter_gradient(self.set, from, parts, products, outputs, dw.at(i * outputs), inputs * outputs);
            }
        });
    }

    /// dU of each part of the tiles, [part][point][inputs][outputs, rounded]; returns the number of parts.
    fn sum_narrow(&self, x: &[f32], dy: &[f32], total: usize, sums: &mut [f32], scratch: &Scratch) -> usize {
        let Convolution { inputs, outputs, .. } = self.shape;
        let (c, o) = (rounded(inputs), rounded(outputs));
        let products = POINTS * inputs * o;
        let chunk = self.chunk_tiles();
        let part = total.div_ceil(chunk).div_ceil(self.parts()) * chunk;
        let parts = total.div_ceil(part);
        sums[..parts * products].par_chunks_mut(products).with_max_len(1).enumerate().for_each(|(index, sums)| {
            sums.fill(0.0);
            let sums = Shared::new(sums);
            scratch.with(|scratch| {
                let (zeros, scratch) = scratch.split_at_mut(rounded(inputs.max(outputs)));
                zeros.fill(0.0);
                let end = total.min((index + 1) * part);
                for first in (index * part..end).step_by(chunk) {
                    let count = chunk.min(end - first);
                    let (v, d) = scratch.split_at_mut(POINTS * count * c);
                    let (v, d) = (&mut v[..], &mut d[..POINTS * count * o]);
                    if o > outputs {
                        d.fill(0.0);
                    }
                    let (v, d) = (Shared::new(v), Shared::new(d));
                    for t in 0..count {
                        self.transform_input(x, first + t, zeros, &v, t * GROUP, count * c, count * GROUP);
                        self.transform_gradient(dy, first + t, zeros, &d, t * GROUP, count * o, count * GROUP);
                    }
                    for point in 0..POINTS {
                        self.add_products(
                            &v,
                            point * count * c,
                            &d,
                            point * count * o,
                            0..inputs,
                            count,
                            count,
                            &sums,
                            point,
                        );
                    }
                }
            });
        });
        parts
    }

    /// dU [point][inputs][outputs, rounded] of all tiles.
    fn sum_wide(
        &self,
        x: &[f32],
        dy: &[f32],
        total: usize,
        sums: &mut [f32],
        workspace: &mut [f32],
        scratch: &Scratch,
    ) {
        let Convolution { inputs, outputs, .. } = self.shape;
        let (c, o) = (rounded(inputs), rounded(outputs));
        sums.par_chunks_mut(inputs * o).for_each(|sums| sums.fill(0.0));
        let sums = Shared::new(sums);
        let phase = self.whole_rows(WIDE_TILES);
        for first in (0..total).step_by(phase) {
            let count = phase.min(total - first);
            let (v, d) = workspace.split_at_mut(POINTS * count * c);
            let d = &mut d[..POINTS * count * o];
            if o > outputs {
                d.fill(0.0);
            }
            let (v, d) = (Shared::new(v), Shared::new(d));
            self.each_tile(count, scratch, |t, zeros| {
                self.transform_input(x, first + t, zeros, &v, t * GROUP, count * c, count * GROUP);
                self.transform_gradient(dy, first + t, zeros, &d, t * GROUP, count * o, count * GROUP);
            });
            let tasks = inputs.div_ceil(TASK_GROUPS * GROUP);
            (0..POINTS * tasks).into_par_iter().with_max_len(1).for_each(|task| {
                let (point, row) = (task / tasks, task % tasks * TASK_GROUPS * GROUP);
                let rows = row..inputs.min(row + TASK_GROUPS * GROUP);
                self.add_products(&v, point * count * c, &d, point * count * o, rows, count, CHUNK, &sums, point);
            });
        }
    }

    /// Adds V^T D of one point to rows `rows` of its sums: `count` tiles, `chunk` of them at a time.
    #[expect(clippy::too_many_arguments, reason = "two strided sources and a destination")]
    fn add_products(
        &self,
        v: &Shared<'_>,
        v_start: usize,
        d: &Shared<'_>,
        d_start: usize,
        rows: std::ops::Range<usize>,
        count: usize,
        chunk: usize,
        sums: &Shared<'_>,
        point: usize,
    ) {
        let (inputs, o) = (self.shape.inputs, rounded(self.shape.outputs));
        for group in (0..o / GROUP).step_by(2) {
            let groups = 2.min(o / GROUP - group);
            for row in rows.clone().step_by(GROUP) {
                let height = GROUP.min(rows.end - row);
                for t in (0..count).step_by(chunk) {
                    let left = Left { data: v.at(v_start + row * count + t * GROUP), row: 1, step: GROUP };
                    let data = d.at(d_start + (group * count + t) * GROUP);
                    let right = Right { data, group: count * GROUP, step: GROUP };
                    let data = sums.at((point * inputs + row) * o + group * GROUP);
                    let to = Result { data, row: o, accumulate: true };
                    // SAFETY: v has `count` tiles of whole groups of inputs at each point, d as many of outputs, and
                    // sums a row of whole groups for each input; these rows of this point are this task's alone.
                    unsafe { multiply(self.set, height, chunk.min(count - t), groups, left, right, to) };
                }
            }
        }
    }
}
