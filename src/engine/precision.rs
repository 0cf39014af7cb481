//! In which precision an engine multiplies.

use serde::{Deserialize, Serialize};

/// What the factors of convolutions and linear layers are, and so activations and their gradients in memory. Everything else is
/// f32 in both: parameters (of which products in f16 read a copy), their gradients and moments, statistics, every sum, logits
/// and the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Not at all.
    #[default]
    F32,
    /// IEEE 754 binary16, for matrix units; the loss is scaled so that small gradients survive it.
    F16,
}

impl Precision {
    /// As `--precision` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }
}
