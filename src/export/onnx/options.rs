//! How a network becomes a graph.

use clap::ValueEnum;

/// What the graph is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Input {
    /// f32 [batch, 3, size, size], normalised by the caller: (RGB / 255 - mean) / std
    #[default]
    Float,
    /// u8 [batch, size, size, 3], RGB as an image has it: normalised in the graph
    U8,
}

/// How a network becomes a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What it is given.
    pub input: Input,
    /// Whether batch normalisation goes into the convolutions.
    pub fold: bool,
    /// Whether weights and layers are f16. Input and output stay as they are, and so does local response normalisation.
    pub half: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { input: Input::default(), fold: true, half: false }
    }
}

impl Input {
    /// For whoever opens the file.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Float => "RGB, channels first, normalised by the caller: (RGB / 255 - mean) / std",
            Self::U8 => "RGB from 0 to 255, channels last",
        }
    }
}
