//! The same network in PyTorch, measured in turn with vggkit: [`Peers`] asks a [`Process`] for every way that PyTorch has,
//! in both memory layouts, and keeps what it has when the process dies. Installs nothing.

mod peer;
mod process;

use std::path::Path;

pub use self::peer::{MemoryFormat, Peer, Precision, Question, Tried, Way};
use self::process::{Answer, Process};
use crate::error::Result;

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
            let layouts = MemoryFormat::ALL.into_iter().filter(|layout| first || known == Some(*layout));
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

    fn add(&mut self, way: Way, layout: MemoryFormat, images_per_s: f64, memory_bytes: u64) {
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
            layout: MemoryFormat::Contiguous,
            images_per_s: 0.0,
            rounds: Vec::new(),
            memory_bytes: 0,
            ratio: 0.0,
            layouts: Vec::new(),
        });
        for (layout, rate, memory) in [
            (MemoryFormat::ChannelsLast, 100.0, 7),
            (MemoryFormat::Contiguous, 200.0, 9),
            (MemoryFormat::Contiguous, 220.0, 8),
            (MemoryFormat::Contiguous, 300.0, 8),
        ] {
            peers.add(way, layout, rate, memory);
        }
        let (peers, failures) = peers.finish(110.0);
        let peer = &peers[0];
        assert_eq!((peer.layout, peer.images_per_s, peer.memory_bytes), (MemoryFormat::Contiguous, 220.0, 9));
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
