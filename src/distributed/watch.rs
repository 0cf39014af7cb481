//! Watches the other ranks for what these cannot tell themselves: that they were killed, or hang.
//!
//! Each rank beats: a thread of its own sends a byte to the next one every second, however long a step or a checkpoint takes
//! meanwhile. Who has heard nothing of the one before for as long as its patience says so. A process that ended is known to the
//! others of its machine at once ([`processes`](super::processes)). Patience is a matter of time in which this rank is awake
//! itself: ranks that were all stopped, or whose machine slept, go on.
//!
//! It does not find out a rank whose computation never ends while its process lives: docs/distributed.md says why.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::handshake::{self, Member};
use super::link::{Channel, Incoming, Link, Outgoing};
use super::processes::{Beside, Process};
use crate::error::{Error, Kind, Result};

/// Between two beats.
const BEAT: Duration = Duration::from_secs(1);

/// Between two looks at what came.
const LOOK: Duration = Duration::from_millis(50);

/// What a beat says: that there will be others, or none.
const ALIVE: u8 = 1;
const LEAVES: u8 = 0;

/// A rank's watch over the one before it, and over those of its machine. Dropping it ends it without waiting.
#[derive(Debug)]
pub struct Watch {
    over: Arc<AtomicBool>,
    /// None once it is to end.
    beating: Option<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

/// What a rank has heard of the one before.
#[derive(Debug, Default)]
struct Heard {
    beats: AtomicUsize,
    left: AtomicBool,
    lost: Mutex<Option<Error>>,
}

impl Watch {
    /// Watches from now on, and gives `fault` the first one. `members` are known at some time. Errors: no thread to be had.
    pub fn start(
        link: &Arc<dyn Link>,
        patience: Duration,
        members: Arc<OnceLock<Vec<Member>>>,
        fault: impl FnOnce(&Error) + Send + 'static,
    ) -> Result<Self> {
        let (rank, ranks) = (link.rank(), link.ranks());
        let (next, before) = ((rank + 1) % ranks, (rank + ranks - 1) % ranks);
        let (over, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(Heard::default()));
        let (beating, stop) = mpsc::channel();
        let mut watch = Self { over: Arc::clone(&over), beating: Some(beating), threads: Vec::new() };
        if ranks < 2 {
            return Ok(watch);
        }
        // One that waits for a rank that is stopped keeps the others from nothing.
        let (of_beating, of_hearing, hearing) = (Arc::clone(link), Arc::clone(link), Arc::clone(&heard));
        watch.spawn("beats", move || beat(&*of_beating, next, &stop))?;
        watch.spawn("beats of another rank", move || hear(&*of_hearing, before, &hearing))?;
        watch.spawn("watch over other ranks", move || {
            if let Some(error) = look(before, patience, &members, &heard, &over) {
                fault(&error);
            }
        })?;
        Ok(watch)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = thread::Builder::new().name(name.into()).spawn(body);
        self.threads.push(thread.map_err(|e| Error::threads(1, e))?);
        Ok(())
    }

    /// Ends it, where all ranks do so: waits until the one before does.
    pub fn end(mut self) {
        self.stop();
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a panic was told
        }
    }

    fn stop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.beating = None;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Beats until nobody holds the other end of `stop` any more, and says so then.
fn beat(link: &dyn Link, next: usize, stop: &Receiver<()>) {
    loop {
        let says = match stop.recv_timeout(BEAT) {
            Err(RecvTimeoutError::Timeout) => ALIVE,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => LEAVES,
        };
        let sent = link.exchange(Channel::Beats, &[Outgoing { to: next, bytes: &[says] }], &mut []);
        if sent.is_err() || says == LEAVES {
            return;
        }
    }
}

/// Counts the beats of the rank `before` until it leaves.
fn hear(link: &dyn Link, before: usize, heard: &Heard) {
    loop {
        let mut says = [LEAVES];
        match link.exchange(Channel::Beats, &[], &mut [Incoming::new(before, &mut says)]) {
            Ok(()) if says == [LEAVES] => return heard.left.store(true, Ordering::Relaxed),
            Ok(()) => heard.beats.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                *heard.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return;
            }
        };
    }
}

/// The first fault until the watch is `over`.
fn look(
    before: usize,
    patience: Duration,
    members: &OnceLock<Vec<Member>>,
    heard: &Heard,
    over: &AtomicBool,
) -> Option<Error> {
    let mut beside: Option<Beside> = None;
    let mut silence = Silence { beats: 0, lasts: Duration::ZERO, looked: Instant::now() };
    let named = |rank: usize| {
        let member = members.get().and_then(|members| members.get(rank));
        member.map_or_else(|| format!("rank {rank}"), |member| handshake::named(rank, &member.host))
    };
    while !over.load(Ordering::Relaxed) {
        if beside.is_none() {
            let processes = members.get().map(|members| members.iter().map(|member| &member.process).enumerate());
            beside = processes.map(|processes| Beside::new(&Process::this(), processes));
        }
        let ended = match &beside {
            Some(beside) => beside.wait(LOOK),
            None => {
                thread::sleep(LOOK);
                None
            }
        };
        if let Some(rank) = ended {
            let what = format!("{} ended without a word: it was killed, or crashed", named(rank));
            return Some(Error::new(Kind::PeerLost, what).with_help(
                "what started the ranks says by what, or the system's log where memory ran out; `--resume` goes on",
            ));
        }
        if let Some(error) = heard.lost.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Some(error);
        }
        let beats = heard.beats.load(Ordering::Relaxed);
        if silence.lasts(beats, Instant::now()) > patience && !heard.left.load(Ordering::Relaxed) {
            let what = format!("{} has given no sign of life for {} s", named(before), patience.as_secs_f64());
            return Some(Error::new(Kind::PeerLost, what).with_help(
                "its process is stopped, or its machine or the network to it is gone; `--resume` goes on \
                 (VGGKIT_PATIENCE=SECONDS waits for longer)",
            ));
        }
    }
    None
}

/// For how long nothing was heard.
struct Silence {
    beats: usize,
    lasts: Duration,
    looked: Instant,
}

impl Silence {
    /// How long it lasts at `now`, when `beats` have come. Time in which this process itself was stopped does not count.
    fn lasts(&mut self, beats: usize, now: Instant) -> Duration {
        let passed = now.duration_since(self.looked).min(BEAT);
        self.looked = now;
        self.lasts = if beats == self.beats { self.lasts + passed } else { Duration::ZERO };
        self.beats = beats;
        self.lasts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_in_time_that_this_process_is_awake() {
        let begun = Instant::now();
        let at = |milliseconds| begun + Duration::from_millis(milliseconds);
        let mut silence = Silence { beats: 0, lasts: Duration::ZERO, looked: begun };
        assert_eq!(silence.lasts(1, at(50)), Duration::ZERO);
        assert_eq!(silence.lasts(1, at(100)), Duration::from_millis(50));
        assert_eq!(
            silence.lasts(1, at(3_600_100)),
            Duration::from_millis(1050),
            "stopped for an hour, as the others were"
        );
        assert_eq!(silence.lasts(1, at(3_600_150)), Duration::from_millis(1100));
        assert_eq!(silence.lasts(3, at(3_600_200)), Duration::ZERO, "and they beat again");
    }
}
