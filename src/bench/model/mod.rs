//! What data-parallel training reaches, predicted: how long a step of many workers takes, from the step that was measured on one
//! ([`step`]), the bytes of its gradients and the link between workers. docs/distributed.md tells the model and what it says;
//! [`horovod`] holds it against a published measurement. Measures nothing.
//!
//! Every worker computes a whole batch of its own. Buckets of gradients are summed one after the other, each as soon as the backward
//! pass has made it and the one before is summed, while the pass goes on; the update waits for all of them, or is done of each.

pub mod horovod;
pub mod step;

use std::ops::Range;

use serde::Serialize;

use self::step::Step;
use crate::engine::buckets;

/// What joins workers: each sends and receives at once, over a line of its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Bytes that a worker sends in a second, and receives meanwhile.
    pub bytes_per_second: f64,
    /// Seconds until a message arrives, beside its bytes.
    pub latency: f64,
    /// Seconds that each message takes its sender.
    pub message: f64,
}

impl Line {
    /// One of so many Gb/s, with `latency` and `message` in seconds.
    pub fn of(gbps: f64, latency: f64, message: f64) -> Self {
        Self { bytes_per_second: gbps * 1e9 / 8.0, latency, message }
    }

    /// Seconds to sum `bytes` of each of `workers` by reduce-scatter and all-gather: in either a worker sends each other one
    /// its part of the bytes, all at once, and waits for theirs.
    pub fn sum(&self, bytes: f64, workers: usize) -> f64 {
        if workers < 2 {
            return 0.0;
        }
        let (all, others) = (workers as f64, workers as f64 - 1.0);
        2.0 * (bytes * others / all / self.bytes_per_second + others * self.message + self.latency)
    }
}

/// A step of many workers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scaled {
    /// How many.
    pub workers: usize,
    /// Seconds of a step.
    pub seconds: f64,
    /// Those of them in which a worker computes nothing, since sums are under way.
    pub waited: f64,
    /// Images a second of all workers beside as many times those of one.
    pub efficiency: f64,
}

/// Seconds from a step's begin at which a bucket can leave, and its bytes; in the order of the backward pass. The engines' rule says
/// which layers' weights travel [together](buckets::together); what is small follows when all are there.
pub fn buckets(step: &Step) -> Vec<(f64, f64)> {
    let backwards: Vec<_> = step.layers.iter().rev().collect();
    let mut now: f64 = step.layers.iter().map(|layer| layer.forward).sum();
    let parts = buckets::together(&backwards.iter().map(|layer| layer.weights).collect::<Vec<_>>());
    let bucket = |part: Range<usize>| {
        let layers = &backwards[part];
        // Its last layer's input gradient is computed while it travels.
        let before: f64 = layers.iter().map(|layer| layer.weight_gradient + layer.input_gradient).sum();
        let behind = layers.last().map_or(0.0, |layer| layer.input_gradient);
        now += before;
        (now - behind, layers.iter().map(|layer| layer.gradient_bytes()).sum())
    };
    let mut buckets: Vec<_> = parts.into_iter().map(bucket).collect();
    let end = buckets.last().map(|(ready, _)| *ready).filter(|_| step.small > 0);
    buckets.extend(end.map(|end| (end, step.small_bytes())));
    buckets
}

