//! Ranks that are processes, on one machine or several, joined by MPI: what `mpirun` and `srun` start.
//!
//! Only point-to-point messages are used, begun and asked after, never waited for inside the library: its waiting calls keep a core
//! busy, which is the core that computes gradients. For the same reason one call is made at a time, by whichever thread, so that a
//! library need not be built for several threads. No collective is used: which order those add in is the library's to choose.
//!
//! A failure inside MPI, such as a lost connection, ends all ranks with the library's own message.

use std::ffi::c_int;
use std::fmt::{self, Debug, Formatter};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use mpi::Threading;
use mpi::datatype::Equivalence;
use mpi::environment::Universe;
use mpi::point_to_point::{Destination, Source};
use mpi::request::{self, StaticScope};
use mpi::topology::{Communicator, SimpleCommunicator};

use super::link::{Channel, Incoming, Link, Outgoing};
use crate::error::{Error, Kind, Result};

/// The longest message that MPI counts.
const LONGEST: usize = c_int::MAX as usize;

/// How long a thread sleeps at least and at most before it asks again. A message of 13 MB takes some 4 ms within a machine, and
/// nobody waits for a beat.
const SHORTEST_SLEEP: Duration = Duration::from_micros(50);
const LONGEST_SLEEP: Duration = Duration::from_millis(1);
const LONGEST_SLEEP_OF_BEATS: Duration = Duration::from_millis(20);

/// How long a thread waits before it asks, now and then, whether another rank has ended all.
const ASKS_AFTER: Duration = Duration::from_millis(20);

/// The tag, beside those of [`Channel`], of the notice that a rank ends all and has told why. `mpirun` lets the others live for
/// another second or more, in which they would tell what they know too.
const NOTICE: c_int = 100;

/// How long a rank lets its notice travel before it ends all.
const NOTICE_TRAVELS: Duration = Duration::from_millis(50);

/// How long a rank that got the notice waits to be ended, before it ends by itself.
const NOTICED: Duration = Duration::from_secs(1);

/// How long an end waits for another thread's call, and for the library and the launcher, which may hang.
const END_WAITS: Duration = Duration::from_secs(1);
const END_TAKES: Duration = Duration::from_secs(4);

/// This process among those that one launcher started.
pub struct Mpi {
    rank: usize,
    ranks: usize,
    /// Held during every call.
    calls: Mutex<()>,
    _universe: Universe,
}

impl Debug for Mpi {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mpi").field("rank", &self.rank).field("ranks", &self.ranks).finish_non_exhaustive()
    }
}

impl Mpi {
    /// Joins the others. Waits until all of them do. Errors: this process did before; a library that may be called by
    /// one thread only.
    pub fn join() -> Result<Self> {
        let joined = mpi::initialize_with_threading(Threading::Serialized);
        let (universe, threading) =
            joined.ok_or_else(|| Error::new(Kind::Engine, "this process has joined the other ranks already"))?;
        let world = universe.world();
        if threading < Threading::Serialized {
            let library = mpi::environment::library_version().unwrap_or_default();
            let what = format!("{} may be called by one thread only", library.lines().next().unwrap_or("this MPI"));
            return Err(Error::new(Kind::Engine, what)
                .with_help("build it with threads (MPI_THREAD_SERIALIZED or better), or use another MPI"));
        }
        let [rank, ranks] = [world.rank(), world.size()].map(|number| usize::try_from(number).unwrap_or_default());
        Ok(Self { rank, ranks, calls: Mutex::new(()), _universe: universe })
    }

