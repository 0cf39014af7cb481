//! What goes on while the page is rendered: only on a page that follows a training.

use serde::Serialize;

use super::super::format;
use super::identity::{Described, Identity, Runs};

/// The strip over such a page.
#[derive(Serialize)]
pub struct Following {
    /// The page loads itself again after this many seconds.
    pub seconds: u64,
    pub trainings: Vec<Training>,
}

/// A run that is being trained.
#[derive(Serialize)]
pub struct Training {
    pub run: Identity,
    /// "epoch 4 of at most 50; about 3 min 10 s each".
    pub state: String,
    /// Finished epochs of those allowed, in thousandths: the length of its bar.
    pub done: usize,
}

impl Following {
    /// Of the runs with these names.
    pub fn new(runs: &Runs, trained_now: &[String], seconds: u64) -> Self {
        let trained = trained_now.iter().filter_map(|name| runs.by_name(name));
        Self { seconds, trainings: trained.map(training).collect() }
    }
}

fn training(d: &Described) -> Training {
    let planned = d.run.run.training.epochs.max(1);
    let finished = d.figures.epochs.min(planned);
    let now = (finished + 1).min(planned);
    let mut state = format!("epoch {now} of at most {planned}");
    if let Some(last) = d.run.history.last() {
        state += &format!("; about {} each", format::duration(last.seconds));
    }
    if let Some(best) = d.figures.best_epoch {
        state += &format!("; best so far after epoch {best}");
    }
    Training { run: d.identity.clone(), state, done: 1000 * finished / planned }
}
