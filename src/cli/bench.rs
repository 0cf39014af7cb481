//! `vggkit bench`: images per second of training or inference, and on a GPU the time of every operation and layer beside
//! what the adapter can do at most. Measures; trains nothing that is kept.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::network_arguments::NetworkArguments;
use super::{Shared, output, values};
use crate::engine::gpu::{GpuEngine, limits, profile};
use crate::engine::{Batch, Device, Engine, Images, Normalisation, Optimizer, Pick, Settings, Source, State, cpu};
use crate::error::Result;
use crate::files;
use crate::vgg::{Network, initialisation};

/// The value of `schema`.
const SCHEMA: &str = "vggkit/bench/1";

/// Images that the picks choose from.
const IMAGES: usize = 256;

/// Measure images per second, by network, operation and layer
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    network: NetworkArguments,
    /// All five networks instead of one
    #[arg(long)]
    all: bool,
    /// Images a step
    #[arg(short, long, value_name = "N", default_value = "32", visible_aliases = ["batchsize", "batch"],
          value_parser = values::whole(1usize), allow_negative_numbers = true)]
    batch_size: usize,
    /// Output classes
    #[arg(long, value_name = "N", default_value = "200", value_parser = values::whole(1usize), allow_negative_numbers = true)]
    classes: usize,
    /// What to measure
    #[arg(long, value_name = "NAME", default_value = "train")]
    mode: Mode,
    /// Seconds to measure for, after warming up
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = values::whole(1u64), allow_negative_numbers = true)]
    seconds: u64,
    /// Leave out the table by operation and layer
    #[arg(long)]
    no_layers: bool,
    #[command(flatten)]
    shared: Shared,
}

const EXAMPLES: &str = "\
Examples:
  vggkit bench --engine gpu -d 16 -b 64       VGG-16 training, layer by layer
  vggkit bench --all --no-layers              images per second of the five networks
  vggkit bench --mode infer -b 64 --json      inference, for other programs";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Train,
    Infer,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    version: &'static str,
    commit: &'static str,
    time: String,
    device: Device,
    mode: Mode,
    batch_size: usize,
    /// Measured now; on a GPU only.
    limits: Option<limits::Limits>,
    networks: Vec<Measured>,
}

#[derive(Debug, Serialize)]
struct Measured {
    network: Network,
    /// Samples computed at once.
    micro_batch: usize,
    memory_bytes: u64,
    /// From the start of building the engine to the end of the first step.
    seconds_to_first_step: f64,
    images_per_s: f64,
    /// Multiply-adds as direct convolutions would do them, two operations each.
    flops: f64,
    /// `flops` beside the limit.
    share_of_limit: Option<f64>,
    operations: Vec<Operation>,
}

