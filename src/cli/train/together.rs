//! `vggkit train` as one of several ranks that `mpirun` or `srun` started: rank 0 trains as one alone would and tells the others
//! where each training begins; they have no folder of runs and print nothing.

use std::process::ExitCode;
use std::sync::Arc;

use super::trainings::{ask_teachers, deadline, go, traced, train};
use crate::cli::arguments::train::Arguments;
use crate::cli::output;
use crate::distributed::launch;
use crate::distributed::link::Link;
use crate::distributed::ranks::Ranks;
use crate::error::{Error, Result};
use crate::training::beginning;
use crate::training::session::{Options, Session};
use crate::training::stop::Stop;

/// Trains as the rank at this end of `link`.
pub fn run(link: Arc<dyn Link>, arguments: &Arguments) -> Result<ExitCode> {
    let ranks = Ranks::new(link);
    ranks.watch_panics(output::error);
    ranks.run(output::error, |ranks| as_rank(ranks, arguments))
}

fn as_rank(ranks: &Ranks, arguments: &Arguments) -> Result<ExitCode> {
    if arguments.run.find_lr {
        return Err(Error::usage("--find-lr is for one process: start it without mpirun"));
    }
    let stop = Stop::on_signals_of_ranks()?.at(deadline(arguments));
    let threads = match arguments.shared.threads {
        Some(_) => arguments.shared.threads(),
        None => processors(arguments.shared.threads()),
    };
    let options = Options { ranks: Some(ranks.clone()), threads, ..arguments.options() };
    if ranks.rank() > 0 {
        let mut options = options;
        options.engine.gpu.tell = None; // rank 0 tells
        return follow(arguments, &stop, &options);
    }
    let code = traced(arguments, || train(arguments, &stop, options))?;
    beginning::tell_end(ranks)?;
    Ok(code)
}

/// The trainings of rank 0, one after another.
fn follow(arguments: &Arguments, stop: &Stop, options: &Options) -> Result<ExitCode> {
    let mut arguments = arguments.clone();
    (arguments.shared.quiet, arguments.shared.json) = (true, false);
    while let Some(session) = Session::follow(arguments.shared.data_given(), options.clone())? {
        let teaching = ask_teachers(&session.run.training, session.train_pack(), &arguments, options)?;
        go(session, teaching, stop, &arguments)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// This rank's part of `available` processors: all of them where the launcher bound it to some, else as many as others on this
/// machine have.
fn processors(available: usize) -> usize {
    let here = launch::local_ranks(|name| std::env::var(name).ok());
    if available < online() { available } else { (available / here).max(1) }
}

/// Processors of this machine, whether or not this process may use them; 0 where that is not known.
fn online() -> usize {
    #[cfg(unix)]
    // SAFETY: asks for a number and changes nothing.
    return usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).unwrap_or_default();
    #[cfg(not(unix))]
    return 0;
}
