//! A training step with peers. The gradients of each micro-batch come to the host bucket by bucket, through mapped buffers, while the
//! device goes on with those of earlier layers; there they are added as the tree says, travel, and come back as the batch's for the
//! update.
//!
//! Nothing waits for the queue to be empty: two micro-batches are under way. Batch normalisation sees each micro-batch by itself; its
//! running statistics follow on the host, one micro-batch of the batch after another, wherever each was computed.

use std::collections::VecDeque;
use std::mem::take;
use std::ops::Range;
use std::sync::Arc;

use super::layout::{pack, unpack};
use super::network::GpuNetwork;
use super::plumbing::device::{Gpu, Slice};
use super::plumbing::dispatch::Dispatch;
use super::plumbing::readback::{Readback, Staging};
use super::plumbing::step::StepUniform;
use crate::engine::State;
use crate::engine::buckets::{Bucket, Order, buckets};
use crate::engine::layout::Place;
use crate::engine::peers::Peers;
use crate::engine::settling::{self, EPSILON, Normalised, Outcome};
use crate::engine::tree::{self, Stack};
use crate::error::Result;

/// Micro-batches under way at most, so that one is computed while what another came to is taken.
const AHEAD: usize = 2;

/// See the module.
pub struct Sharing {
    peers: Arc<dyn Peers>,
    buckets: Vec<Bucket>,
    /// How buckets travel, once that is known.
    order: Option<Order>,
    normalised: Vec<Normalised>,
    /// The running statistics, as they lie on the device.
    running: Vec<f32>,
    /// What is brought to the host of a micro-batch: the range of each bucket, then those of metrics and of statistics together.
    ranges: Vec<Vec<Slice>>,
    /// Host memory of micro-batches that are not under way: that of each bucket, then of the rest.
    spare: Vec<Vec<Staging>>,
}

/// What an engine gives a step.
pub struct Given<'a> {
    /// Its device.
    pub gpu: &'a Gpu,
    /// Its network, which was given the whole batch.
    pub network: &'a GpuNetwork,
    /// Samples of the batch.
    pub samples: usize,
    /// Fills the input with so many samples from a first one on, or names the calls that will.
    pub input: &'a dyn Fn(usize, usize) -> &'a [Dispatch],
    /// What every shader sees of them.
    pub seen: &'a dyn Fn(usize, usize) -> StepUniform,
}

/// A micro-batch that was submitted.
struct UnderWay {
    leaf: usize,
    samples: usize,
    buckets: Vec<Readback>,
    /// Metrics, and what each layer's batch normalisation saved.
    outcome: Readback,
}

/// What the micro-batches of a step came to so far.
struct Sums {
    /// Of each bucket.
    gradients: Vec<Stack<Vec<f32>>>,
    /// As peers are told.
    told: Vec<f64>,
}

impl Sharing {
    /// To train `network` of `gpu` together with `peers`. Errors: no memory on the host.
    pub fn new(peers: Arc<dyn Peers>, gpu: &Gpu, network: &GpuNetwork) -> Result<Self> {
        let layout = network.layout();
        let (buckets, normalised) = (buckets(layout, true), settling::normalised(layout));
        let part = |bucket: &Bucket| {
            let part = |all: &Slice| all.part(bucket.range.start, bucket.range.len());
            network.all_gradients().map(part).into_iter().collect::<Vec<Slice>>()
        };
        let statistics = normalised.iter().filter(|layer| layer.trained);
        let statistics = statistics.filter_map(|layer| network.saved_statistics(layer.step)).cloned();
        let rest = std::iter::once(network.metrics().part(0, 4)).chain(statistics).collect();
        let ranges: Vec<Vec<Slice>> = buckets.iter().map(part).chain([rest]).collect();
        let spare = vec![staging(gpu, &ranges)?];
        let running = vec![0.0; layout.extent.running];
        Ok(Self { peers, buckets, order: None, normalised, running, ranges, spare })
    }

    /// The samples of a batch of `n` that are computed here.
    pub fn share(&self, n: usize) -> Range<usize> {
        self.peers.share(n)
    }

