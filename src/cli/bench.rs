//! `vggkit bench`: images per second of training or inference, the time of every operation and layer, and on demand the
//! same networks in PyTorch, measured in turn.

mod count;
mod model;
mod ranks;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use signal_hook::consts::SIGINT;

use super::arguments::network::NetworkArguments;
use super::arguments::shared::Shared;
use super::arguments::values;
use super::output;
use crate::bench::memory::Watch;
use crate::bench::pytorch::{Peers, Question};
use crate::bench::ranks::Effort;
use crate::bench::{self, Benchmark, Comparison, Measured, Mode, Rounds, comparison, operations};
use crate::engine::cpu::{self, CpuEngine};
use crate::engine::gpu::plumbing::adapter;
use crate::engine::gpu::{GpuEngine, limits};
use crate::engine::peers::Together;
use crate::engine::{Engine, Limits, Optimizer, State};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::training::stop::Stop;
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
    /// Measure the same networks with this Python's PyTorch, a round of each in turn: in float32, on a card also in TF32,
    /// mixed precision and that in a CUDA graph, in both memory layouts
    #[arg(long, value_name = "PYTHON")]
    pytorch: Option<PathBuf>,
    /// An earlier result (--json) of the same mode and batch size to set this one beside
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Leave out the table by operation and layer
    #[arg(long)]
    no_layers: bool,
    /// Measure nothing: count what a GPU's step moves and multiplies, and tell the least time on a card of so many TF/s and
    /// GB/s
    #[arg(long, value_name = "TF/S,GB/S", value_parser = rates, conflicts_with_all = ["pytorch", "compare", "json"])]
    count: Option<Limits>,
    #[command(flatten)]
    model: model::Model,
    #[command(flatten)]
    ranks: ranks::RankArguments,
    #[command(flatten)]
    shared: Shared,
}

const EXAMPLES: &str = "\
Examples:
  vggkit bench --engine gpu -d 16 -b 64       VGG-16 training, layer by layer
  vggkit bench --all --no-layers              images per second of the five networks
  vggkit bench --mode infer -b 64 --json      inference, for other programs
  vggkit bench -d 16 --compare before.json    beside what an earlier --json printed
  vggkit bench --all --pytorch venv/bin/python    beside PyTorch at its fastest settings, in the same run
  vggkit bench -b 256 --micro-batch 64        the step of train --micro-batch 64: gradients are added on the host, on a GPU too
  vggkit bench --count 790,2700 --precision f16 -b 128 --engine gpu    the least that an H100 has to do
  vggkit bench --ranks 1,2,4 --engine cpu     trained by 1, 2 and 4 processes, which share this machine's threads
  vggkit bench --ranks 2,4 --mpirun \"mpirun --hostfile hosts\" --threads 16    on several machines
  vggkit bench --model before.json --gbps 25  what 4 to 512 such devices would reach together
  vggkit bench --model 254 -d 11 -b 32        the same of a step of 254 ms
  vggkit bench --model before.json --link ranks.json    on the network that `bench --ranks 4 --json > ranks.json` measured

Ctrl-C or SIGTERM ends it after the step that goes on; what has been measured is printed, with --json too, where `partial`
says that it is not all. A second one ends it at once. Exit code: 0 all measured, 1 not all, 130 or 143 stopped by a signal.";

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
    if let Some(given) = &arguments.model.model {
        return model::run(&arguments.model, given, &networks, arguments.batch_size, arguments.shared.json);
    }
    if !arguments.ranks.ranks.is_empty() {
        let effort = Effort { seconds: arguments.seconds, rounds: arguments.rounds.unwrap_or(1) };
        let Arguments { ranks, batch_size, shared, .. } = &arguments;
        return ranks::run(&ranks::Task { ranks, network: &networks[0], batch_size: *batch_size, effort, shared });
    }
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
        limits_exceeded_by: None,
        partial: None,
        networks: Vec::new(),
    };
    let earlier = arguments.compare.as_deref().map(|path| comparison::earlier(path, &report)).transpose()?;
    if let Some(limits) = arguments.count {
        return count::run(&networks, arguments.mode, arguments.batch_size, &arguments.shared, limits);
    }
    let bench = Bench::new(&arguments)?;
    let mut ended = None;
    for network in &networks {
        let mut measured = match bench.measure(network, &mut report) {
            Ok(measured) => measured,
            Err(error) if report.networks.is_empty() => return Err(error),
            Err(error) => {
                ended = Some(error);
                break;
            }
        };
        measured.earlier = earlier.as_ref().and_then(|earlier| Comparison::new(earlier, &report, &measured));
        if let (None, Some(path), false) = (&measured.earlier, &arguments.compare, arguments.shared.json) {
            output::note(&format!("{} has no {}", path.display(), network.title()));
        }
        if !arguments.shared.json {
            if report.networks.is_empty() {
                heading(&report);
            }
            table(&measured, arguments.batch_size);
        }
        report.networks.push(measured);
        ended = bench.stopped().map(|signal| interrupted(signal, network));
        if ended.is_some() {
            break;
        }
    }
    let ended = ended.or_else(|| failure(&report.networks));
    report.partial = ended.as_ref().map(ToString::to_string);
    if arguments.shared.json {
        output::json(&report)?;
    } else if let Some(operation) = &report.limits_exceeded_by {
        output::note(&format!("the limits are not to be trusted: {operation} was faster, measured twice"));
    }
    match ended {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => Err(error.or_help("what had been measured by then is printed")),
    }
}

