//! The matrix product with f16 factors, f16 in memory already, and sums in f32, for matrix units; shader `product_half.wgsl`
//! with one of `product_half_cooperative.wgsl` and `product_half_emulated.wgsl`. What is multiplied is the operand file's
//! matter.
//!
//! Direct products only. Winograd's transforms are not offered in f16: those of F(4x4, 3x3) multiply by up to 64 what
//! cancels later, so that most of f16's eleven bits would be gone, and F(2x2, 3x3) would save 2.25 times the products of
//! units that wait for memory already.

use crate::engine::gpu::plumbing::capabilities::Capabilities;
use crate::engine::gpu::plumbing::source::Constant;
use crate::engine::gpu::plumbing::source::shader;

/// `shaders/products/product_half.wgsl`.
pub const HALF: &str = shader!("products/product_half");
/// `shaders/products/product_half_cooperative.wgsl`.
pub const COOPERATIVE: &str = shader!("products/product_half_cooperative");
/// `shaders/products/product_half_emulated.wgsl`.
pub const EMULATED: &str = shader!("products/product_half_emulated");

/// Rows of C whose moments are kept together, where they are: those of a subgroup.
pub const MOMENT_ROWS: usize = 64;

/// Tiles of so many rows and columns, multiples of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Half {
    /// Of C.
    pub rows: u32,
    /// Of C.
    pub columns: u32,
    /// Of A's rows and B's columns at a time: 16 or 32.
    pub depth: u32,
}

impl Half {
    /// Whether f16 was asked for, and the device has the workgroup memory.
    pub fn fits(self, capabilities: &Capabilities) -> bool {
        // Along the depth, where tiles are larger: two of lines of f16 with 8 to spare; and a sum of 16x16 for each 64x64.
        let lines = 2 * (self.rows + self.columns) * (self.depth + 8) * 2;
        let bytes = lines + self.rows * self.columns / 4;
        capabilities.half() && bytes as usize <= capabilities.workgroup_bytes
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
            ("TILE_DEPTH", Constant::U32(self.depth)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use wgpu::naga;

    use super::super::convolution::{FORWARD, MOMENTS, NORMALISED, PLAIN, RELU, TAPS, WEIGHT};
    use super::super::reduce::WINDOW;
    use super::super::variant::half_tiles;
    use super::*;
    use crate::engine::gpu::plumbing::source::Source;

    /// No device of the tests has matrix units: this is as far as the cooperative form goes there.
    #[test]
    fn cooperative_products_are_valid_and_become_spirv() -> std::result::Result<(), Box<dyn std::error::Error>> {
        use naga::back::spv;
        use naga::valid::{Capabilities, ValidationFlags, Validator};
        let needed = Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP;
        // What comes ahead of the product, and whether it is turned; only outputs have that.
        let outputs = |after, transposed| (vec![TAPS, WINDOW, FORWARD, after], Some(transposed));
        let passes = [
            outputs(PLAIN, false),
            outputs(PLAIN, true),
            outputs(RELU, false),
            outputs(NORMALISED, false),
            outputs(MOMENTS, false),
            (vec![TAPS, WEIGHT], None),
        ];
        for ((operands, transposed), kernel) in passes.iter().flat_map(|pass| [(pass, 3), (pass, 1)]) {
            for tile in half_tiles() {
                let mut constants = tile.constants(1024);
                constants.push(("KERNEL", Constant::U32(kernel)));
                constants.extend(transposed.map(|t| ("TRANSPOSED", Constant::Bool(t))));
                constants.extend(transposed.map(|_| ("Output", Constant::Type("Quad"))));
                let files = [operands.as_slice(), &[COOPERATIVE, HALF]].concat();
                let text = Source { name: "", files, constants, entry: "main", access: &[] }.text(true);
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
                assert!(products > 0, "{tile:?}: no matrix product in {} words", words.len());
            }
        }
        Ok(())
    }

    #[test]
    fn tiles_fit_the_workgroup_memory_that_they_say() {
        let card = Capabilities {
            matrices: Some(crate::engine::gpu::plumbing::capabilities::Matrices::Cooperative),
            ..Capabilities::CARD
        };
        let small = Capabilities { workgroup_bytes: 16 << 10, ..card };
        let fit = |on: &Capabilities| half_tiles().filter(|tile| tile.fits(on)).count();
        assert_eq!(fit(&card), half_tiles().count(), "all fit the 48 KiB of NVIDIA's driver");
        let smallest: Vec<Half> = half_tiles().filter(|tile| tile.fits(&small)).collect();
        assert_eq!(smallest, [Half { rows: 64, columns: 64, depth: 16 }]);
        assert_eq!(fit(&Capabilities::CARD), 0);
    }
}
