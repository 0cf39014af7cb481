//! Matrix products: which form of the product goes behind an operand file, with what constants, and its grid; shaders
//! `product_tiled.wgsl` (hardware) and `product_registers.wgsl` (software devices). What is multiplied is the operand
//! file's matter: `convolution.wgsl`, `convolution_weight.wgsl`, or Winograd's.

use crate::engine::gpu::plumbing::dispatch::{Groups, spread};
use crate::engine::gpu::plumbing::source::Constant;
use crate::engine::gpu::plumbing::source::shader;

/// `shaders/products/product_tiled.wgsl`.
pub const TILED: &str = shader!("products/product_tiled");
/// `shaders/products/product_registers.wgsl`.
pub const REGISTERS: &str = shader!("products/product_registers");

/// Depths that one f32 accumulator sums before it is stored. A sum over all pixels of a batch in one would lose two digits
/// (LOG.md); a multiple of every tile's depth.
pub const CHUNK: usize = 1024;

/// Most work of one dispatch, in floating-point operations: a tenth of a second on the slowest cards, so that a desktop
/// goes on and no driver takes it for hung.
const DISPATCH_FLOP: usize = 50_000_000_000;

/// A form of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    /// Tiles of so many rows and columns (multiples of 64) in workgroup memory.
    Tiled {
        /// Of C.
        rows: u32,
        /// Of C.
        columns: u32,
    },
    /// No workgroup memory, no barriers. Needs [`subgroups_of_eight`](crate::engine::gpu::plumbing::capabilities::Capabilities).
    Registers,
}

impl Product {
    /// Which of [the tiled file with operands, the other with operands].
    pub fn pick<T>(self, tiled: T, registers: T) -> T {
        match self {
            Self::Tiled { .. } => tiled,
            Self::Registers => registers,
        }
    }

    /// What its file needs. `chunk` is [`CHUNK`], or larger where the depth is a layer's width.
    pub fn constants(self, chunk: usize) -> Vec<(&'static str, Constant)> {
        let chunk = ("CHUNK", Constant::U32(chunk as u32));
        match self {
            Self::Tiled { rows, columns } => vec![
                chunk,
                ("TILE_ROWS", Constant::U32(rows)),
                ("TILE_COLUMNS", Constant::U32(columns)),
                ("TILE_DEPTH", Constant::U32(if rows.min(columns) >= 128 { 16 } else { 8 })),
            ],
            Self::Registers => vec![chunk],
        }
    }

    /// Rows and columns of C that one workgroup computes.
    pub fn tile(self) -> (usize, usize) {
        match self {
            Self::Tiled { rows, columns } => (rows as usize, columns as usize),
            Self::Registers => (32, 64),
        }
    }

    /// Workgroups for `rows` x `columns` results in each of `slices`.
    pub fn grid(self, rows: usize, columns: usize, slices: usize) -> Groups {
        grid(self.tile(), rows, columns, slices)
    }
}

/// Workgroups of a `tile` of (rows, columns) each for `rows` x `columns` results in each of `slices`.
pub fn grid(tile: (usize, usize), rows: usize, columns: usize, slices: usize) -> Groups {
    if rows == 0 { [0; 3] } else { spread(rows.div_ceil(tile.0) * columns.div_ceil(tile.1), slices) }
}

/// Ranges of `rows` (first, number) for one dispatch each, so that none is too long: `depth` is what a result sums up in
/// all slices together.
pub fn ranges(rows: usize, columns: usize, depth: usize) -> impl Iterator<Item = (usize, usize)> {
    let most = (DISPATCH_FLOP / (2 * columns * depth).max(1) / 128).max(1) * 128;
    (0..rows).step_by(most).map(move |first| (first, most.min(rows - first)))
}
