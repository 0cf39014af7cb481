//! The matrix product with f16 factors and sums in f32, for matrix units; shader `product_half.wgsl` with one of
//! `product_half_cooperative.wgsl` and `product_half_emulated.wgsl`. What is multiplied is the operand file's matter.
//!
//! Direct products only. Winograd's transforms are not offered in f16: those of F(4x4, 3x3) multiply by up to 64 what
//! cancels later, so that most of f16's eleven bits would be gone, and F(2x2, 3x3) would save 2.25 times the products of
//! units that wait for memory already.

use super::adapter::Capabilities;
use super::program::Constant;

/// `shaders/product_half.wgsl`.
pub const HALF: &str = include_str!("../../../shaders/product_half.wgsl");
/// `shaders/product_half_cooperative.wgsl`.
pub const COOPERATIVE: &str = include_str!("../../../shaders/product_half_cooperative.wgsl");
/// `shaders/product_half_emulated.wgsl`.
pub const EMULATED: &str = include_str!("../../../shaders/product_half_emulated.wgsl");

/// Tiles of so many rows (a multiple of 64) and columns (of 32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Half {
    /// Of C.
    pub rows: u32,
    /// Of C.
    pub columns: u32,
}

impl Half {
    /// Whether f16 was asked for, and the device has the workgroup memory.
    pub fn fits(self, capabilities: &Capabilities) -> bool {
        // Along the depth, where tiles are larger: lines of 16 f16 and 8 to spare; and a sum of 16x16 for each 64x32.
        let lines = (self.rows + self.columns) * 24 * 2;
        let bytes = lines + self.rows * self.columns / 2;
        capabilities.matrices.is_some() && bytes as usize <= capabilities.workgroup_bytes
    }

    /// Rows and columns of C that one workgroup computes.
    pub fn tile(self) -> (usize, usize) {
        (self.rows as usize, self.columns as usize)
    }

    /// What its file needs. `chunk` as in [`Product::constants`](super::product::Product::constants).
    pub fn constants(self, chunk: usize) -> Vec<(&'static str, Constant)> {
        vec![
            ("CHUNK", Constant::U32(chunk as u32)),
            ("TILE_ROWS", Constant::U32(self.rows)),
            ("TILE_COLUMNS", Constant::U32(self.columns)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use wgpu::naga;

    use super::super::convolution::{FORWARD, WEIGHT};
    use super::super::program::Source;
    use super::*;

    /// No device of the tests has matrix units: this is as far as the cooperative form goes there.
    #[test]
    fn cooperative_products_are_valid_and_become_spirv() -> std::result::Result<(), Box<dyn std::error::Error>> {
        use naga::back::spv;
        use naga::valid::{Capabilities, ValidationFlags, Validator};
        let needed = Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP;
        for (operands, transposed) in [(FORWARD, Some(false)), (FORWARD, Some(true)), (WEIGHT, None)] {
            for (rows, columns) in [(64, 64), (128, 64), (128, 128)] {
                let mut constants = Half { rows, columns }.constants(1024);
                constants.extend(transposed.map(|t| ("TRANSPOSED", Constant::Bool(t))));
                let files: &'static [&'static str] =
                    if operands == FORWARD { &[FORWARD, COOPERATIVE, HALF] } else { &[WEIGHT, COOPERATIVE, HALF] };
                let text = Source { name: "", files, constants, entry: "main", access: &[] }.text();
                let module = naga::front::wgsl::parse_str(&text).map_err(|e| e.emit_to_string(&text))?;
                let info = Validator::new(ValidationFlags::all(), needed)
                    .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
                    .subgroup_operations(naga::valid::SubgroupOperationSet::all())
                    .validate(&module)
                    .map_err(|e| e.emit_to_string(&text))?;
                let options = spv::Options { lang_version: (1, 3), ..spv::Options::default() };
                let words = spv::write_vec(&module, &info, &options, None)?;
                // The instruction itself: OpCooperativeMatrixMulAddKHR is 4459. Words are walked as instructions.
                let (mut at, mut products) = (5, 0);
                while at < words.len() {
                    products += usize::from(words[at] & 0xffff == 4459);
                    at += (words[at] >> 16).max(1) as usize;
                }
                assert!(products > 0, "{rows}x{columns}: no matrix product in {} words", words.len());
            }
        }
        Ok(())
    }

    #[test]
    fn tiles_fit_the_workgroup_memory_that_they_say() {
        let card =
            Capabilities { matrices: Some(crate::engine::gpu::precision::Matrices::Cooperative), ..Capabilities::CARD };
        let small = Capabilities { workgroup_bytes: 16 << 10, ..card };
        let tiles = [(64, 64), (128, 64), (128, 128)].map(|(rows, columns)| Half { rows, columns });
        assert_eq!(tiles.map(|t| t.fits(&card)), [true; 3]);
        assert_eq!(tiles.map(|t| t.fits(&small)), [true, true, false]);
        assert_eq!(tiles.map(|t| t.fits(&Capabilities::CARD)), [false; 3]);
    }
}
