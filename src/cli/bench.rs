//! `vggkit bench`: images per second of training or inference, the time of every operation and layer, and on demand the
//! same networks in PyTorch, measured in turn.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::network_arguments::NetworkArguments;
use super::{Shared, output, values};
use crate::bench::comparison::{self, Comparison};
use crate::bench::memory::Watch;
use crate::bench::pytorch::{self, Precision, Question};
use crate::bench::{self, Benchmark, Measured, Mode, Rounds, operations};
use crate::engine::gpu::{GpuEngine, limits};
use crate::engine::{Engine, Optimizer, State, cpu};
use crate::error::Result;
use crate::files;
use crate::vgg::{Network, Plan, initialisation};

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
    /// Seconds of a round, after warming up
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = values::whole(1u64), allow_negative_numbers = true)]
    seconds: u64,
    /// Rounds, whose median counts [default: 1; with --pytorch 3]
    #[arg(long, value_name = "N", value_parser = values::whole(1usize), allow_negative_numbers = true)]
    rounds: Option<usize>,
    /// Measure the same networks with this Python's PyTorch, a round of each in turn
    #[arg(long, value_name = "PYTHON")]
    pytorch: Option<PathBuf>,
    /// An earlier result (--json) of the same mode and batch size to set this one beside
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
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
  vggkit bench --mode infer -b 64 --json      inference, for other programs
  vggkit bench -d 16 --compare before.json    beside what an earlier --json printed
  vggkit bench --all --pytorch venv/bin/python    beside PyTorch at its fastest settings, in the same run";

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
    let mut report = Benchmark {
        schema: bench::SCHEMA.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        commit: crate::build_info::commit().into(),
        time: files::now(),
        device: crate::engine::Device::default(),
        mode: arguments.mode,
        precision: arguments.shared.precision.unwrap_or_default(),
        precise: arguments.shared.precise,
        batch_size: arguments.batch_size,
        limits: None,
        networks: Vec::new(),
    };
    let earlier = arguments.compare.as_deref().map(|path| comparison::earlier(path, &report)).transpose()?;
    for network in networks {
        let mut measured = measure(&arguments, &network, &mut report)?;
        measured.earlier = earlier.as_ref().and_then(|earlier| Comparison::new(earlier, &report, &measured));
        if let (None, Some(path), false) = (&measured.earlier, &arguments.compare, arguments.shared.json) {
            output::note(&format!("{} has no {}", path.display(), network.title()));
        }
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

/// One network; puts the device and its limits into `report`. Measuring the limits counts neither as the network's time
/// nor, on a CPU, as its memory.
fn measure(arguments: &Arguments, network: &Network, report: &mut Benchmark) -> Result<Measured> {
    let plan = network.plan()?;
    let target = arguments.shared.target();
    if !target.is_gpu() {
        target.check_cpu()?;
        if report.limits.is_none() {
            report.limits = Some(cpu::limits::measure(arguments.shared.threads())?);
        }
    }
    let (watch, started) = (Watch::begin(), Instant::now());
    let state = State::new(initialisation::initialise(&plan, 0));
    let optimizer = (arguments.mode == Mode::Train).then(Optimizer::adam);
    let settings = arguments.shared.settings(arguments.batch_size, optimizer);
    let mut measured = if target.is_gpu() {
        let mut engine = GpuEngine::new(plan.clone(), settings, &state, &target.gpu)?;
        let built = started.elapsed();
        if report.limits.is_none() {
            report.limits = Some(limits::measure(engine.gpu())?);
        }
        let software = engine.gpu().software();
        let mut measured = rounds(&mut engine, arguments, &plan, built, report, !software)?;
        measured.micro_batch = engine.micro_batch();
        if !arguments.no_layers {
            measured.operations = operations(&engine, arguments.mode, report.limits)?;
        }
        measured
    } else {
        let mut engine = cpu::CpuEngine::new(plan.clone(), settings, state)?;
        let mut measured = rounds(&mut engine, arguments, &plan, started.elapsed(), report, false)?;
        if arguments.no_layers {
            measured.operations.clear();
        }
        measured
    };
    measured.peak_memory_bytes = watch.peak();
    Ok(measured)
}

/// Rounds of the engine and of its peers in turn: what else the machine does then troubles both.
fn rounds(
    engine: &mut dyn Engine,
    arguments: &Arguments,
    plan: &Plan,
    built: Duration,
    report: &mut Benchmark,
    cuda: bool,
) -> Result<Measured> {
    report.device = engine.device().clone();
    let (mode, batch_size, seconds) = (arguments.mode, arguments.batch_size, arguments.seconds);
    let mut warm = Rounds::warm(engine, mode, &plan.network, batch_size, built)?;
    let mut peers: Vec<pytorch::Peer> = Vec::new();
    for _ in 0..arguments.rounds.unwrap_or(if arguments.pytorch.is_some() { 3 } else { 1 }) {
        warm.round(seconds)?;
        let Some(python) = &arguments.pytorch else { continue };
        for precision in Precision::all(cuda) {
            let threads = arguments.shared.threads();
            let question = Question { plan, mode, batch_size, seconds, threads, cuda, precision: *precision };
            let peer = pytorch::measure(python, &question)?;
            match peers.iter_mut().find(|p| p.precision == *precision) {
                Some(known) => known.add(&peer),
                None => peers.push(peer),
            }
        }
    }
    let mut measured = warm.measured(&plan.network, report.limits);
    for peer in &mut peers {
        peer.ratio = measured.images_per_s / peer.images_per_s;
    }
    measured.pytorch = peers;
    Ok(measured)
}

fn heading(report: &Benchmark) {
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
        "\n{}: {:.1} images/s · {:.1} GF/s as direct convolution {}· first step after {:.1} s · {} of memory{}{}",
        measured.network.title(),
        measured.images_per_s,
        measured.flops / 1e9,
        measured.share_of_limit.map_or_else(String::new, |s| format!("({:.0} % of the limit) ", 100.0 * s)),
        measured.seconds_to_first_step,
        indicatif::HumanBytes(measured.memory_bytes),
        measured.peak_memory_bytes.map_or_else(String::new, |b| format!(", the process {}", indicatif::HumanBytes(b))),
        if measured.operations.is_empty() { "" } else { "\n" },
    ));
    if let Some(Comparison { images_per_s, ratio, slower, otherwise }) = &measured.earlier {
        let otherwise = if otherwise.is_empty() { String::new() } else { format!(" (then {})", otherwise.join(", ")) };
        let worst =
            slower.first().map_or_else(String::new, |(name, ratio)| format!("; {name} takes {ratio:.2} times as long"));
        output::line(&format!("earlier: {images_per_s:.1} images/s{otherwise}; now {ratio:.2} times as fast{worst}"));
    }
    for peer in &measured.pytorch {
        output::line(&format!(
            "PyTorch {} on {}, {}: {:.1} images/s, {} of memory; vggkit is {:.2} times as fast",
            peer.version,
            peer.device,
            peer.precision.name(),
            peer.images_per_s,
            indicatif::HumanBytes(peer.memory_bytes),
            peer.ratio
        ));
    }
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
