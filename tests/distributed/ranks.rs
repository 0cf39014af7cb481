//! Runs what a rank does on as many threads as there are ranks.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use vggkit::distributed::exchange::Exchange;
use vggkit::distributed::link::Link;
use vggkit::distributed::threads::{self, Wire};

/// Messages that come late by chance, so that ranks are never in step.
pub const UNEVEN: Wire = Wire { latency: Duration::ZERO, bytes_per_second: None, jitter: Duration::from_micros(300) };

/// What `body` makes of each of `ranks` links, in order of rank.
pub fn over_links<T: Send + 'static>(
    ranks: usize,
    wire: Wire,
    body: impl Fn(Arc<dyn Link>) -> T + Clone + Send + 'static,
) -> Vec<T> {
    let start = |link| {
        let body = body.clone();
        thread::spawn(move || body(Arc::new(link)))
    };
    let running: Vec<_> = threads::links(ranks, wire).into_iter().map(start).collect();
    running.into_iter().map(|rank| rank.join().expect("no panic")).collect()
}

/// The same of each rank's exchange.
pub fn over_exchanges<T: Send + 'static>(
    ranks: usize,
    micro_batch: usize,
    body: impl Fn(&Exchange) -> T + Clone + Send + 'static,
) -> Vec<T> {
    over_links(ranks, UNEVEN, move |link| body(&Exchange::new(link, micro_batch).expect("a thread")))
}
