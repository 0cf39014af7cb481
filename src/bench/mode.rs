//! Whether training or inference is measured.

use serde::{Deserialize, Serialize};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Forward, backward and Adam.
    Train,
    /// Forward, with running statistics.
    Infer,
}
