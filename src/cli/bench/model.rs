//! `vggkit bench --model`: what workers that train together would reach (docs/distributed.md), as text or JSON. Measures nothing.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::bench::model::step::Step;
use crate::bench::model::{Line, Scaled, horovod, scaled};
use crate::bench::ranks::RanksBenchmark;
use crate::bench::{Mode, comparison};
use crate::cli::arguments::values;
use crate::cli::output;
use crate::engine::peers::BUCKET_BYTES;
use crate::engine::{Device, Precision};
use crate::error::{Error, Result};
use crate::vgg::{Head, Network};

/// How many train together.
const WORKERS: [usize; 8] = [4, 8, 16, 32, 64, 128, 256, 512];

/// The value of `schema`.
const SCHEMA: &str = "vggkit/scaling/1";

/// That of `--model horovod`.
const HOROVOD_SCHEMA: &str = "vggkit/scaling-horovod/1";

/// What to predict.
#[derive(Debug, Args)]
pub struct Model {
    /// Measure nothing: predict what 4 to 512 workers reach that train together, each on batches as large as the one
    /// measured: from an earlier result (--json), from the milliseconds of a step, or, by `horovod`, of a published case
    #[arg(long, value_name = "FILE|MS|horovod", conflicts_with_all = ["all", "pytorch", "compare", "count", "mode"])]
    pub model: Option<String>,
    /// With --model: what a worker sends in a second, and receives meanwhile, in Gb/s
    #[arg(long, value_name = "GBIT/S,...", value_delimiter = ',', default_value = "10,25,100", requires = "model",
          value_parser = values::real(Bound::Excluded(0.0), Bound::Unbounded), allow_negative_numbers = true)]
    pub gbps: Vec<f64>,
    /// With --model: microseconds until a message arrives
    #[arg(long, value_name = "US", default_value = "20", requires = "model",
          value_parser = values::real(Bound::Included(0.0), Bound::Unbounded), allow_negative_numbers = true)]
    pub latency_us: f64,
    /// With --model: microseconds that each message takes its sender
    #[arg(long, value_name = "US", default_value = "2", requires = "model",
          value_parser = values::real(Bound::Included(0.0), Bound::Unbounded), allow_negative_numbers = true)]
    pub message_us: f64,
    /// With --model: the line and the latency as they were measured between ranks, from what `bench --ranks N --json` printed
    #[arg(long, value_name = "FILE", requires = "model", conflicts_with_all = ["gbps", "latency_us"])]
    pub link: Option<PathBuf>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Prediction {
    schema: &'static str,
    /// Of the measurement; null where a step's time was given.
    device: Option<Device>,
    precision: Precision,
    batch_size: usize,
    bucket_bytes: usize,
    /// Seconds.
    latency: f64,
    /// Seconds.
    message: f64,
    /// How many ranks the line was measured between; null where it was given.
    line_of_ranks: Option<usize>,
    networks: Vec<Predicted>,
}

/// A network with one head.
#[derive(Serialize)]
struct Predicted {
    network: Network,
    gradient_bytes: f64,
    /// Of one worker alone.
    step_seconds: f64,
    lines: Vec<OnLine>,
    /// By the ranks that measured the line, where they trained this.
    measured: Option<Reached>,
}

/// What so many ranks were measured to reach.
#[derive(Serialize)]
struct Reached {
    ranks: usize,
    /// Of a step.
    seconds: f64,
    efficiency: f64,
}

/// On one kind of line.
#[derive(Serialize)]
struct OnLine {
    gbps: f64,
    workers: Vec<Scaled>,
}

