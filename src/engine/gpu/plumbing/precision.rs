//! In which precision the GPU engine multiplies, and what an adapter needs for it. Chooses no kernel: that is `variant`'s.
//!
//! What is not NVIDIA's gets an error with the reason. RDNA 3 and 4 (AMD) have matrix units that Vulkan lists, but run subgroups of
//! 32 or 64 as the driver pleases, Intel's Arc of 8, 16 or 32; wgpu 30 lets the driver choose (it asks for varying sizes
//! and takes no required one), and `product_half.wgsl` counts on 32. Apple's matrices are 8x8x8, which would need a form
//! of the product of its own. When wgpu can require a size, AMD's and Intel's cards are one line here and a test on one.

use wgpu::{CooperativeScalarType, Features};

use super::adapter::Found;
use super::capabilities::Matrices;
use crate::error::{Error, Kind, Result};

/// Invocations of a subgroup that `product_half.wgsl` is written for.
const SUBGROUP: u32 = 32;

impl Matrices {
    /// What `found` can do. Errors: hardware without the matrices that are needed; it is not emulated there, because plain
    /// f32 is faster and more exact.
    pub fn of(found: &Found) -> Result<Self> {
        let info = &found.info;
        let listed = found.features.contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
            && found.adapter.cooperative_matrix_properties().iter().any(|p| {
                [p.m_size, p.n_size, p.k_size] == [16; 3]
                    && p.ab_type == CooperativeScalarType::F16
                    && p.cr_type == CooperativeScalarType::F32
            });
        let subgroups = [info.subgroup_min_size, info.subgroup_max_size];
        Self::choose(found.software(), found.features, subgroups, listed).map_err(|lack| {
            Error::new(Kind::Engine, format!("{} cannot compute in f16: {lack}", info.name)).with_help(
                "give --precision f32, which every card can do; or choose another card: NVIDIA's have tensor cores from \
                 RTX (Turing) on, and a driver of 2023 or later lists them (`vggkit devices` shows it)",
            )
        })
    }

    /// The same from an adapter's features, its least and greatest subgroup, and whether it lists cooperative matrices of
    /// the right kind. The error is what it lacks.
    fn choose(
        software: bool,
        features: Features,
        subgroups: [u32; 2],
        listed: bool,
    ) -> std::result::Result<Self, &'static str> {
        if !features.contains(Features::SHADER_F16 | Features::SUBGROUP) {
            return Err("its driver offers no f16 in shaders");
        }
        match (listed, subgroups == [SUBGROUP; 2]) {
            (true, true) => Ok(Self::Cooperative),
            _ if software => Ok(Self::Emulated),
            (false, _) => Err("its driver lists no matrix units (tensor cores) for f16 with sums in f32, 16x16x16"),
            (true, false) => {
                Err("its subgroups are not always of 32 invocations, which the kernels for matrix units need")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_needs_matrix_units_or_a_software_device() {
        let both = Features::SHADER_F16 | Features::SUBGROUP;
        let cases = [
            // An RTX card, lavapipe, and a software device that has matrices itself.
            (false, both, [32, 32], true, Ok(Matrices::Cooperative)),
            (true, both, [8, 8], false, Ok(Matrices::Emulated)),
            (true, both, [32, 32], true, Ok(Matrices::Cooperative)),
            // A GTX 1070, a GTX 1660, and a card whose subgroups have 32 or 64 invocations.
            (false, Features::SUBGROUP, [32, 32], false, Err("no f16")),
            (false, both, [32, 32], false, Err("no matrix units")),
            (false, both, [32, 64], true, Err("not always of 32")),
        ];
        for (software, features, subgroups, listed, expected) in cases {
            match (Matrices::choose(software, features, subgroups, listed), expected) {
                (Ok(ours), Ok(expected)) => assert_eq!(ours, expected),
                (Err(lack), Err(expected)) => assert!(lack.contains(expected), "{lack}"),
                (ours, expected) => panic!("{ours:?} instead of {expected:?}"),
            }
        }
    }
}
