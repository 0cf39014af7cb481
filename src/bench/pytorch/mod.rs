//! The same network in PyTorch, measured in turn with vggkit: [`Peers`] asks a [`Process`] for every way that PyTorch has,
//! in both memory layouts, and keeps what it has when the process dies. Installs nothing.

mod process;

use std::path::Path;

use serde::{Deserialize, Serialize};

use self::process::{Answer, Process};
use super::{Mode, median};
use crate::error::Result;
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
pub enum Layout {
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

impl Layout {
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
    pub layout: Layout,
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
    pub layout: Layout,
    /// The median of `rounds`.
    pub images_per_s: f64,
    /// Images per second of each round.
    pub rounds: Vec<f64>,
    /// As [`Peer::memory_bytes`].
    pub memory_bytes: u64,
}

impl Peer {
    /// How it computed.
    pub fn way(&self) -> Way {
        Way { precision: self.precision, graph: self.graph }
    }

    /// Takes in another round.
    fn add(&mut self, layout: Layout, images_per_s: f64, memory_bytes: u64) {
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

/// PyTorch in every way that its device has.
#[derive(Debug)]
pub struct Peers {
    process: Option<Process>,
    ways: &'static [Way],
    peers: Vec<Peer>,
    failures: Vec<String>,
}

impl Peers {
    /// Starts `python`; `None` where `stopped` says so before it is ready. Errors: it does not start.
    pub fn start(python: &Path, question: &Question, stopped: &dyn Fn() -> bool) -> Result<Option<Self>> {
        let process = Process::start(python, question, stopped)?;
        let ways = Way::all(question.cuda);
        Ok(process.map(|process| Self { process: Some(process), ways, peers: Vec::new(), failures: Vec::new() }))
    }

    /// A round of about `seconds` in each way: in both layouts the first time, then in the better one. `tell` hears what
    /// is being measured and what came of it. Leaves at once where `stopped` says so; what fails is not tried again.
    pub fn round(&mut self, seconds: u64, tell: &dyn Fn(&str), stopped: &dyn Fn() -> bool) {
        let first = self.peers.is_empty() && self.failures.is_empty();
        for way in self.ways {
            let known = self.peers.iter().find(|peer| peer.way() == *way).map(|peer| peer.layout);
            let layouts = Layout::ALL.into_iter().filter(|layout| first || known == Some(*layout));
            for layout in layouts {
                let Some(process) = &mut self.process else { return };
                let name = format!("PyTorch {}, {}", way.name(), layout.name());
                tell(&name);
                match process.measure(*way, layout, seconds, stopped) {
                    Answer::Measured(images_per_s, memory_bytes) => {
                        tell(&format!("  {images_per_s:.1} images/s"));
                        self.add(*way, layout, images_per_s, memory_bytes);
                    }
                    Answer::Failed(why) => self.failed(&name, &why, tell),
                    Answer::Died(why) => {
                        self.process = None;
                        self.failed(&name, &why, tell);
                    }
                    Answer::Stopped => return,
                }
            }
        }
    }

    fn add(&mut self, way: Way, layout: Layout, images_per_s: f64, memory_bytes: u64) {
        if !self.peers.iter().any(|peer| peer.way() == way) {
            let Some(Process { version, device, .. }) = &self.process else { return };
            let (version, device) = (version.clone(), device.clone());
            let Way { precision, graph } = way;
            let (rounds, layouts) = (Vec::new(), Vec::new());
            self.peers.push(Peer {
                version,
                device,
                precision,
                graph,
                layout,
                images_per_s,
                rounds,
                memory_bytes,
                ratio: 0.0,
                layouts,
            });
        }
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.way() == way) {
            peer.add(layout, images_per_s, memory_bytes);
        }
    }

    fn failed(&mut self, name: &str, why: &str, tell: &dyn Fn(&str)) {
        tell(&format!("  failed: {why}"));
        self.failures.push(format!("{name}: {why}"));
    }

    /// What came out beside vggkit's `images_per_s`, and what failed.
    pub fn finish(mut self, images_per_s: f64) -> (Vec<Peer>, Vec<String>) {
        for peer in &mut self.peers {
            peer.ratio = images_per_s / peer.images_per_s;
        }
        (self.peers, self.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_layout_counts() {
        let mut peers = Peers { process: None, ways: Way::all(true), peers: Vec::new(), failures: Vec::new() };
        let way = Way { precision: Precision::Amp, graph: true };
        peers.peers.push(Peer {
            version: String::new(),
            device: String::new(),
            precision: way.precision,
            graph: way.graph,
            layout: Layout::Contiguous,
            images_per_s: 0.0,
            rounds: Vec::new(),
            memory_bytes: 0,
            ratio: 0.0,
            layouts: Vec::new(),
        });
        for (layout, rate, memory) in [
            (Layout::ChannelsLast, 100.0, 7),
            (Layout::Contiguous, 200.0, 9),
            (Layout::Contiguous, 220.0, 8),
            (Layout::Contiguous, 300.0, 8),
        ] {
            peers.add(way, layout, rate, memory);
        }
        let (peers, failures) = peers.finish(110.0);
        let peer = &peers[0];
        assert_eq!((peer.layout, peer.images_per_s, peer.memory_bytes), (Layout::Contiguous, 220.0, 9));
        assert_eq!((&peer.rounds[..], peer.ratio, peers.len()), (&[200.0, 220.0, 300.0][..], 0.5, 1));
        assert_eq!(peer.layouts.iter().map(|t| t.images_per_s).collect::<Vec<_>>(), [100.0, 220.0]);
        assert!(failures.is_empty(), "{failures:?}");
    }

    #[test]
    fn a_cpu_is_asked_for_float32_alone() {
        let names = |cuda| Way::all(cuda).iter().map(|way| way.name()).collect::<Vec<_>>();
        assert_eq!(names(false), ["float32"]);
        assert_eq!(names(true), ["float32", "TF32", "mixed precision", "mixed precision in a CUDA graph"]);
    }
}
