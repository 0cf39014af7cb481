//! What planning needs to know of an adapter, so that a plan can be made for a card that is not there.

/// What decides which variants suit an adapter and how large their scratch is: all that planning needs of one, so that a
/// plan can be made for a card that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether it computes on the processor.
    pub software: bool,
    /// Whether every subgroup has at least eight lanes that can hand values around: what products in registers need.
    pub subgroups_of_eight: bool,
    /// The largest range that a shader can see, in four-byte numbers.
    pub binding_floats: usize,
    /// Workgroup memory of a shader, in bytes.
    pub workgroup_bytes: usize,
    /// What multiplies in f16; `None` where that was not asked for.
    pub matrices: Option<Matrices>,
}

impl Capabilities {
    /// A discrete card that binds 2 GiB - 1 as Vulkan drivers of the GTX 1070's kind do.
    pub const CARD: Self = Self {
        software: false,
        subgroups_of_eight: true,
        binding_floats: (1 << 29) - 1,
        workgroup_bytes: 48 << 10,
        matrices: None,
    };

    /// Whether activations are f16 in memory: where products have such factors.
    pub const fn half(&self) -> bool {
        self.matrices.is_some()
    }

    /// Four-byte numbers that `numbers` of an activation, a multiple of four, take in memory.
    pub const fn words(&self, numbers: usize) -> usize {
        if self.half() { numbers / 2 } else { numbers }
    }
}

/// What multiplies f16 by f16 and adds in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Matrices {
    /// Cooperative matrices of 16x16x16: tensor cores and their like.
    Cooperative,
    /// Plain f32 arithmetic on f16 factors: on software adapters only, to test everything around the matrix units.
    Emulated,
}
