//! Batches in micro-batches on the CPU engine: how their gradients and statistics become those of the batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::thread;

use vggkit::distributed::exchange::Exchange;
use vggkit::distributed::threads::{Wire, links};
use vggkit::engine::cpu::CpuEngine;
use vggkit::engine::peers::{Alone, Peers, Together};
use vggkit::engine::{Batch, Engine, Normalisation, Optimizer, Settings, State, Update};
use vggkit::error::Result;
use vggkit::vgg::Network;
use vggkit::vgg::initialisation::initialise;

const BATCH: usize = 11;

pub fn network() -> Network {
    Network { width: 0.06, classes: 9, image_size: 32, dropout: 0.3, ..Network::default() }
}

pub fn settings() -> Settings {
    Settings {
        batch_size: BATCH,
        normalisation: Normalisation::default(),
        optimizer: Some(Optimizer::sgd(0.9, 1e-3)),
        update: Update::default(),
        label_smoothing: 0.1,
        taught: 0.0,
        enhances: false,
        seed: 3,
        threads: 2,
        precise: false,
    }
}

/// Losses and the state after three steps, the last on a smaller batch.
pub fn steps(engine: &mut dyn Engine) -> (Vec<f32>, State) {
    let image_size = engine.plan().network.image_size;
    for (step, count) in [BATCH, BATCH, 6].into_iter().enumerate() {
        let elements = count * image_size * image_size * 3;
        let input: Vec<f32> = (0..elements).map(|i| ((i * 31 + step * 7) % 97) as f32 / 48.0 - 1.0).collect();
        let labels: Vec<u32> = (0..count as u32).map(|i| i * 4 % 9).collect();
        engine.train_step(Batch::Activations { input: &input, labels: &labels }, 0.05).expect("a step");
    }
    let losses = engine.drain_metrics().expect("metrics").iter().map(|m| m.loss).collect();
    (losses, engine.state().expect("a state"))
}

fn train(network: &Network, settings: Settings, together: Option<Together>) -> (Vec<f32>, State) {
    let plan = network.plan().expect("a plan");
    let state = State::new(initialise(&plan, 1));
    let mut engine = match together {
        Some(together) => CpuEngine::with_peers(plan, settings, state, together),
        None => CpuEngine::new(plan, settings, state),
    };
    steps(engine.as_mut().expect("an engine"))
}

pub fn alone(micro_batch: usize, sync_batch_norm: bool) -> Option<Together> {
    Some(Together { peers: Arc::new(Alone::new(micro_batch)), sync_batch_norm })
}

/// The largest relative distance of a tensor.
pub fn distance(a: &State, b: &State) -> f64 {
    let apart = |(a, b): (&Vec<f32>, &Vec<f32>)| {
        let difference: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        (difference / b.iter().map(|b| f64::from(*b).powi(2)).sum::<f64>().max(1e-12)).sqrt()
    };
    a.tensors.iter().zip(&b.tensors).map(apart).fold(0.0, f64::max)
}

#[test]
fn one_micro_batch_is_the_batch() {
    for network in
        [network(), Network { batch_norm: false, ..network() }, Network { depth: 16, conv1x1: true, ..network() }]
    {
        let whole = train(&network, settings(), None);
        for sync in [false, true] {
            assert!(train(&network, settings(), alone(BATCH, sync)) == whole, "synchronised: {sync}");
        }
    }
}

/// Sums in another order differ by rounding; momentum makes it visible in all weights.
#[test]
fn micro_batches_add_up_to_the_batch() {
    let plain = Network { batch_norm: false, ..network() };
    for (network, sync) in [(plain, false), (network(), true)] {
        let (losses, whole) = train(&network, settings(), None);
        for micro_batch in [1, 2, 3, 4, 8] {
            let (parts, state) = train(&network, settings(), alone(micro_batch, sync));
            let error = distance(&state, &whole);
            assert!(error > 0.0 && error < 1e-4, "{micro_batch} {sync}: {error}");
            assert!(parts.iter().zip(&losses).all(|(a, b)| (a - b).abs() < 1e-4), "{parts:?} {losses:?}");
        }
    }
}

