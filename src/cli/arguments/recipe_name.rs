//! The recipes that come with vggkit.

use clap::ValueEnum;

use crate::training::recipes;

/// The recipes that come with vggkit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// The replaced project's, and what is done without flags: Adam, at most 50 epochs of a constant rate. VGG-11: .356 after 18
    /// epochs and 3.7 hours on a CPU with 2 cores
    Seed,
    /// The paper's: 74 epochs of SGD with a plateau, dropout, no batch normalisation, crops of any scale, shifted colors. Not
    /// measured yet
    Paper,
    /// 22 epochs of SGD with momentum, a cosine and crops. VGG-13: .569 after 281 s on an H100 with --precision f16
    Short,
    /// For a CPU: 15 epochs of SGD with Nesterov's momentum, ten of them at 32 pixels, and a global average as the head. VGG-11:
    /// .569 after 1.6 hours on a CPU with 2 cores
    Cpu,
    /// 300 epochs of SGD with Nesterov's momentum, CutMix, averaged weights and a linear head, selected by a twentieth of train.
    /// Not measured yet
    Best,
}

impl Name {
    /// Its text, for people and for `--config`.
    pub fn text(self) -> &'static str {
        match self {
            Self::Seed => recipes::SEED,
            Self::Paper => recipes::PAPER,
            Self::Short => recipes::SHORT,
            Self::Cpu => recipes::CPU,
            Self::Best => recipes::BEST,
        }
    }
}