    /// Takes the running statistics of a state that was put into the network.
    pub fn load(&mut self, places: &[Place], state: &State) {
        for (place, values) in places.iter().zip(&state.tensors).filter(|(place, _)| !place.parameter) {
            self.running[place.range.clone()].copy_from_slice(&pack(place, values));
        }
    }

    /// A step of which `update` says what its update takes. What the whole batch came to. Errors: others are gone; the device's.
    pub fn step(&mut self, given: &Given<'_>, update: StepUniform) -> Result<Outcome> {
        let (peers, network, n) = (Arc::clone(&self.peers), given.network, given.samples);
        let order = match self.order {
            Some(order) => order,
            None => *self.order.insert(Order::agreed(&*peers, &network.layout().format)?),
        };
        let gradients = self.buckets.iter().map(|_| Stack::default()).collect();
        let mut sums = Sums { gradients, told: Vec::new() };
        let mut under_way = VecDeque::new();
        for leaf in peers.leaves(n) {
            if under_way.len() == AHEAD
                && let Some(oldest) = under_way.pop_front()
            {
                self.take(given, oldest, order, &mut sums, false)?;
            }
            under_way.push_back(self.submit(given, leaf)?);
        }
        if under_way.is_empty() {
            self.buckets.iter().enumerate().try_for_each(|(number, _)| self.begin(given, order, &mut sums, number))?;
        }
        while let Some(oldest) = under_way.pop_front() {
            self.take(given, oldest, order, &mut sums, under_way.is_empty())?;
        }
        let told = peers.all(&sums.told)?;
        let sizes = tree::sizes(n, peers.micro_batch());
        let outcome = settling::settle(&told, &self.normalised, sizes, false, &mut self.running);
        let moving = network.layout().extent.moving;
        if moving > 0 {
            given.gpu.write(&network.tensors(false).part(0, moving), &self.running[..moving]);
        }
        for _ in 0..self.buckets.len() {
            let (number, sum) = peers.finish()?;
            self.put(given, order, number, &sum);
            given.gpu.submit([], 0, &[]); // so that it is on its way while later ones are waited for
            peers.give_back(sum);
        }
        given.gpu.write_step((given.seen)(0, n).with_rates(&update));
        let [_, _, calls] = network.training(true);
        given.gpu.submit([calls], 1, &[]);
        given.gpu.check()?;
        Ok(outcome)
    }

    /// Submits micro-batch `leaf`: a submission for each bucket, which copies it.
    fn submit(&mut self, given: &Given<'_>, leaf: usize) -> Result<UnderWay> {
        let (gpu, network, n) = (given.gpu, given.network, given.samples);
        let Range { start: first, end } = tree::samples_of(leaf..leaf + 1, n, self.peers.micro_batch());
        let samples = end - first;
        let spare = self.spare.pop().map_or_else(|| staging(gpu, &self.ranges), Ok)?;
        let (mut staging, ranges) = (spare.into_iter(), &self.ranges);
        let input = (given.input)(first, samples);
        gpu.write_step(StepUniform { accumulate: 0, ..(given.seen)(first, samples) });
        let [forward, ..] = network.training(false);
        let parts = network.backward_to(self.buckets.iter().map(|bucket| bucket.step));
        let mut readbacks = Vec::with_capacity(ranges.len());
        for (number, ((part, ranges), to)) in parts.into_iter().zip(ranges).zip(staging.by_ref()).enumerate() {
            let before = if number == 0 { [input, forward] } else { [&[][..]; 2] };
            let submission = gpu.submit(before.into_iter().chain([part]), samples, &to.copies(ranges));
            readbacks.push(to.submitted(ranges, submission));
        }
        let Some((ranges, to)) = ranges.last().zip(staging.next()) else { unreachable!("each range has a staging") };
        let submission = gpu.submit([], 0, &to.copies(ranges));
        let outcome = to.submitted(ranges, submission);
        gpu.check()?;
        Ok(UnderWay { leaf, samples, buckets: readbacks, outcome })
    }