/// Statistics of a micro-batch are not those of the batch.
#[test]
fn batch_normalisation_sees_each_by_itself_unless_synchronised() {
    let (_, whole) = train(&network(), settings(), None);
    let (_, parts) = train(&network(), settings(), alone(4, false));
    assert!(distance(&parts, &whole) > 1e-2);
}

#[test]
fn any_number_of_threads_has_the_same_bits() {
    for sync in [false, true] {
        let clipped = Settings { update: Update { clip_norm: Some(0.1), ..Update::default() }, ..settings() };
        let one = train(&network(), Settings { threads: 1, ..clipped.clone() }, alone(3, sync));
        assert!(train(&network(), Settings { threads: 3, ..clipped }, alone(3, sync)) == one);
    }
}

/// Peers that count how many buffers they were given more than they gave.
#[derive(Debug)]
pub struct Counting(Alone, AtomicIsize);

impl Counting {
    pub fn new(micro_batch: usize) -> Self {
        Self(Alone::new(micro_batch), AtomicIsize::new(0))
    }

    /// Buffers more that they were given than they gave.
    pub fn kept(&self) -> isize {
        self.1.load(Ordering::Relaxed)
    }
}

impl Peers for Counting {
    fn rank(&self) -> usize {
        self.0.rank()
    }
    fn ranks(&self) -> usize {
        self.0.ranks()
    }
    fn micro_batch(&self) -> usize {
        self.0.micro_batch()
    }
    fn begin(&self, bucket: usize, samples: usize, len: usize, nodes: Vec<Vec<f32>>) -> Result<()> {
        self.1.fetch_add(nodes.len() as isize, Ordering::Relaxed);
        self.0.begin(bucket, samples, len, nodes)
    }
    fn finish(&self) -> Result<(usize, Vec<f32>)> {
        self.1.fetch_sub(1, Ordering::Relaxed);
        self.0.finish()
    }
    fn buffer(&self, len: usize) -> Vec<f32> {
        self.1.fetch_sub(1, Ordering::Relaxed);
        self.0.buffer(len)
    }
    fn give_back(&self, buffer: Vec<f32>) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.give_back(buffer);
    }
    fn all(&self, mine: &[f64]) -> Result<Vec<Vec<f64>>> {
        self.0.all(mine)
    }
}

/// Batches of 6 micro-batches, and of 3, are two nodes of the tree each: a buffer more than one that travels anyhow.
#[test]
fn buffers_that_travel_come_back() {
    let peers = Arc::new(Counting::new(2));
    let together = Together { peers: Arc::clone(&peers) as Arc<dyn Peers>, sync_batch_norm: false };
    train(&network(), settings(), Some(together));
    assert_eq!(peers.kept(), 0);
}

/// What each rank comes to by `train`, of ranks as threads.
pub fn ranks<T: Send>(count: usize, micro_batch: usize, train: impl Fn(usize, Arc<dyn Peers>) -> T + Sync) -> Vec<T> {
    let train = &train;
    thread::scope(|scope| {
        let begun: Vec<_> = links(count, Wire::default())
            .into_iter()
            .enumerate()
            .map(|(rank, link)| {
                scope.spawn(move || {
                    train(rank, Arc::new(Exchange::new(Arc::new(link), micro_batch).expect("an exchange")))
                })
            })
            .collect();
        begun.into_iter().map(|rank| rank.join().expect("a rank")).collect()
    })
}

/// Also with more ranks than micro-batches, whose number is no power of two, and which the last step has fewer of.
#[test]
fn any_number_of_ranks_has_the_same_bits() {
    let plain = Network { batch_norm: false, ..network() };
    let update = Update { clip_norm: Some(0.1), ema: Some(0.9), ..Update::default() };
    let settings = Settings { update, threads: 1, ..settings() };
    for (network, sync) in [(&plain, false), (&network(), true), (&network(), false)] {
        for micro_batch in [2, 5] {
            let one = train(network, settings.clone(), alone(micro_batch, sync));
            for count in [1, 2, 3, 4] {
                let found = ranks(count, micro_batch, |_, peers| {
                    train(network, settings.clone(), Some(Together { peers, sync_batch_norm: sync }))
                });
                for (rank, found) in found.iter().enumerate() {
                    assert!(*found == one, "rank {rank} of {count}, micro-batches of {micro_batch}, {sync}");
                }
            }
        }
    }
}
