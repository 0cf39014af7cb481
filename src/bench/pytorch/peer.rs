//! What is asked of PyTorch and what it reached: precisions, memory layouts, and the better of them a round.

use serde::{Deserialize, Serialize};

use crate::bench::median::median;
use crate::bench::mode::Mode;
use crate::vgg::Plan;

/// How PyTorch multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As vggkit does by default.
    Float32,
    /// Tensor cores on numbers of 10 bits.
    Tf32,
    /// Automatic mixed precision: f16 on a GPU, bf16 on a CPU.
    Amp,
}

/// How activations and weights lie in PyTorch's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryFormat {
    /// NHWC, as vggkit has it.
    #[default]
    ChannelsLast,
    /// NCHW, PyTorch's own.
    Contiguous,
}

/// One way to compute in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// How it multiplies.
    pub precision: Precision,
    /// Whether a whole step is one CUDA graph, so that the host starts nothing in it.
    pub graph: bool,
}

impl MemoryFormat {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ChannelsLast, Self::Contiguous];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChannelsLast => "channels last",
            Self::Contiguous => "contiguous",
        }
    }
}

impl Way {
    /// What a device has, the comparable one first. A graph hides the host's time, which counts where steps are short:
    /// in mixed precision.
    pub const fn all(cuda: bool) -> &'static [Self] {
        const fn way(precision: Precision, graph: bool) -> Way {
            Way { precision, graph }
        }
        const ALL: &[Way] = &[
            way(Precision::Float32, false),
            way(Precision::Tf32, false),
            way(Precision::Amp, false),
            way(Precision::Amp, true),
        ];
        if cuda { ALL } else { ALL.split_at(1).0 }
    }

    /// For people.
    pub const fn name(self) -> &'static str {
        match (self.precision, self.graph) {
            (Precision::Float32, false) => "float32",
            (Precision::Float32, true) => "float32 in a CUDA graph",
            (Precision::Tf32, false) => "TF32",
            (Precision::Tf32, true) => "TF32 in a CUDA graph",
            (Precision::Amp, false) => "mixed precision",
            (Precision::Amp, true) => "mixed precision in a CUDA graph",
        }
    }
}

/// What PyTorch reached in one way, in the layout that suits it better.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Peer {
    /// Of PyTorch.
    pub version: String,
    /// `cpu`, or the card's name.
    pub device: String,
    /// How it multiplied.
    pub precision: Precision,
    /// Whether a whole step was one CUDA graph.
    #[serde(default)]
    pub graph: bool,
    /// The better one of `layouts`.
    #[serde(default)]
    pub layout: MemoryFormat,
    /// The median of `rounds`.
    pub images_per_s: f64,
    /// Images per second of each round in `layout`.
    pub rounds: Vec<f64>,
    /// At most in `layout`, without what files back; on a card, what its allocator held.
    pub memory_bytes: u64,
    /// vggkit's images per second beside these.
    pub ratio: f64,
    /// Every layout that was tried: both in the first round, the better one in further rounds.
    #[serde(default)]
    pub layouts: Vec<Tried>,
}

/// What PyTorch reached in one layout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tried {
    /// Which.
    pub layout: MemoryFormat,
    /// The median of `rounds`.
    pub images_per_s: f64,
    /// Images per second of each round.
    pub rounds: Vec<f64>,
    /// As [`Peer::memory_bytes`].
    pub memory_bytes: u64,
}

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The network.
    pub plan: &'a Plan,
    /// Training or inference.
    pub mode: Mode,
    /// Images a step.
    pub batch_size: usize,
    /// Worker threads.
    pub threads: usize,
    /// On a card instead of the CPU.
    pub cuda: bool,
}

impl Peer {
    /// How it computed.
    pub fn way(&self) -> Way {
        Way { precision: self.precision, graph: self.graph }
    }

    /// Takes in another round.
    pub(super) fn add(&mut self, layout: MemoryFormat, images_per_s: f64, memory_bytes: u64) {
        match self.layouts.iter_mut().find(|tried| tried.layout == layout) {
            Some(tried) => {
                tried.rounds.push(images_per_s);
                tried.images_per_s = median(&tried.rounds);
                tried.memory_bytes = tried.memory_bytes.max(memory_bytes);
            }
            None => self.layouts.push(Tried { layout, images_per_s, rounds: vec![images_per_s], memory_bytes }),
        }
        if let Some(best) = self.layouts.iter().max_by(|a, b| a.images_per_s.total_cmp(&b.images_per_s)) {
            let Tried { layout, images_per_s, rounds, memory_bytes } = best.clone();
            (self.layout, self.images_per_s, self.rounds, self.memory_bytes) =
                (layout, images_per_s, rounds, memory_bytes);
        }
    }
}
