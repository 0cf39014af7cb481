//! The other ranks as an engine knows them ([`Peers`]), over any link: sums of gradients are under way on a thread of their own while
//! the engine computes the gradients of earlier layers.
//!
//! Buckets are summed in the order in which they were begun, which is the same on all ranks. A failure of the link comes out of
//! the next call that waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::link::{Channel, Link};
use super::sum::Summation;
use super::words;
use crate::engine::peers::{self, Peers};
use crate::engine::tree;
use crate::error::{Error, Kind, Result};

/// What communication cost one rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Traffic {
    /// Bytes sent to other ranks.
    pub bytes: u64,
    /// Seconds from the moment that a bucket's turn came, or that words were given, until it was done. Waiting for
    /// ranks that are not there yet counts.
    pub communication: f64,
    /// Those of them in which the engine waited.
    pub waited: f64,
}

impl Traffic {
    /// The share of communication behind which the engine computed; 1 where there was none.
    pub fn overlap(&self) -> f64 {
        if self.communication > 0.0 { (1.0 - self.waited / self.communication).clamp(0.0, 1.0) } else { 1.0 }
    }
}

/// A bucket to sum.
struct Begun {
    bucket: usize,
    leaves: usize,
    len: usize,
    nodes: Vec<Vec<f32>>,
}

/// A bucket that was summed, with its number.
type Summed = Result<(usize, Vec<f32>)>;

/// What both threads use.
#[derive(Debug, Default)]
struct Shared {
    traffic: Mutex<Traffic>,
    spare: Mutex<Vec<Vec<f32>>>,
}

/// See the module.
#[derive(Debug)]
pub struct Exchange {
    link: Arc<dyn Link>,
    micro_batch: usize,
    shared: Arc<Shared>,
    /// None once it is to end.
    begin: Option<Sender<Begun>>,
    done: Mutex<Receiver<Summed>>,
    /// Begun and not taken yet.
    under_way: AtomicUsize,
    thread: Option<JoinHandle<()>>,
}

impl Exchange {
    /// The ranks that `link` joins, which share out batches by micro-batches of `micro_batch` samples. Errors: no thread to be
    /// had.
    pub fn new(link: Arc<dyn Link>, micro_batch: usize) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (begin, begun) = mpsc::channel();
        let (finished, done) = mpsc::channel();
        let (of_thread, same) = (Arc::clone(&link), Arc::clone(&shared));
        let thread = thread::Builder::new().name("sums of gradients".into());
        let thread = thread.spawn(move || same.sum_all(&*of_thread, &begun, &finished));
        let thread = thread.map_err(|e| Error::threads(1, e))?;
        Ok(Self {
            link,
            micro_batch: micro_batch.max(1),
            shared,
            begin: Some(begin),
            done: Mutex::new(done),
            under_way: AtomicUsize::new(0),
            thread: Some(thread),
        })
    }

    /// What communication has cost so far.
    pub fn traffic(&self) -> Traffic {
        *lock(&self.shared.traffic)
    }
}

impl Shared {
    /// Sums what is begun until nobody can begin anything any more, or the link fails.
    fn sum_all(&self, link: &dyn Link, begun: &Receiver<Begun>, finished: &Sender<Summed>) {
        let mut summation = Summation::new(link);
        for Begun { bucket, leaves, len, mut nodes } in begun {
            let started = Instant::now();
            let sent = summation.sent;
            let mut sum = peers::take_spare(&mut lock(&self.spare), len);
            let done = summation.sum(leaves, &nodes, &mut sum).map(|()| (bucket, sum));
            lock(&self.spare).append(&mut nodes);
            self.count(summation.sent - sent, started.elapsed(), Duration::ZERO);
            let failed = done.is_err();
            if finished.send(done).is_err() || failed {
                return;
            }
        }
    }

    fn count(&self, bytes: u64, communication: Duration, waited: Duration) {
        let mut traffic = lock(&self.traffic);
        traffic.bytes += bytes;
        traffic.communication += communication.as_secs_f64();
        traffic.waited += waited.as_secs_f64();
    }
}

impl Peers for Exchange {
    fn rank(&self) -> usize {
        self.link.rank()
    }

    fn ranks(&self) -> usize {
        self.link.ranks()
    }

    fn micro_batch(&self) -> usize {
        self.micro_batch
    }

    fn begin(&self, bucket: usize, samples: usize, len: usize, nodes: Vec<Vec<f32>>) -> Result<()> {
        peers::check(bucket, &tree::nodes(self.leaves(samples)), len, &nodes)?;
        let leaves = tree::leaves(samples, self.micro_batch);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        // Where the thread ended by a failure of the link, that failure waits to be taken.
        let _ = self.begin.as_ref().map(|begin| begin.send(Begun { bucket, leaves, len, nodes }));
        Ok(())
    }

    fn finish(&self) -> Result<(usize, Vec<f32>)> {
        if self.under_way.load(Ordering::Relaxed) == 0 {
            return Err(peers::none_begun());
        }
        let started = Instant::now();
        let done = lock(&self.done).recv();
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        self.shared.count(0, Duration::ZERO, started.elapsed());
        done.unwrap_or_else(|_| Err(Error::new(Kind::PeerLost, "the other ranks cannot be reached any more")))
    }

    fn buffer(&self, len: usize) -> Vec<f32> {
        peers::take_spare(&mut lock(&self.shared.spare), len)
    }

    fn give_back(&self, buffer: Vec<f32>) {
        lock(&self.shared.spare).push(buffer);
    }

    fn all(&self, mine: &[f64]) -> Result<Vec<Vec<f64>>> {
        let started = Instant::now();
        let (said, sent) = words::all(&*self.link, Channel::Words, bytemuck::cast_slice(mine))?;
        self.shared.count(sent, started.elapsed(), started.elapsed());
        let words = |bytes: Vec<u8>| bytes.as_chunks().0.iter().map(|word| f64::from_ne_bytes(*word)).collect();
        Ok(said.into_iter().map(words).collect())
    }
}

impl Drop for Exchange {
    /// Waits for its thread, unless that waits for other ranks: then whoever failed ends them all.
    fn drop(&mut self) {
        self.begin = None;
        if *self.under_way.get_mut() == 0
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join(); // what it could tell has been taken
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
