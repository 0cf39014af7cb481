//! What ends a training from outside. SIGINT and SIGTERM: the first one lets the step finish and the training save; a
//! second one leaves at once. Or a time that is up.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Error, Kind, Result};

/// Whether somebody asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    signal: Arc<AtomicUsize>,
    deadline: Option<Instant>,
}

impl Stop {
    /// Watches both signals from now on.
    pub fn on_signals() -> Result<Self> {
        let stop = Self::default();
        let failed = |e| Error::new(Kind::Io, "cannot watch for signals").with_source(e);
        let seen = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // Order matters: on the second signal the flag is already up and the process ends here.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&seen)).map_err(failed)?;
            flag::register(signal, Arc::clone(&seen)).map_err(failed)?;
            flag::register_usize(signal, Arc::clone(&stop.signal), signal.unsigned_abs() as usize).map_err(failed)?;
        }
        Ok(stop)
    }

    /// The same where several ranks train together, whose launcher passes on what the terminal has told them already: a second
    /// signal is no other.
    pub fn on_signals_of_ranks() -> Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM] {
            flag::register_usize(signal, Arc::clone(&stop.signal), signal.unsigned_abs() as usize)
                .map_err(|e| Error::new(Kind::Io, "cannot watch for signals").with_source(e))?;
        }
        Ok(stop)
    }

    /// Stops at `deadline` too.
    pub fn at(self, deadline: Option<Instant>) -> Self {
        Self { deadline, ..self }
    }

    /// Whether the time is up.
    pub fn late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// The signal that came, if one did.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
    }

    /// Errors: a signal came before the training in `folder` began.
    pub fn check(&self, folder: &Path) -> Result<()> {
        let Some(signal) = self.signal() else { return Ok(()) };
        let what = format!("stopped by a signal before the training began; {} is as it was", folder.display());
        Err(Error::new(Kind::Interrupted(signal), what))
    }

    /// Asks to stop as `signal` would.
    pub fn request(&self, signal: i32) {
        self.signal.store(signal.unsigned_abs() as usize, Ordering::Relaxed);
    }
}