/// One operation of one layer in one step.
#[derive(Debug, Serialize)]
struct Operation {
    name: String,
    variant: Option<String>,
    seconds: f64,
    share_of_step: f64,
    flops: Option<f64>,
    /// `flops` beside the limit.
    share_of_flops: Option<f64>,
    bytes_per_s: f64,
    share_of_bytes: Option<f64>,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let networks: Vec<Network> = if arguments.all {
        [(11, false), (13, false), (16, false), (16, true), (19, false)]
            .into_iter()
            .map(|(depth, conv1x1)| {
                Ok(Network { depth, conv1x1, lrn: false, ..arguments.network.network(arguments.classes)? })
            })
            .collect::<Result<_>>()?
    } else {
        vec![arguments.network.network(arguments.classes)?]
    };
    let target = arguments.shared.target();
    let gpu = target.is_gpu();
    let mut report = Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        commit: crate::build_info::commit(),
        time: files::now(),
        device: Device::default(),
        mode: arguments.mode,
        batch_size: arguments.batch_size,
        limits: None,
        networks: Vec::new(),
    };
    for network in networks {
        let plan = network.plan()?;
        let state = State::new(initialisation::initialise(&plan, 0));
        let settings = Settings {
            batch_size: arguments.batch_size,
            normalisation: Normalisation::default(),
            optimizer: (arguments.mode == Mode::Train).then(Optimizer::adam),
            label_smoothing: 0.0,
            seed: 0,
            threads: arguments.shared.threads(),
        };
        let started = Instant::now();
        let mut measured = if gpu {
            let mut engine = GpuEngine::new(plan, settings, &state, &target.gpu)?;
            if report.limits.is_none() {
                report.limits = Some(limits::measure(engine.gpu())?);
            }
            let mut measured = rate(&mut engine, &arguments, &network, started)?;
            measured.micro_batch = engine.micro_batch();
            if !arguments.no_layers {
                measured.operations = operations(&engine, &arguments, report.limits)?;
            }
            report.device = engine.device().clone();
            measured
        } else {
            let mut engine = cpu::CpuEngine::new(plan, settings, &state)?;
            let mut measured = rate(&mut engine, &arguments, &network, started)?;
            if !arguments.no_layers {
                measured.operations = cpu_operations(&engine);
            }
            report.device = engine.device().clone();
            measured
        };
        measured.share_of_limit = report.limits.map(|l| measured.flops / l.flops);
        if !arguments.shared.json {
            if report.networks.is_empty() {
                heading(&report);
            }
            table(&measured);
        }
        report.networks.push(measured);
    }
    if arguments.shared.json {
        output::json(&report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Noise: what is in an image costs nothing.
fn images(network: &Network) -> Images {
    let size = network.image_size;
    let noise = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
    Images {
        pixels: Arc::new((0..IMAGES * size * size * 3).map(noise).collect::<Vec<u8>>()),
        count: IMAGES,
        height: size,
        width: size,
        labels: (0..IMAGES).map(|i| (i % network.classes) as u32).collect(),
    }
}

/// Images per second of whole steps, after two to warm up.
fn rate(engine: &mut dyn Engine, arguments: &Arguments, network: &Network, started: Instant) -> Result<Measured> {
    engine.attach(Source::Train, images(network))?;
    let picks: Vec<Pick> =
        (0..arguments.batch_size).map(|i| Pick { index: (i * 37 % IMAGES) as u32, ..Pick::default() }).collect();
    let mut logits = Vec::new();
    let mut step = |engine: &mut dyn Engine| match arguments.mode {
        Mode::Train => engine.train_step(Batch::Picks(Source::Train, &picks), 1e-5),
        Mode::Infer => engine.logits(Batch::Picks(Source::Train, &picks), &mut logits),
    };
    let wait = |engine: &mut dyn Engine| engine.drain_metrics().map(drop);
    step(engine)?;
    wait(engine)?;
    let first = started.elapsed().as_secs_f64();
    step(engine)?;
    wait(engine)?;
    let (limit, begun, mut steps) = (Duration::from_secs(arguments.seconds), Instant::now(), 0);
    while steps < 2 || begun.elapsed() < limit {
        step(engine)?;
        steps += 1;
    }
    wait(engine)?;
    let images_per_s = (steps * arguments.batch_size) as f64 / begun.elapsed().as_secs_f64();
    let passes = if arguments.mode == Mode::Train { 3.0 } else { 1.0 };
    Ok(Measured {
        network: network.clone(),
        micro_batch: arguments.batch_size,
        memory_bytes: engine.memory(),
        seconds_to_first_step: first,
        images_per_s,
        flops: images_per_s * passes * 2.0 * engine.plan().macs() as f64,
        share_of_limit: None,
        operations: Vec::new(),
    })
}

/// Calls with the same name are one operation: a variant may take several.
fn operations(engine: &GpuEngine, arguments: &Arguments, limits: Option<limits::Limits>) -> Result<Vec<Operation>> {
    let network = engine.network();
    let samples = engine.micro_batch();
    let calls = network.calls(arguments.mode == Mode::Train);
    profile::spans(engine.gpu(), &calls, samples)?; // the clock of a card rises with work
    let spans = profile::spans(engine.gpu(), &calls, samples)?;
    let whole: f64 = spans.iter().map(|s| s.seconds).sum();
    let mut operations: Vec<(Operation, f64)> = Vec::new();
    for span in spans {
        let (name, variant) = match span.label.split_once(", ") {
            Some((name, variant)) => (name.to_owned(), Some(variant.to_owned())),
            None => (span.label.clone(), None),
        };
        let bytes = span.bytes as f64;
        match operations.last_mut().filter(|(last, _)| last.name == name) {
            Some((last, sum)) => {
                last.seconds += span.seconds;
                *sum += bytes;
            }
            None => operations.push((
                Operation {
                    name,
                    variant,
                    seconds: span.seconds,
                    share_of_step: 0.0,
                    flops: None,
                    share_of_flops: None,
                    bytes_per_s: 0.0,
                    share_of_bytes: None,
                },
                bytes,
            )),
        }
    }
    Ok(operations
        .into_iter()
        .map(|(mut operation, bytes)| {
            let seconds = operation.seconds.max(1e-12);
            operation.share_of_step = seconds / whole.max(1e-12);
            operation.flops = network.flops(&operation.name).map(|f| f as f64 * samples as f64 / seconds);
            operation.share_of_flops = operation.flops.zip(limits).map(|(f, l)| f / l.flops);
            operation.bytes_per_s = bytes / seconds;
            operation.share_of_bytes = limits.map(|l| operation.bytes_per_s / l.bytes);
            operation
        })
        .collect())
}

/// Seconds of each operation since the engine was built, as shares.
fn cpu_operations(engine: &cpu::CpuEngine) -> Vec<Operation> {
    let timings = engine.timings();
    let whole: f64 = timings.iter().map(|(_, seconds)| seconds).sum();
    let used = timings.into_iter().filter(|(_, seconds)| *seconds > 0.0);
    used.map(|(name, seconds)| Operation {
        name,
        variant: None,
        seconds,
        share_of_step: seconds / whole.max(1e-12),
        flops: None,
        share_of_flops: None,
        bytes_per_s: 0.0,
        share_of_bytes: None,
    })
    .collect()
}

fn heading(report: &Report) {
    output::line(&format!("{} · {} · {}", report.device.engine, report.device.adapter, report.device.driver));
    if let Some(limits) = &report.limits {
        output::line(&format!(
            "measured limits: {:.1} GF/s of multiply-adds, {:.1} GB/s of memory traffic",
            limits.flops / 1e9,
            limits.bytes / 1e9
        ));
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(String::new, |share| format!("{:.0} %", 100.0 * share))
}

fn table(measured: &Measured) {
    output::line(&format!(
        "\n{}: {:.1} images/s · {:.1} GF/s as direct convolution {}· first step after {:.1} s · {} of memory{}",
        measured.network.title(),
        measured.images_per_s,
        measured.flops / 1e9,
        measured.share_of_limit.map_or_else(String::new, |s| format!("({:.0} % of the limit) ", 100.0 * s)),
        measured.seconds_to_first_step,
        indicatif::HumanBytes(measured.memory_bytes),
        if measured.operations.is_empty() { "" } else { "\n" },
    ));
    if measured.operations.is_empty() {
        return;
    }
    let header = ["operation", "variant", "ms", "step", "GF/s", "limit", "GB/s", "limit"];
    output::line(&row(&header.map(str::to_owned)));
    for operation in &measured.operations {
        let bytes = (operation.flops.is_none() && operation.bytes_per_s > 0.0).then_some(operation.bytes_per_s);
        output::line(&row(&[
            operation.name.clone(),
            operation.variant.clone().unwrap_or_default(),
            format!("{:.3}", 1e3 * operation.seconds),
            percent(Some(operation.share_of_step)),
            operation.flops.map_or_else(String::new, |f| format!("{:.1}", f / 1e9)),
            percent(operation.share_of_flops),
            bytes.map_or_else(String::new, |b| format!("{:.1}", b / 1e9)),
            percent(bytes.and(operation.share_of_bytes)),
        ]));
    }
}

fn row(cells: &[String; 8]) -> String {
    let [operation, variant, ms, step, flops, share, bytes, share_bytes] = cells;
    format!("{operation:36} {variant:24} {ms:>10} {step:>5} {flops:>9} {share:>6} {bytes:>8} {share_bytes:>6}")
        .trim_end()
        .to_owned()
}
