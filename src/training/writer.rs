//! Checkpoints are checked, hashed and written by a thread of their own while the training goes on.
//!
//! One at a time: the next one waits for it, as does the end of a training. What a file holds and how it takes another's
//! place is `checkpoint`'s; here is the order in which a run's files come.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::checkpoint::{self, Classes, Progress, Sealed};
use super::history::{self, Epoch};
use super::tensorboard::EventLog;
use crate::engine::{Optimizer, Snapshot};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::trace;
use crate::vgg::Plan;

/// Where checkpoints go, and what is the same in all of a training's.
#[derive(Clone)]
pub struct Destination {
    /// The run's folder.
    pub folder: PathBuf,
    /// The network.
    pub plan: Plan,
    /// Whose moments are kept.
    pub optimizer: Optimizer,
    /// What the outputs mean.
    pub classes: Classes,
    /// The event file for TensorBoard, where one is written.
    pub events: Option<Arc<EventLog>>,
}

/// An epoch that a checkpoint closes.
pub struct Closed {
    /// Its line of the history.
    pub epoch: Epoch,
    /// Whether its network is the best so far, and is to be kept as such.
    pub improved: bool,
}

/// A checkpoint to write.
pub struct Checkpoint {
    /// The network after so many steps.
    pub snapshot: Box<dyn Snapshot>,
    /// Where the training stands then.
    pub progress: Progress,
    /// The epoch that ends with it.
    pub closed: Option<Closed>,
    /// Whether a resumed training is to start from it.
    pub last: bool,
}

/// See the module.
pub struct Writer {
    destination: Destination,
    under_way: Option<JoinHandle<Result<Option<Closed>>>>,
}

impl Writer {
    /// One that has nothing to write yet.
    pub fn new(destination: Destination) -> Self {
        Self { destination, under_way: None }
    }

    /// Begins to write a checkpoint; the one before has been asked for by [`Writer::finish`]. Errors: no thread to be had.
    pub fn begin(&mut self, checkpoint: Checkpoint) -> Result<()> {
        debug_assert!(self.under_way.is_none());
        let destination = self.destination.clone();
        let thread = thread::Builder::new().name("checkpoints".into()).spawn(move || destination.write(checkpoint));
        self.under_way = Some(thread.map_err(|e| Error::threads(1, e))?);
        Ok(())
    }

    /// Whether a checkpoint has been written, or failed, and [`Writer::finish`] would not wait.
    pub fn is_done(&self) -> bool {
        self.under_way.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Waits for the checkpoint under way, if there is one; the epoch that it closed. Errors: those of writing it, a number
    /// that is not finite.
    pub fn finish(&mut self) -> Result<Option<Closed>> {
        let Some(thread) = self.under_way.take() else { return Ok(None) };
        thread.join().unwrap_or_else(|_| Err(Error::new(Kind::Io, "the thread that writes checkpoints broke down")))
    }
}

impl Destination {
    /// Best, history and last are written in this order, so that a crash in between is made good by the resume from the
    /// checkpoint before: it comes to the same results and drops lines past itself. A network with a number that is not
    /// finite takes nobody's place.
    fn write(&self, checkpoint: Checkpoint) -> Result<Option<Closed>> {
        let Self { folder, plan, optimizer, classes, events } = self;
        let Checkpoint { snapshot, progress, closed, last } = checkpoint;
        let _all = trace::span("checkpoint").with("step", progress.step);
        let state = {
            let _span = trace::span("read the state back");
            snapshot.state()?
        };
        let sealed = {
            let _span = trace::span("check and hash");
            Sealed::new(&state)?
        };
        if let Some(Closed { epoch, improved }) = &closed {
            if *improved {
                let _span = trace::span("write best.safetensors");
                checkpoint::save_best(folder, plan, &sealed, &progress, classes)?;
            }
            files::append_json_line(&history::path(folder), epoch)?;
            history::tabulate(folder)?;
            // A line that a resumed training drops stays away: TensorBoard would show it beside the one that follows.
            if let Some(events) = events.as_ref().filter(|_| last) {
                let _span = trace::span("write for TensorBoard");
                events.epoch(epoch)?;
                events.weights(epoch.step, plan, &state.tensors)?;
            }
        }
        if last {
            // After the logs are on the disk: a resume does not write again what lies before it.
            {
                let _span = trace::span("sync the logs");
                files::sync_log(&history::path(folder))?;
                files::sync_log(&history::steps_path(folder))?;
                events.as_ref().map_or(Ok(()), |events| events.sync())?;
            }
            let _span = trace::span("write last.safetensors");
            checkpoint::save_last(folder, plan, &sealed, optimizer, &progress, classes)?;
        }
        Ok(closed)
    }
}
