//! This process as one of several ranks, from joining to the end: one message for a fault, and nobody is left behind.
//!
//! Of a fault that several ranks see, the lowest tells: rank 0 at once, the others after a while in order of rank, by which time
//! they have been ended. A rank that was killed cannot tell; then its launcher does, as `mpirun` names the rank and the signal, or,
//! where it has not ended all a few seconds later, another rank. Of one that hangs another rank tells ([`watch`](super::watch)).

use std::mem;
use std::panic;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::exchange::Exchange;
use super::handshake::{self, Member};
use super::launch;
use super::link::{Channel, Link};
use super::processes::Process;
use super::watch::Watch;
use super::words;
use crate::error::{Error, Kind, Result};

/// How long rank 1 lets rank 0 tell and end all; each further rank waits for a little more, the last ones all the same.
const TURN: Duration = Duration::from_millis(400);
const TURN_OF_NEXT: Duration = Duration::from_millis(50);
const LAST_TURN: u32 = 20;

/// How much longer a rank waits that knows only that another is gone.
const HEARSAY: Duration = Duration::from_secs(3);

/// How long the others let rank 0 tell that all were stopped: the first that ends without a word to the launcher ends all.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long ranks that were stopped by a signal wait for those that are saving.
const SAVING: Duration = Duration::from_secs(300);

/// How long an end may take of which somebody is told, or that nobody reads of: a launcher may hang too.
const LAST_RESORT: Duration = Duration::from_secs(5);

/// One rank among several.
#[derive(Clone, Debug)]
pub struct Ranks {
    link: Arc<dyn Link>,
    host: String,
    /// None for what the environment says.
    patience: Option<Duration>,
    known: Arc<Known>,
}

/// What all threads of a rank know.
#[derive(Debug, Default)]
struct Known {
    /// All ranks, once they have greeted.
    members: Arc<OnceLock<Vec<Member>>>,
    /// Whether one of them has told of a fault. Held while one does.
    told: Mutex<bool>,
    /// Whether all ranks have come to their end.
    left: AtomicBool,
}

impl Ranks {
    /// The rank at this end of `link`.
    pub fn new(link: Arc<dyn Link>) -> Self {
        Self { link, host: handshake::host(), patience: None, known: Arc::default() }
    }

    /// With so much patience for a rank that gives no sign of life, whatever the environment says ([`launch::patience`]).
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// Which one this is, from 0.
    pub fn rank(&self) -> usize {
        self.link.rank()
    }

    /// How many there are.
    pub fn ranks(&self) -> usize {
        self.link.ranks()
    }

    /// Tells the others what this rank runs on, which `mine` says, and makes sure that all have `same` alike, as
    /// [`handshake::greet`] says. Errors: the first difference.
    pub fn greet(&self, mine: Member, same: &[(&str, String)]) -> Result<Vec<Member>> {
        let mine = Member { host: self.host.clone(), process: Process::this(), ..mine };
        let members = handshake::greet(&*self.link, &mine, same)?;
        let _ = self.known.members.set(members.clone()); // they have the same processes each time
        Ok(members)
    }

    /// What rank 0 says, on all ranks: `mine` there, and nothing on the others. Errors: another rank is gone.
    pub fn of_first(&self, mine: &[u8]) -> Result<Vec<u8>> {
        words::of_first(&*self.link, Channel::Words, mine)
    }

    /// The others as an engine knows them. Errors: no thread to be had.
    pub fn exchange(&self, micro_batch: usize) -> Result<Exchange> {
        Exchange::new(Arc::clone(&self.link), micro_batch)
    }

    /// Does `body` as one of the ranks, and ends together with the others: where it succeeds or was stopped by a signal when all
    /// have come to their end, else at once, ending them too. `tell` is for the error of the one rank that tells; of an end by a
    /// signal rank 0 alone is to tell. Does not return from a fault where ranks are processes.
    pub fn run(self, tell: fn(&Error), body: impl FnOnce(&Self) -> Result<ExitCode>) -> Result<ExitCode> {
        let (members, watching) = (Arc::clone(&self.known.members), self.clone());
        let watch = self
            .patience
            .map_or_else(launch::patience, Ok)
            .and_then(|patience| Watch::start(&self.link, patience, members, move |error| watching.fail(error, tell)));
        let (watch, ended) = match watch {
            Ok(watch) => (Some(watch), body(&self)),
            Err(error) => (None, Err(error)),
        };
        match ended {
            Ok(code) => self.leave(watch).map(|()| code).inspect_err(|error| self.fail(error, tell)),
            Err(error) if matches!(error.kind(), Kind::Interrupted(_)) => {
                self.end_after(SAVING, error.exit_code());
                self.leave(watch)?;
                // A launcher that was told to stop has no part in closing a link any more: whoever waits for it is killed.
                mem::forget(Arc::clone(&self.link));
                if self.rank() == 0 {
                    return Err(error);
                }
                thread::sleep(LAST_WORDS);
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                let error = error.of(handshake::named(self.rank(), &self.host));
                self.fail(&error, tell);
                Err(error)
            }
        }
    }

    /// Makes a panic of any thread of this process the end of all ranks, told like any other fault.
    pub fn watch_panics(&self, tell: fn(&Error)) {
        // A link that is kept here would never be closed.
        let (link, host) = (Arc::downgrade(&self.link), self.host.clone());
        let (patience, known) = (self.patience, Arc::clone(&self.known));
        panic::set_hook(Box::new(move |panic| {
            let Some(link) = link.upgrade() else { return tell(&Error::new(Kind::Engine, panic.to_string())) };
            let what = format!("{} broke down: {panic}", handshake::named(link.rank(), &host));
            let what = what.lines().collect::<Vec<_>>().join(" ");
            let error = Error::new(Kind::Engine, what).with_help("this is a fault of vggkit: please report it");
            Self { link, host: host.clone(), patience, known: Arc::clone(&known) }.fail(&error, tell);
        }));
    }

    /// Waits until all ranks have come here, and watches over them no longer. Errors: another is gone.
    fn leave(&self, watch: Option<Watch>) -> Result<()> {
        words::all(&*self.link, Channel::End, &[])?;
        self.known.left.store(true, Ordering::Relaxed);
        watch.into_iter().for_each(Watch::end);
        Ok(())
    }

    /// Tells of `error` unless another rank or thread does, and ends all ranks; not where they have come to their end by then.
    fn fail(&self, error: &Error, tell: fn(&Error)) {
        let begun = Instant::now();
        let rank = u32::try_from(self.rank()).unwrap_or(u32::MAX).min(LAST_TURN);
        let turn = if rank == 0 { Duration::ZERO } else { TURN + TURN_OF_NEXT * rank };
        let turn = if error.kind() == Kind::PeerLost { turn + HEARSAY } else { turn };
        while begun.elapsed() < turn {
            if self.known.left.load(Ordering::Relaxed) || self.link.ended() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let mut told = self.known.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !mem::replace(&mut told, true) {
            self.end_after(LAST_RESORT, error.exit_code());
            tell(error);
            self.link.abort(error.exit_code());
        }
    }

    /// Ends all ranks with `code` should it take longer than `patience`.
    fn end_after(&self, patience: Duration, code: u8) {
        let link = Arc::downgrade(&self.link);
        thread::spawn(move || {
            thread::sleep(patience);
            if let Some(link) = link.upgrade() {
                link.abort(code);
            }
        });
    }
}