/// As `--count` takes them.
fn rates(text: &str) -> std::result::Result<Limits, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|v| v.is_finite());
    let numbers = text.split_once(',').and_then(|(flops, bytes)| Some((number(flops)?, number(bytes)?)));
    match numbers {
        Some((tflops, gbytes)) if tflops > 0.0 && gbytes > 0.0 => {
            Ok(Limits { flops: tflops * 1e12, bytes: gbytes * 1e9 })
        }
        _ => Err("give TF/s and GB/s, e.g. 790,2700".into()),
    }
}

fn interrupted(signal: i32, network: &Network) -> Error {
    Error::new(Kind::Interrupted(signal), format!("stopped by a signal at {}", network.title()))
}

/// The first thing that PyTorch could not do.
fn failure(networks: &[Measured]) -> Option<Error> {
    let (network, why) = networks.iter().find_map(|n| Some((&n.network, n.pytorch_failures.first()?)))?;
    let more = networks.iter().map(|n| n.pytorch_failures.len()).sum::<usize>() - 1;
    let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
    Some(Error::new(Kind::Data, format!("{}: {why}{more}", network.title())))
}

/// How to measure, and what stops it.
struct Bench<'a> {
    arguments: &'a Arguments,
    stop: Stop,
    /// Whether PyTorch is to use a card too.
    cuda: bool,
    rounds: usize,
}

impl<'a> Bench<'a> {
    fn new(arguments: &'a Arguments) -> Result<Self> {
        let target = arguments.shared.target();
        let hardware = |found: adapter::Found| !found.software();
        let cuda = arguments.pytorch.is_some()
            && target.is_gpu()
            && adapter::choose(target.gpu.adapter.as_deref(), target.gpu.turn).is_ok_and(hardware);
        let rounds = arguments.rounds.unwrap_or(if arguments.pytorch.is_some() { 3 } else { 1 });
        Ok(Self { arguments, stop: Stop::on_signals()?, cuda, rounds })
    }

    fn stopped(&self) -> Option<i32> {
        self.stop.signal()
    }

    /// Says what is being done: on a terminal, and wherever it takes as long as PyTorch makes it.
    fn tell(&self, line: &str) {
        let wanted = self.arguments.pytorch.is_some() || std::io::stderr().is_terminal();
        if wanted && !self.arguments.shared.quiet {
            output::note(line);
        }
    }

    /// One network; puts the device and its limits into `report`. Measuring the limits counts neither as the network's
    /// time nor, on a CPU, as its memory. Errors, among others: stopped before there was anything to keep.
    fn measure(&self, network: &Network, report: &mut Benchmark) -> Result<Measured> {
        let arguments = self.arguments;
        let plan = network.plan()?;
        let target = arguments.shared.target();
        if !target.is_gpu() {
            target.check_cpu()?;
            if report.limits.is_none() {
                report.limits = Some(cpu::limits::measure(arguments.shared.threads())?);
            }
        }
        let mut peers = match &arguments.pytorch {
            None => None,
            // Ahead of the engine, which may have to measure its variants for minutes: a wrong Python is told at once.
            Some(python) => Some(self.peers(python, &plan)?),
        };
        let (watch, started) = (Watch::begin(), Instant::now());
        let state = State::new(initialisation::initialise(&plan, 0));
        let optimizer = (arguments.mode == Mode::Train).then(Optimizer::adam);
        let settings = arguments.shared.settings(arguments.batch_size, optimizer);
        // A training that was given micro-batches adds them on the host, as one of several ranks does.
        let cut = arguments.shared.micro_batch().filter(|_| arguments.mode == Mode::Train);
        let together = cut.map(|micro_batch| Together::alone(micro_batch, false));
        let mut measured = if target.is_gpu() {
            let mut engine = match &together {
                Some(together) => GpuEngine::with_peers(plan.clone(), settings, &state, &target.gpu, together)?,
                None => GpuEngine::new(plan.clone(), settings, &state, &target.gpu)?,
            };
            let built = started.elapsed();
            report.device = engine.device().clone();
            let first = report.limits.is_none();
            if first {
                report.raise(limits::measure(engine.gpu())?);
            }
            let mut measured = self.rounds(&mut engine, &plan, built, &mut peers)?;
            measured.micro_batch = engine.micro_batch();
            if first {
                report.raise(limits::measure(engine.gpu())?); // once more, at the clock that work brings
            }
            if !arguments.no_layers {
                measured.operations = operations::of_gpu(&engine, arguments.mode)?;
                self.doubt_limits(&engine, &mut measured, report)?;
            }
            measured
        } else {
            let mut engine = match together {
                Some(together) => CpuEngine::with_peers(plan.clone(), settings, state, together)?,
                None => CpuEngine::new(plan.clone(), settings, state)?,
            };
            report.device = engine.device().clone();
            let mut measured = self.rounds(&mut engine, &plan, started.elapsed(), &mut peers)?;
            measured.micro_batch = cut.unwrap_or(arguments.batch_size).min(arguments.batch_size);
            if arguments.no_layers {
                measured.operations.clear();
            }
            measured
        };
        measured.peak_memory_bytes = watch.peak();
        if let Some(limits) = report.limits {
            measured.hold_against(limits);
        }
        if let Some(peers) = peers {
            (measured.pytorch, measured.pytorch_failures) = peers.finish(measured.images_per_s);
        }
        Ok(measured)
    }

