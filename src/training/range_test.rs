//! The learning-rate range test of Smith (2015, arXiv 1506.01186): the rate rises by the same factor from step to step, and the
//! loss tells from where to where a network learns.
//!
//! It writes no file and keeps no weight.

use super::sampler::Sampler;
use super::stop::Stop;
use crate::engine::{Batch, Engine, Source};
use crate::error::Result;

/// The rates of the first and of the last step.
pub const RATES: [f64; 2] = [1e-6, 10.0];

/// How much of the smoothed loss is that of the steps before.
const SMOOTHING: f64 = 0.9;

/// The test ends where the smoothed loss is so many times the lowest.
const RUNAWAY: f64 = 4.0;

/// A step of the test.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Point {
    /// Its learning rate.
    pub rate: f64,
    /// The loss of its batch and of those before, smoothed.
    pub loss: f64,
}

/// Trains for at most `steps` steps while the rate rises, until the loss runs away or `stop` asks for it. `tell` is told how many
/// steps are done. The engine has the train images attached.
pub fn run(
    engine: &mut dyn Engine,
    sampler: &Sampler,
    steps: usize,
    stop: &Stop,
    mut tell: impl FnMut(usize),
) -> Result<Vec<Point>> {
    let (mut points, mut smoothed, mut lowest): (Vec<Point>, f64, f64) = (Vec::new(), 0.0, f64::INFINITY);
    let (mut order, mut picks) = (Vec::new(), Vec::new());
    for step in 0..steps {
        if stop.signal().is_some() || stop.late() {
            break;
        }
        let (epoch, batch) = (1 + step / sampler.steps(), step % sampler.steps());
        if batch == 0 {
            order = sampler.order(epoch);
        }
        sampler.batch(epoch, &order, batch, &mut picks);
        #[expect(clippy::cast_possible_truncation, reason = "engines compute in f32")]
        engine.train_step(Batch::Picks(Source::Train, &picks), rate(step, steps) as f32)?;
        let arrived = if step + 1 == steps { engine.drain_metrics()? } else { engine.poll_metrics()? };
        for metrics in arrived {
            let done = points.len() + 1;
            let loss = f64::from(metrics.loss);
            if !loss.is_finite() {
                return Ok(points);
            }
            smoothed = SMOOTHING * smoothed + (1.0 - SMOOTHING) * loss;
            #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "some hundred steps")]
            let loss = smoothed / (1.0 - SMOOTHING.powi(done as i32)); // as Adam's moments, which begin at 0 too
            points.push(Point { rate: rate(done - 1, steps), loss });
            lowest = lowest.min(loss);
            if loss > RUNAWAY * lowest {
                return Ok(points);
            }
        }
        tell(step + 1);
    }
    Ok(points)
}

/// The rate of step `step` of `steps`.
fn rate(step: usize, steps: usize) -> f64 {
    let [first, last] = RATES;
    first * (last / first).powf(step as f64 / (steps.max(2) - 1) as f64)
}

/// What the points say.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Reading {
    /// The rate at which the loss was lowest, beyond which it rises.
    pub lowest: f64,
    /// The rate at which it fell fastest.
    pub fastest: f64,
    /// A tenth of the former: the usual choice.
    pub suggestion: f64,
}

/// Reads the points; `None` where the loss did not fall by a hundredth.
pub fn read(points: &[Point]) -> Option<Reading> {
    let first = points.first()?;
    let lowest = points.iter().min_by(|a, b| a.loss.total_cmp(&b.loss))?;
    if lowest.loss > 0.99 * first.loss {
        return None;
    }
    // Over a span of steps, since a single one says little; the rates rise evenly on a logarithmic scale.
    let span = (points.len() / 20).max(1);
    let fall = |pair: &&[Point]| pair[0].loss - pair[pair.len() - 1].loss;
    let fastest = points.windows(span + 1).max_by(|a, b| fall(a).total_cmp(&fall(b)))?;
    let middle = (fastest[0].rate * fastest[span].rate).sqrt();
    Some(Reading { lowest: lowest.rate, fastest: middle, suggestion: lowest.rate / 10.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loss that falls between 1e-4 and 1e-1 and rises beyond.
    fn valley() -> Vec<Point> {
        (0..141)
            .map(|step| {
                let rate = rate(step, 141);
                let fallen = ((rate.log10() + 4.0) / 3.0).clamp(0.0, 1.0);
                Point { rate, loss: 5.0 - 3.0 * fallen + 4.0 * (rate.log10() + 1.0).max(0.0) }
            })
            .collect()
    }

    #[test]
    fn rates_rise_by_the_same_factor_from_the_first_to_the_last() {
        assert!((rate(0, 200) / 1e-6 - 1.0).abs() < 1e-12 && (rate(199, 200) / 10.0 - 1.0).abs() < 1e-12);
        let factors: Vec<f64> = (1..200).map(|step| rate(step, 200) / rate(step - 1, 200)).collect();
        assert!(factors.iter().all(|factor| (factor / factors[0] - 1.0).abs() < 1e-9));
    }

    #[test]
    fn a_valley_is_read_and_a_plain_is_not() {
        let reading = read(&valley()).expect("it falls");
        assert!((reading.lowest.log10() + 1.0).abs() < 0.06, "{reading:?}");
        assert!((reading.suggestion / reading.lowest - 0.1).abs() < 1e-12);
        assert!(reading.fastest > 1e-4 && reading.fastest < 1e-1, "{reading:?}");
        let plain: Vec<Point> = valley().into_iter().map(|point| Point { loss: 5.0, ..point }).collect();
        assert_eq!(read(&plain), None);
        assert_eq!(read(&[]), None);
    }
}