    fn call(&self) -> MutexGuard<'_, ()> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    fn exchange(&self, channel: Channel, outgoing: &[Outgoing<'_>], incoming: &mut [Incoming<'_>]) -> Result<()> {
        let lengths = outgoing.iter().map(|message| message.bytes.len());
        if let Some(len) = lengths.chain(incoming.iter().map(|message| message.bytes.len())).find(|len| *len > LONGEST)
        {
            let what = format!("a message of {len} bytes between ranks: MPI counts to {LONGEST}");
            return Err(Error::new(Kind::Engine, what).with_help("train on more ranks, or a smaller network"));
        }
        let tag = channel as c_int;
        let world = SimpleCommunicator::world();
        let sent = outgoing.len();
        let mut lens = vec![0; incoming.len()];
        request::multiple_scope(sent + incoming.len(), |scope, requests| {
            {
                let _call = self.call();
                // What is sent is announced before what is received is asked for: over a network both take the same way, and
                // an answer that stands behind a message would let the other rank send only when that has arrived.
                for message in outgoing {
                    let to = world.process_at_rank(message.to as c_int);
                    requests.add(to.immediate_send_with_tag(scope, message.bytes, tag));
                }
                for message in incoming.iter_mut() {
                    let from = world.process_at_rank(message.from as c_int);
                    requests.add(from.immediate_receive_into_with_tag(scope, &mut *message.bytes, tag));
                }
            }
            let mut waiting = Waiting::new(channel);
            let mut done = Vec::new();
            while requests.incomplete() > 0 {
                let call = self.call();
                requests.test_some(&mut done);
                for (number, status, _) in done.iter().filter(|(number, ..)| *number >= sent) {
                    lens[*number - sent] = usize::try_from(status.count(u8::equivalent_datatype())).unwrap_or_default();
                }
                drop(call);
                if !done.is_empty() {
                    waiting = Waiting::new(channel);
                    continue;
                }
                waiting.pause();
                if waiting.asks() {
                    self.ended();
                }
            }
        });
        incoming.iter_mut().zip(lens).for_each(|(message, len)| message.len = len);
        Ok(())
    }

    /// Where another rank ended all, this process ends here.
    fn ended(&self) -> bool {
        let call = self.call();
        let notice = SimpleCommunicator::world().any_process().immediate_probe_with_tag(NOTICE);
        drop(call);
        if notice.is_some() {
            thread::sleep(NOTICED); // so that the launcher hears of the other one first, whose exit code counts
            leave_at_once(1);
        }
        false
    }

    fn abort(&self, code: u8) {
        let last = move || {
            thread::sleep(END_TAKES);
            leave_at_once(code);
        };
        let _ = thread::Builder::new().spawn(last); // else it ends when the library does
        let begun = Instant::now();
        // A thread that is in a call for longer hangs there: what follows is the end of all in any case.
        let _call = loop {
            match self.calls.try_lock() {
                Ok(call) => break Some(call),
                Err(TryLockError::Poisoned(poisoned)) => break Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if begun.elapsed() > END_WAITS => break None,
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
            }
        };
        let world = SimpleCommunicator::world();
        for rank in (0..self.ranks).filter(|rank| *rank != self.rank) {
            let notice = world.process_at_rank(rank as c_int).immediate_send_with_tag(StaticScope, &[0u8; 1], NOTICE);
            mem::forget(notice); // nobody waits for it: what it sends is static
        }
        // Asking is what lets the library send.
        let begun = Instant::now();
        while begun.elapsed() < NOTICE_TRAVELS {
            let _ = world.any_process().immediate_probe_with_tag(NOTICE);
            thread::sleep(LONGEST_SLEEP);
        }
        world.abort(c_int::from(code));
    }
}

/// Ends this process and does nothing else: a library's last calls may wait for ranks that are gone.
fn leave_at_once(code: u8) -> ! {
    #[cfg(unix)]
    // SAFETY: runs nothing of this process any more, and does not return.
    unsafe {
        libc::_exit(c_int::from(code))
    }
    #[cfg(not(unix))]
    std::process::exit(i32::from(code))
}

/// How a thread waits: for words, which somebody needs, it stays awake for a moment; else it sleeps, since somebody computes, and
/// longer the longer nothing comes.
struct Waiting {
    since: Instant,
    awake: Duration,
    longest: Duration,
    asked: Instant,
}

impl Waiting {
    /// From now on.
    fn new(channel: Channel) -> Self {
        let (awake, longest) = match channel {
            Channel::Words => (Duration::from_millis(1), LONGEST_SLEEP),
            Channel::Sums | Channel::End => (Duration::ZERO, LONGEST_SLEEP),
            Channel::Beats => (Duration::ZERO, LONGEST_SLEEP_OF_BEATS),
        };
        let now = Instant::now();
        Self { since: now, awake, longest, asked: now }
    }

    /// Whether it is time to ask whether all have ended.
    fn asks(&mut self) -> bool {
        let asks = self.asked.elapsed() > ASKS_AFTER;
        if asks {
            self.asked = Instant::now();
        }
        asks
    }

    fn pause(&self) {
        let waited = self.since.elapsed();
        if waited < self.awake {
            thread::yield_now();
        } else {
            thread::sleep((waited / 16).clamp(SHORTEST_SLEEP, self.longest));
        }
    }
}