    /// PyTorch, ready for the network of `plan`.
    fn peers(&self, python: &Path, plan: &Plan) -> Result<Peers> {
        let Arguments { mode, batch_size, shared, .. } = self.arguments;
        let title = plan.network.title();
        self.tell(&format!("{title}: starting {}", python.display()));
        let question =
            Question { plan, mode: *mode, batch_size: *batch_size, threads: shared.threads(), cuda: self.cuda };
        let peers = Peers::start(python, &question, &|| self.stopped().is_some())?;
        peers.ok_or_else(|| interrupted(self.stopped().unwrap_or(SIGINT), &plan.network))
    }

    /// Measures limits again that an operation exceeds; where it still does, `report` says so.
    fn doubt_limits(&self, engine: &GpuEngine, measured: &mut Measured, report: &mut Benchmark) -> Result<()> {
        for again in [true, false] {
            let Some(limits) = report.limits else { break };
            measured.hold_against(limits);
            match measured.exceeding() {
                None => break,
                Some(operation) if again => {
                    self.tell(&format!("{} was faster than the limits, which are measured again", operation.name));
                    report.raise(limits::measure(engine.gpu())?);
                }
                Some(operation) => report.limits_exceeded_by = Some(operation.name.clone()),
            }
        }
        Ok(())
    }

    /// Rounds of the engine and of its peers in turn: what else the machine does then troubles both.
    /// Errors, among others: stopped before the first round's end.
    fn rounds(
        &self,
        engine: &mut dyn Engine,
        plan: &Plan,
        built: Duration,
        peers: &mut Option<Peers>,
    ) -> Result<Measured> {
        let (mode, batch_size, seconds) = (self.arguments.mode, self.arguments.batch_size, self.arguments.seconds);
        let title = plan.network.title();
        let stopped = || self.stopped().is_some();
        let mut warm = Rounds::warm(engine, mode, &plan.network, batch_size, built)?;
        for round in 1..=self.rounds {
            let tell = |what: &str| match what.strip_prefix("  ") {
                Some(_) => self.tell(what), // what came of what was told before
                None => self.tell(&format!("{title}, round {round} of {}: {what}", self.rounds)),
            };
            tell("vggkit");
            match warm.round(seconds, &stopped)? {
                Some(rate) => tell(&format!("  {rate:.1} images/s")),
                None if round == 1 => return Err(interrupted(self.stopped().unwrap_or(SIGINT), &plan.network)),
                None => break,
            }
            if let Some(peers) = peers {
                peers.round(seconds, &tell, &stopped);
            }
            if stopped() {
                break;
            }
        }
        Ok(warm.measured(&plan.network))
    }
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

fn table(measured: &Measured, batch_size: usize) {
    let parts = Some(measured.micro_batch).filter(|samples| *samples < batch_size);
    output::line(&format!(
        "\n{}{}: {:.1} images/s · {:.1} GF/s as direct convolution {}· first step after {:.1} s · {} of memory{}{}",
        measured.network.title(),
        parts.map_or_else(String::new, |samples| format!(", {samples} of {batch_size} images at once")),
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
        let others = peer.layouts.iter().filter(|tried| tried.layout != peer.layout);
        let others: String = others.map(|t| format!(" ({} {:.1})", t.layout.name(), t.images_per_s)).collect();
        output::line(&format!(
            "PyTorch {} on {}, {}, {}: {:.1} images/s{others}, {} of memory; vggkit is {:.2} times as fast",
            peer.version,
            peer.device,
            peer.way().name(),
            peer.layout.name(),
            peer.images_per_s,
            indicatif::HumanBytes(peer.memory_bytes),
            peer.ratio
        ));
    }
    for failure in &measured.pytorch_failures {
        output::line(&format!("not measured: {failure}"));
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