/// Predicts for what `--model` names. `networks` and `batch_size` are what a step of given milliseconds is of. Errors: no such
/// file, no result of a training with its operations, none with a link.
pub fn run(model: &Model, given: &str, networks: &[Network], batch_size: usize, json: bool) -> Result<ExitCode> {
    if given == "horovod" {
        return horovod(json);
    }
    let by_ranks = model.link.as_deref().map(RanksBenchmark::read).transpose()?;
    let linked = by_ranks.as_ref().zip(model.link.as_deref()).map(|(all, path)| all.linked(path)).transpose()?;
    let message = 1e-6 * model.message_us;
    let lines: Vec<Line> = match &linked {
        Some((ranks, link)) => vec![link.line(ranks.ranks, message)],
        None => model.gbps.iter().map(|gbps| Line::of(*gbps, 1e-6 * model.latency_us, message)).collect(),
    };
    let mut prediction = Prediction {
        schema: SCHEMA,
        device: None,
        precision: Precision::default(),
        batch_size,
        bucket_bytes: BUCKET_BYTES,
        latency: lines.first().map_or(0.0, |line| line.latency),
        message,
        line_of_ranks: linked.map(|(ranks, _)| ranks.ranks),
        networks: Vec::new(),
    };
    let mut steps = Vec::new();
    if let Ok(milliseconds) = given.parse::<f64>() {
        if !(milliseconds.is_finite() && milliseconds > 0.0) {
            return Err(Error::usage(format!("--model {given}: a step takes more than 0 milliseconds")));
        }
        for network in networks {
            steps.push((network.clone(), Step::of_plan(&network.plan()?, 1e-3 * milliseconds)));
        }
    } else {
        let measured = comparison::read(Path::new(given))?;
        if measured.mode != Mode::Train {
            return Err(Error::usage(format!("{given} was not measured with --mode train")));
        }
        for network in &measured.networks {
            let step = Step::measured(network, measured.batch_size, &measured.device.engine, Path::new(given))?;
            for network in heads(&network.network) {
                steps.push((network.clone(), step.with_head_of(&network)?));
            }
        }
        prediction.device = Some(measured.device);
        (prediction.precision, prediction.batch_size) = (measured.precision, measured.batch_size);
    }
    let mut workers = WORKERS.to_vec();
    workers.extend(prediction.line_of_ranks);
    workers.sort_unstable();
    workers.dedup();
    for (network, step) in steps {
        let on_line = |line: &Line| OnLine {
            gbps: 8e-9 * line.bytes_per_second,
            workers: workers.iter().map(|workers| scaled(&step, line, *workers)).collect(),
        };
        let reached = by_ranks.as_ref().zip(linked).filter(|(all, (ranks, _))| {
            let device = prediction.device.as_ref().is_none_or(|device| *device == ranks.device);
            let same = (all.precision, all.batch_size) == (prediction.precision, prediction.batch_size);
            device && same && all.network == network
        });
        prediction.networks.push(Predicted {
            gradient_bytes: step.gradient_bytes(),
            step_seconds: step.seconds(),
            lines: lines.iter().map(on_line).collect(),
            measured: reached.map(|(_, (ranks, _))| Reached {
                ranks: ranks.ranks,
                seconds: ranks.step_seconds,
                efficiency: step.seconds() / ranks.step_seconds,
            }),
            network,
        });
    }
    if json {
        output::json(&prediction)?;
    } else {
        output::print(&table(&prediction));
    }
    Ok(ExitCode::SUCCESS)
}

/// `measured` with the heads that can be told of it: of the largest all.
fn heads(measured: &Network) -> Vec<Network> {
    let smaller = [Head::Linear, Head::Average].map(|head| Network { head, dropout: 0.0, ..measured.clone() });
    let smaller = smaller.into_iter().filter(|_| measured.head == Head::Classic);
    std::iter::once(measured.clone()).chain(smaller).collect()
}

