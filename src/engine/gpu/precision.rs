//! In which precision the GPU engine multiplies, and what an adapter needs for it. Chooses no kernel: that is `variant`'s.

use serde::{Deserialize, Serialize};
use wgpu::{CooperativeScalarType, Features};

use super::adapter::Found;
use crate::error::{Error, Kind, Result};

/// What the factors of convolutions and linear layers are rounded to. Everything else is f32 in both: activations, weights
/// and moments in memory, and every sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Not at all.
    #[default]
    F32,
    /// IEEE 754 binary16, for matrix units; the loss is scaled so that small gradients survive it.
    F16,
}

/// What multiplies f16 by f16 and adds in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Matrices {
    /// Cooperative matrices of 16x16x16: tensor cores and their like.
    Cooperative,
    /// Plain f32 arithmetic on f16 factors: on software adapters only, to test everything around the matrix units.
    Emulated,
}

/// Invocations of a subgroup that `product_half.wgsl` is written for.
const SUBGROUP: u32 = 32;

impl Matrices {
    /// What `found` can do. Errors: hardware without the matrices that are needed; it is not emulated there, because plain
    /// f32 is faster and more exact.
    pub fn of(found: &Found) -> Result<Self> {
        let info = &found.info;
        let basics = found.features.contains(Features::SHADER_F16 | Features::SUBGROUP);
        let fixed = info.subgroup_min_size == SUBGROUP && info.subgroup_max_size == SUBGROUP;
        let lists = || {
            found.adapter.cooperative_matrix_properties().iter().any(|p| {
                [p.m_size, p.n_size, p.k_size] == [16; 3]
                    && p.ab_type == CooperativeScalarType::F16
                    && p.cr_type == CooperativeScalarType::F32
            })
        };
        if basics && fixed && found.features.contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX) && lists() {
            return Ok(Self::Cooperative);
        }
        if basics && found.software() {
            return Ok(Self::Emulated);
        }
        let lack = if !basics {
            "its driver offers no f16 in shaders"
        } else if fixed {
            "its driver lists no cooperative matrices (tensor cores) of 16x16x16, f16 with sums in f32"
        } else {
            "its subgroups are not always of 32 invocations, which the kernels for matrix units need"
        };
        Err(Error::new(Kind::Engine, format!("{} cannot compute in f16: {lack}", info.name)).with_help(
            "leave --precision at f32; or choose another card: NVIDIA's have tensor cores from RTX (Turing) on, and a \
             driver of 2023 or later lists them (`vggkit devices` shows it)",
        ))
    }
}