/// A step of `workers` that `line` joins, each of which computes `step`.
pub fn scaled(step: &Step, line: &Line, workers: usize) -> Scaled {
    let computed = step.seconds() - step.update;
    // Until when the line and the worker are busy: with the buckets so far, and with the update of those.
    let (mut line_free, mut worker_free, mut waited) = (0.0f64, computed, 0.0);
    for (ready, bytes) in buckets(step) {
        line_free = ready.max(line_free) + line.sum(bytes, workers);
        waited += (line_free - worker_free).max(0.0);
        let update = if step.update_by_bucket { step.update * bytes / step.gradient_bytes() } else { 0.0 };
        worker_free = worker_free.max(line_free) + update;
    }
    let seconds = computed + waited + step.update;
    Scaled { workers, seconds, waited, efficiency: step.seconds() / seconds }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::step::LayerStep;
    use super::*;
    use crate::distributed::sum::Summation;
    use crate::distributed::threads::{self, Wire};

    fn layer(weights: usize, forward: f64, weight_gradient: f64, input_gradient: f64) -> LayerStep {
        LayerStep { weights, forward, weight_gradient, input_gradient }
    }

    /// Three layers of 8, 4 and 12 million parameters: 32, 16 and 48 MB.
    fn step() -> Step {
        let layers =
            vec![layer(8_000_000, 1.0, 1.0, 0.0), layer(4_000_000, 2.0, 3.0, 1.0), layer(12_000_000, 1.0, 1.0, 2.0)];
        Step { layers, small: 0, update: 0.5, update_by_bucket: false }
    }

    #[test]
    fn buckets_leave_as_the_backward_pass_makes_them() {
        // Forward 4; the last layer's gradient after 1 more; the 16 MB of the middle one wait for the first one's 32.
        assert_eq!(buckets(&step()), [(5.0, 48e6), (12.0, 48e6)]);
        assert_eq!(step().seconds(), 12.5);
    }

    #[test]
    fn only_what_the_backward_pass_does_not_hide_is_waited_for() {
        // 2 * 3/4 * 48 MB = 72 MB each.
        let at = |bytes_per_second: f64| scaled(&step(), &Line { bytes_per_second, latency: 0.0, message: 0.0 }, 4);
        assert_eq!((at(72e6).seconds, at(72e6).waited), (13.5, 1.0)); // the first bucket is hidden
        assert_eq!((at(7.2e6).seconds, at(7.2e6).waited), (25.5, 13.0)); // 5 + 10 + 10 + update
        assert_eq!(at(7.2e6).efficiency, 12.5 / 25.5);
        let one = scaled(&step(), &Line { bytes_per_second: 1.0, latency: 1.0, message: 1.0 }, 1);
        assert_eq!((one.seconds, one.waited, one.efficiency), (12.5, 0.0, 1.0));
    }

    #[test]
    fn what_is_small_travels_at_the_end() {
        let step = Step { small: 2_000_000, ..step() };
        assert_eq!(buckets(&step), [(5.0, 48e6), (12.0, 48e6), (12.0, 8e6)]);
        // Its 12 MB are waited for after the 72 of the bucket before.
        let line = Line { bytes_per_second: 12e6, latency: 0.0, message: 0.0 };
        assert_eq!(scaled(&step, &line, 4).seconds, 12.0 + 6.0 + 1.0 + 0.5);
    }

    #[test]
    fn updates_by_bucket_are_done_while_later_ones_travel() {
        let at = |bytes_per_second: f64, by_bucket: bool| {
            let step = Step { update: 4.0, update_by_bucket: by_bucket, ..step() };
            scaled(&step, &Line { bytes_per_second, latency: 0.0, message: 0.0 }, 4)
        };
        // Sums end at 15 and 25 s: half of the update is done between them.
        assert_eq!((at(7.2e6, false).seconds, at(7.2e6, false).waited), (29.0, 13.0));
        assert_eq!((at(7.2e6, true).seconds, at(7.2e6, true).waited), (27.0, 11.0));
        // The first sum ends within the backward pass, the second while the worker updates.
        assert_eq!((at(72e6, true).seconds, at(72e6, true).waited), (16.0, 0.0));
    }

    #[test]
    fn latency_counts_once_a_pass_and_messages_count_each() {
        let line = Line { bytes_per_second: 1e9, latency: 0.25, message: 0.5 };
        assert_eq!(line.sum(1e9, 2), 2.0 * (0.5 + 0.5 + 0.25));
        assert_eq!(line.sum(1e9, 5), 2.0 * (0.8 + 2.0 + 0.25));
    }

    /// The formula is that of what is really sent: between threads, over a wire of known bandwidth and latency.
    #[test]
    fn a_sum_over_a_wire_takes_what_the_line_says() {
        let (latency, bytes_per_second, len) = (0.02, 20e6, 500_000);
        let wire = Wire {
            latency: Duration::from_secs_f64(latency),
            bytes_per_second: Some(bytes_per_second),
            jitter: Duration::ZERO,
        };
        let line = Line { bytes_per_second, latency, message: 0.0 };
        let sum = |ranks: usize| {
            let begun = Instant::now();
            let sums = threads::links(ranks, wire).into_iter().map(|link| {
                std::thread::spawn(move || {
                    let (mut sum, nodes) = (vec![0.0; len], vec![vec![1.0; len]]);
                    Summation::new(&link).sum(ranks, &nodes, &mut sum).expect("all are there");
                    (link, sum[len - 1]) // whose end is the rank's end
                })
            });
            let sums: Vec<_> = sums.collect();
            let sums = sums.into_iter().map(|thread| thread.join().expect("it ends")).collect::<Vec<_>>();
            let took = begun.elapsed().as_secs_f64();
            assert!(sums.iter().all(|(_, sum)| *sum == ranks as f32));
            took
        };
        for ranks in [2, 4] {
            // A busy machine is late now and then, and none is early.
            let took = (0..5).map(|_| sum(ranks)).fold(f64::INFINITY, f64::min);
            let predicted = line.sum(4.0 * len as f64, ranks);
            assert!(took >= 0.99 * predicted && took < 1.5 * predicted, "{ranks} ranks: {took} s, not {predicted}");
        }
    }
}