    /// Takes what a micro-batch came to; with the `last` one each bucket begins to travel as soon as it is there.
    fn take(&mut self, given: &Given<'_>, done: UnderWay, order: Order, sums: &mut Sums, last: bool) -> Result<()> {
        let (gpu, peers) = (given.gpu, Arc::clone(&self.peers));
        let UnderWay { leaf, samples, buckets, outcome } = done;
        let mut staging = Vec::with_capacity(buckets.len() + 1);
        for (number, readback) in buckets.into_iter().enumerate() {
            readback.wait(gpu)?;
            let sum = readback.look(gpu, 0, |values| self.outgoing(given.network.places(), order, number, values))?;
            sums.gradients[number].push(leaf..leaf + 1, sum, |mut left, right| {
                tree::add(&mut left, &right);
                peers.give_back(right);
                left
            });
            staging.push(readback.done());
            if last {
                self.begin(given, order, sums, number)?;
            }
        }
        outcome.wait(gpu)?;
        let [loss, top1, top5] = outcome.look(gpu, 0, |metrics| [metrics[0], metrics[1], metrics[2]])?;
        let came_to = Outcome { loss: f64::from(loss), top1: top1.to_bits(), top5: top5.to_bits() };
        sums.told.extend(came_to.told());
        let mut ranges = 1..;
        for layer in &self.normalised {
            match layer.trained.then(|| ranges.next()).flatten() {
                Some(range) => {
                    let count = (layer.pixels * samples) as f64;
                    outcome.look(gpu, range, |saved| sums.told.extend(moments(saved, layer.channels, count)))?;
                }
                None => sums.told.extend(std::iter::repeat_n(0.0, 2 * layer.channels)),
            }
        }
        staging.push(outcome.done());
        self.spare.push(staging);
        Ok(())
    }

    /// Lets the sums of bucket `number` travel.
    fn begin(&self, given: &Given<'_>, order: Order, sums: &mut Sums, number: usize) -> Result<()> {
        let len = order.numbers(&self.buckets[number], given.network.places());
        self.peers.begin(number, given.samples, len, take(&mut sums.gradients[number]).into_nodes())
    }

    /// Bucket `number` as it travels, of its `values` on the device.
    fn outgoing(&self, places: &[Place], order: Order, number: usize, values: &[f32]) -> Vec<f32> {
        let bucket = &self.buckets[number];
        let mut sent = self.peers.buffer(order.numbers(bucket, places));
        match order {
            Order::Memory => sent.copy_from_slice(values),
            Order::Torchvision => {
                sent.clear();
                for place in bucket.tensors(places) {
                    let Range { start, end } = place.from(bucket.range.start).range;
                    sent.extend(unpack(place, &values[start..end]));
                }
            }
        }
        sent
    }

    /// Writes the sum of bucket `number` to the device.
    fn put(&self, given: &Given<'_>, order: Order, number: usize, sum: &[f32]) {
        let (bucket, Some(gradients)) = (&self.buckets[number], given.network.all_gradients()) else { return };
        match order {
            Order::Memory => given.gpu.write(&gradients.part(bucket.range.start, bucket.range.len()), sum),
            Order::Torchvision => {
                let mut rest = sum;
                for place in bucket.tensors(given.network.places()) {
                    let (values, after) = rest.split_at(place.elements());
                    let to = gradients.part(place.range.start, place.range.len());
                    given.gpu.write(&to, &pack(place, values));
                    rest = after;
                }
            }
        }
    }
}

/// Host memory for what is brought of one micro-batch.
fn staging(gpu: &Gpu, ranges: &[Vec<Slice>]) -> Result<Vec<Staging>> {
    ranges.iter().map(|ranges| Staging::new(gpu, ranges)).collect()
}

/// Means and sums of squared deviations of `channels` channels, of what batch normalisation saved of `count` pixels: four times as many
/// numbers as it has channels, padded.
fn moments(saved: &[f32], channels: usize, count: f64) -> Vec<f64> {
    let padded = saved.len() / 4;
    let part = |index: usize| saved[index * padded..][..channels].iter().map(|value| f64::from(*value));
    let variance = |inverse: f64| (inverse * inverse).recip() - EPSILON;
    let squares = part(3).map(|inverse| if variance(inverse) < 0.0 { 0.0 } else { variance(inverse) * count });
    part(2).chain(squares).collect()
}
