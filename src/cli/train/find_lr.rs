//! `vggkit train --find-lr`: the learning-rate range test, shown as a table and a line of bars. Writes nothing of a run.

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::arguments::train::Arguments;
use crate::cli::output;
use crate::error::{Error, Kind, Result};
use crate::progress;
use crate::training::chosen::Chosen;
use crate::training::opening;
use crate::training::packs::Packs;
use crate::training::range_test::{self, Point, RATES, Reading};
use crate::training::sampler::Sampler;
use crate::training::stop::Stop;

/// The value of `schema`.
const SCHEMA: &str = "vggkit/find-lr/1";

/// Steps where `--max-steps` does not say.
const STEPS: usize = 200;

/// Fewer steps say nothing.
const LEAST: usize = 20;

/// Rows of the table.
const ROWS: usize = 15;

/// What `--json` prints.
#[derive(Serialize)]
struct Found<'a> {
    schema: &'static str,
    #[serde(flatten)]
    reading: Option<Reading>,
    points: &'a [Point],
}

pub fn run(arguments: &Arguments, stop: &Stop) -> Result<ExitCode> {
    let steps = arguments.run.max_steps.map_or(STEPS, |most| usize::try_from(most).unwrap_or(usize::MAX));
    if steps < LEAST {
        return Err(Error::usage(format!("--find-lr needs at least {LEAST} steps, not {steps}"))
            .with_help(format!("give --max-steps {STEPS}, or leave it out")));
    }
    let mut settings = arguments.settings(arguments.shared.data())?;
    if !settings.recipe.distill.is_empty() {
        return Err(Error::usage("--find-lr asks no teachers")
            .with_help("leave --distill out (--distill none on top of a file)"));
    }
    let packs = Packs::open(arguments.shared.data(), &settings.train, &settings.val)?;
    settings.fit_to(&packs.train)?;
    let (network, recipe) = (&settings.networks[0].1, &settings.recipe);
    let images = &packs.train.images;
    let sampler = Sampler::new(recipe, Chosen::new(recipe, &images.labels)?.trained, [images.width, images.height]);
    if sampler.images() == 0 {
        return Err(Error::data(&packs.train.path, "there is no image to train on"));
    }
    let mut engine = opening::open_anew(network, recipe, &packs, &arguments.options())?;
    let hidden = arguments.shared.quiet || arguments.shared.json;
    let bar = progress::bar("rate up", steps as u64, "steps", hidden);
    let points = range_test::run(engine.as_mut(), &sampler, steps, stop, |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    let points = points?;
    if let Some(signal) = stop.signal() {
        return Err(Error::new(Kind::Interrupted(signal), "stopped by a signal; nothing was written"));
    }
    let reading = range_test::read(&points);
    if arguments.shared.json {
        output::json(&Found { schema: SCHEMA, reading, points: &points })?;
    } else {
        output::print(&shown(&points, reading));
    }
    Ok(ExitCode::SUCCESS)
}

/// The points and what they say, as text.
fn shown(points: &[Point], reading: Option<Reading>) -> String {
    let losses: Vec<f64> = points.iter().map(|point| point.loss).collect();
    let mut text = format!("{:>10}  {:>8}\n", "rate", "loss");
    for point in points.iter().step_by(points.len().div_ceil(ROWS).max(1)) {
        text += &format!("{:>10.2e}  {:>8.4}\n", point.rate, point.loss);
    }
    let [first, last] = [points.first(), points.last()].map(|point| point.map_or(0.0, |point| point.rate));
    text += &format!("\n{first:.0e} {} {last:.0e}\n", bars(&losses));
    text += &match reading {
        Some(Reading { lowest, fastest, suggestion }) => format!(
            "\nThe smoothed loss falls fastest at {fastest:.1e} and is lowest at {lowest:.1e}.\nA tenth of that is the usual \
             choice: -lr {suggestion:.1e}\n"
        ),
        None => {
            let [first, last] = RATES;
            format!(
                "\nThe loss did not fall at any rate from {first:.0e} to {last:.0e} in so few steps: no suggestion. --max-steps with \
                 more may tell.\n"
            )
        }
    };
    text
}

/// A line of at most 60 bars as high as `values`, of which each shows the mean of its share.
fn bars(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let share = values.len().div_ceil(60).max(1);
    let means: Vec<f64> = values.chunks(share).map(|part| part.iter().sum::<f64>() / part.len() as f64).collect();
    let (low, high) = means.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    let height = |value: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 7")]
        let step = ((value - low) / (high - low).max(f64::MIN_POSITIVE) * 7.0).round() as usize;
        BARS[step.min(7)]
    };
    means.into_iter().map(height).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_values() {
        assert_eq!(bars(&[0.0, 7.0, 3.0]), "▁█▄");
        assert_eq!(bars(&[2.0, 2.0]), "▁▁");
        assert_eq!(bars(&[]), "");
        assert_eq!(bars(&vec![1.0; 1000]).chars().count(), 59);
    }

    #[test]
    fn the_suggestion_is_a_flag_to_type() {
        let points: Vec<Point> =
            (0..200_i32).map(|i| Point { rate: 10f64.powf(f64::from(i) / 50.0 - 4.0), loss: 5.0 }).collect();
        let reading = Reading { lowest: 0.1, fastest: 0.02, suggestion: 0.01 };
        let text = shown(&points, Some(reading));
        assert!(text.contains("-lr 1.0e-2") && text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.lines().count() < 25, "{text}");
        assert!(shown(&points, None).contains("no suggestion") && shown(&[], None).contains("no suggestion"));
    }
}