/// The prediction as text: a table for each line, a row for each network and head.
fn table(prediction: &Prediction) -> String {
    let Prediction { device, precision, batch_size, bucket_bytes, latency, message, line_of_ranks, networks, .. } =
        prediction;
    let device =
        device.as_ref().map_or_else(String::new, |device| format!("{} · {} · ", device.adapter, precision.name()));
    let line = line_of_ranks.map_or_else(String::new, |ranks| format!(", on the line that {ranks} ranks measured"));
    let mut text = format!(
        "{device}{batch_size} images a worker · buckets of {:.0} MB · latency {:.0} us · a message {:.1} us\n\
         per cent of as many times one worker, by number of workers{line}\n",
        *bucket_bytes as f64 / 1e6,
        1e6 * latency,
        1e6 * message,
    );
    let Some(first) = networks.first() else { return text };
    for (index, OnLine { gbps, workers }) in first.lines.iter().enumerate() {
        let heading: String = workers.iter().map(|scaled| format!("{:>5}", scaled.workers)).collect();
        // What was measured has more than three digits, and they mean nothing.
        let gbps = format!("{} Gb/s", format!("{gbps:.2e}").parse().unwrap_or(*gbps));
        text += &format!("\n{gbps:18} {:>7} {:>8} {heading}\n", "MB", "ms");
        for Predicted { network, gradient_bytes, step_seconds, lines, .. } in networks {
            let shares: String =
                lines[index].workers.iter().map(|s| format!("{:>5.0}", 100.0 * s.efficiency)).collect();
            text +=
                &format!("{:18} {:>7.1} {:>8.2} {shares}\n", name(network), gradient_bytes / 1e6, 1e3 * step_seconds);
        }
    }
    for Predicted { network, lines, measured, .. } in networks {
        let Some(Reached { ranks, seconds, efficiency }) = measured else { continue };
        let predicted = lines.iter().flat_map(|line| &line.workers).find(|scaled| scaled.workers == *ranks);
        let Some(predicted) = predicted else { continue };
        text += &format!(
            "\n{:18} {ranks} ranks were measured: {:.0} %, {:.0} ms a step; predicted: {:.0} %, {:.0} ms\n",
            name(network),
            100.0 * efficiency,
            1e3 * seconds,
            100.0 * predicted.efficiency,
            1e3 * predicted.seconds
        );
    }
    text
}

/// A network with its head, as a table names it.
fn name(network: &Network) -> String {
    format!("{:8} {}", network.short_name(), network.head.name())
}

/// What `--model horovod --json` prints.
#[derive(Serialize)]
struct Horovod {
    schema: &'static str,
    published: f64,
    workers: usize,
    bits_per_second: f64,
    batch_size: usize,
    gradient_bytes: f64,
    step_seconds: f64,
    without_overlap: f64,
    share_as_published: f64,
    assumed: Vec<horovod::Assumed>,
}

/// The published case under assumptions.
fn horovod(json: bool) -> Result<ExitCode> {
    let step = horovod::step()?;
    let (tried, gbps) = (horovod::tried(&step), horovod::BITS_PER_SECOND / 1e9);
    let told = Horovod {
        schema: HOROVOD_SCHEMA,
        published: horovod::EFFICIENCY,
        workers: horovod::WORKERS,
        bits_per_second: horovod::BITS_PER_SECOND,
        batch_size: horovod::BATCH_SIZE,
        gradient_bytes: step.gradient_bytes(),
        step_seconds: step.seconds(),
        without_overlap: horovod::without_overlap(&step),
        share_as_published: horovod::share_as_published(&step),
        assumed: tried.concat(),
    };
    if json {
        output::json(&told)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!(
        "VGG-16 at 224x224, {} images a GPU · {:.1} MB of gradients · {:.0} ms a step on one P100 · {} GPUs in a ring\n\
         per cent of as many times one GPU, by what a message takes\n\n",
        told.batch_size,
        told.gradient_bytes / 1e6,
        1e3 * told.step_seconds,
        told.workers
    );
    let messages = tried.first().map_or_else(String::new, |row| {
        row.iter().map(|assumed| format!("{:>7}", format!("{:.0} us", 1e6 * assumed.message))).collect()
    });
    text += &format!("{:24}{messages}\n", format!("share of {gbps} Gb/s"));
    for row in &tried {
        let shares: String = row.iter().map(|assumed| format!("{:>7.0}", 100.0 * assumed.efficiency)).collect();
        let share = row.first().map_or(0.0, |assumed| assumed.share);
        text += &format!("{:24}{shares}\n", format!("{:.0} %", 100.0 * share));
    }
    text += &format!(
        "\nall sums after the backward pass, at {gbps} Gb/s: {:.0} %\npublished: {:.0} %, which the model has at {:.0} % of {gbps} Gb/s\n",
        100.0 * told.without_overlap,
        100.0 * told.published,
        100.0 * told.share_as_published
    );
    output::print(&text);
    Ok(ExitCode::SUCCESS)
}
