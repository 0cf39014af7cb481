//! A convolution's shape, and the workspace that its passes are given.

use crate::engine::cpu::plumbing::buffer::Scratch;
use crate::engine::cpu::plumbing::simd::InstructionSet;

/// One convolution's shape: stride 1, zero padding `kernel / 2`, so that the size stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Kernel height and width, 1 or 3.
    pub kernel: usize,
    /// Rows of a sample.
    pub height: usize,
    /// Columns of a sample.
    pub width: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Samples of the batches that it is made for, which decides on the size of Winograd's tiles.
    pub batch: usize,
    /// Keep to the most exact way to compute it.
    pub precise: bool,
    /// Instructions to use.
    pub set: InstructionSet,
}

/// Memory that the passes need in between, as large as [`Convolution::workspace`] says.
pub struct Workspace<'a> {
    /// For each thread.
    pub scratch: &'a Scratch,
    /// Shared by all threads.
    pub shared: &'a mut [f32],
    /// Transformed filters.
    pub filters: &'a mut [f32],
}

/// Floats of a [`Workspace`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkspaceSizes {
    pub scratch: usize,
    pub shared: usize,
    pub filters: usize,
}

impl WorkspaceSizes {
    /// Enough for either.
    pub fn max(self, other: Self) -> Self {
        Self {
            scratch: self.scratch.max(other.scratch),
            shared: self.shared.max(other.shared),
            filters: self.filters.max(other.filters),
        }
    }
}
