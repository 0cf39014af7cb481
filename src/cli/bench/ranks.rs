//! `vggkit bench --ranks`: starts this program under `mpirun` with each number of ranks in turn, and shows what a step costs.
//!
//! Each rank is this program with the same flags and `--as-rank`; rank 0 prints a line that this one reads.

use std::ffi::OsString;
use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::bench::ranks::{Effort, RanksBenchmark, RanksMeasured, SCHEMA};
use crate::bench::{self, Mode, Rounds};
use crate::cli::arguments::shared::Shared;
use crate::cli::arguments::values;
use crate::cli::output;
use crate::distributed::exchange::Traffic;
use crate::distributed::handshake::{self, Member};
use crate::distributed::launch;
use crate::distributed::ranks::Ranks;
use crate::engine::peers::{Alone, Peers, Together};
use crate::engine::{Engine, Optimizer, State};
use crate::engines;
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::training::stop::Stop;
use crate::vgg::{Network, initialisation};

/// Between two looks at a process.
const INTERVAL: Duration = Duration::from_millis(20);

/// The flags of it.
#[derive(Debug, Args)]
pub struct RankArguments {
    /// Measure the training of one network by so many ranks in turn, each with its own batch: images per second, what
    /// communication takes, how much of it is hidden, and what the network between them carries. Needs MPI (`make mpi`)
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = values::whole(1usize),
          conflicts_with_all = ["all", "mode", "pytorch", "compare", "count", "model"])]
    pub ranks: Vec<usize>,
    /// How --ranks starts ranks, ahead of `-n N` and this program: a launcher with its flags
    #[arg(long, value_name = "COMMAND", default_value = "mpirun", requires = "ranks")]
    mpirun: String,
    /// Be one of the ranks
    #[arg(long, hide = true, requires = "ranks")]
    as_rank: bool,
}

/// What to measure.
pub struct Task<'a> {
    /// By how many ranks.
    pub ranks: &'a RankArguments,
    /// Which network.
    pub network: &'a Network,
    /// Images of a step, for each rank.
    pub batch_size: usize,
    /// For how long.
    pub effort: Effort,
    /// By which engine.
    pub shared: &'a Shared,
}

/// Measures with each number of ranks that was asked for, or is one of the ranks.
pub fn run(task: &Task<'_>) -> Result<ExitCode> {
    if task.ranks.as_rank { work(task) } else { measure_all(task) }
}

fn measure_all(task: &Task<'_>) -> Result<ExitCode> {
    launch::check_built_in(task.ranks.ranks.iter().copied().max().unwrap_or(1))?;
    let stop = Stop::on_signals()?;
    let mut report = RanksBenchmark {
        schema: SCHEMA.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        commit: crate::build_info::commit().into(),
        time: files::now(),
        network: task.network.clone(),
        precision: task.shared.precision.unwrap_or_default(),
        batch_size: task.batch_size,
        micro_batch: task.shared.micro_batch().unwrap_or_default(),
        partial: None,
        ranks: Vec::new(),
    };
    let mut ended = None;
    for ranks in &task.ranks.ranks {
        match started(task, *ranks, &stop) {
            Ok(scaled) => report.push(scaled),
            Err(error) if report.ranks.is_empty() => return Err(error),
            Err(error) => {
                ended = Some(error);
                break;
            }
        }
        if !task.shared.json {
            if let [first] = &report.ranks[..] {
                heading(&report, first);
            }
            report.ranks.last().into_iter().for_each(line);
        }
    }
    report.partial = ended.as_ref().map(ToString::to_string);
    if task.shared.json {
        output::json(&report)?;
    }
    match ended {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => Err(error.or_help("what had been measured by then is printed")),
    }
}

/// What `count` ranks come to: this program under the launcher, and by itself for one.
fn started(task: &Task<'_>, count: usize, stop: &Stop) -> Result<RanksMeasured> {
    let program = std::env::current_exe();
    let program = program.map_err(|e| Error::new(Kind::Io, "cannot find this program").with_source(e))?;
    let mut words: Vec<OsString> = Vec::new();
    if count > 1 {
        words.extend(task.ranks.mpirun.split_whitespace().map(Into::into));
        words.extend(["-n".into(), count.to_string().into()]);
    }
    words.push(program.into_os_string());
    words.extend(std::env::args_os().skip(1));
    words.push("--as-rank".into());
    if task.shared.threads.is_none() {
        words.extend(["--threads".into(), (task.shared.threads() / count).max(1).to_string().into()]);
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped());
    // Open MPI binds each rank to one core, and starts no more of them than there are, unless it is told otherwise.
    command.env("OMPI_MCA_hwloc_base_binding_policy", "none").env("OMPI_MCA_rmaps_base_oversubscribe", "1");
    let named = words[0].to_string_lossy();
    let failed = |e| {
        let error = Error::new(Kind::Io, format!("cannot start {named}")).with_source(e);
        error.with_help("install an MPI (`make mpi` does), or say how to start ranks with --mpirun")
    };
    let mut child = command.spawn().map_err(failed)?;
    let reader = child.stdout.take().map(|mut printed| {
        thread::spawn(move || {
            let mut text = Vec::new();
            let _ = printed.read_to_end(&mut text); // what there is counts
            text
        })
    });
    let mut told = false;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if stop.signal().is_some() && !told {
            told = true;
            end(&mut child);
        }
        thread::sleep(INTERVAL);
    };
    let text = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    if let Some(signal) = stop.signal() {
        return Err(Error::new(Kind::Interrupted(signal), format!("stopped by a signal at {count} ranks")));
    }
    let text = String::from_utf8_lossy(&text);
    let scaled = text.lines().find_map(|line| serde_json::from_str(line).ok());
    scaled.filter(|_| status.success()).ok_or_else(|| {
        let what = format!("{count} ranks were not measured: {named} ended with {status}");
        Error::new(Kind::Engine, what).with_help("the lines above say why")
    })
}

/// Asks a launcher, or a rank by itself, to end: `mpirun` ends its ranks.
#[cfg(unix)]
fn end(child: &mut std::process::Child) {
    use rustix::process::{Pid, Signal, kill_process};
    let _ = kill_process(Pid::from_child(child), Signal::TERM); // one that has just ended needs no signal
}

#[cfg(not(unix))]
fn end(child: &mut std::process::Child) {
    let _ = child.kill();
}

/// One of the ranks, or the only one: measures, and rank 0 prints.
fn work(task: &Task<'_>) -> Result<ExitCode> {
    match launch::join()? {
        None => {
            let micro_batch = task.shared.micro_batch().unwrap_or(task.batch_size);
            let alone: Arc<dyn Peers> = Arc::new(Alone::new(micro_batch));
            // Without micro-batches it is the step that a training by itself does.
            let together = task.shared.micro_batch().is_some();
            let (engine, opening) = open(task, &alone, together)?;
            print(&measure(task, (engine, opening), alone.as_ref(), &Traffic::default)?)
        }
        Some(link) => {
            let ranks = Ranks::new(link);
            ranks.watch_panics(output::error);
            ranks.run(output::error, |ranks| {
                ranks.greet(Member::default(), &[])?; // an engine takes its time to open
                let exchange = Arc::new(ranks.exchange(task.shared.micro_batch().unwrap_or(task.batch_size))?);
                let peers = Arc::clone(&exchange) as Arc<dyn Peers>;
                let (engine, opening) = open(task, &peers, true)?;
                let members = ranks.greet(Member::on(engine.device(), engine.card()), &[])?;
                let first = ranks.rank() == 0;
                handshake::shared_cards(&members)
                    .filter(|_| first && !task.shared.quiet)
                    .iter()
                    .for_each(|note| output::note(note));
                let scaled = measure(task, (engine, opening), peers.as_ref(), &|| exchange.traffic())?;
                if first { print(&scaled) } else { Ok(ExitCode::SUCCESS) }
            })
        }
    }
}

/// The engine of one of `peers`, and what opening it took.
fn open(task: &Task<'_>, peers: &Arc<dyn Peers>, together: bool) -> Result<(Box<dyn Engine>, Duration)> {
    let mut target = task.shared.target();
    target.together = together.then(|| Together { peers: Arc::clone(peers), sync_batch_norm: false });
    let plan = task.network.plan()?;
    let begun = Instant::now();
    let settings = task.shared.settings(task.batch_size * peers.ranks(), Some(Optimizer::adam()));
    let state = State::new(initialisation::initialise(&plan, 0));
    Ok((engines::open(&target, plan, settings, state)?, begun.elapsed()))
}

/// This rank's part of a measurement.
fn measure(
    task: &Task<'_>,
    (mut engine, opening): (Box<dyn Engine>, Duration),
    peers: &dyn Peers,
    traffic: &dyn Fn() -> Traffic,
) -> Result<RanksMeasured> {
    let device = engine.device().clone();
    let mut warm = Rounds::warm(engine.as_mut(), Mode::Train, task.network, task.batch_size * peers.ranks(), opening)?;
    bench::ranks::measure(&mut warm, device, peers, traffic, task.effort)
}

/// One line for the process that started the ranks.
fn print(scaled: &RanksMeasured) -> Result<ExitCode> {
    let text = serde_json::to_string(scaled).map_err(|e| Error::data("standard output", e))?;
    output::line(&text);
    Ok(ExitCode::SUCCESS)
}

fn heading(report: &RanksBenchmark, first: &RanksMeasured) {
    let device = &first.device;
    output::line(&format!("{} · {} · {}", device.engine, device.adapter, device.driver));
    let micro =
        if report.micro_batch > 0 { format!(", micro-batches of {}", report.micro_batch) } else { String::new() };
    output::line(&format!("{}: {} images a rank{micro}", report.network.title(), report.batch_size));
    output::line(&row(&[
        "ranks",
        "threads",
        "images/s",
        "ratio",
        "step",
        "under way",
        "waited",
        "overlap",
        "sent",
        "link",
        "latency",
    ]
    .map(str::to_owned)));
}

fn line(scaled: &RanksMeasured) {
    // A card has no threads.
    let threads = Some(scaled.device.threads).filter(|threads| *threads > 0);
    let milliseconds = |seconds: f64| format!("{:.1} ms", 1e3 * seconds);
    let link = scaled.link.as_ref();
    output::line(&row(&[
        scaled.ranks.to_string(),
        threads.map_or_else(String::new, |threads| format!("{} x {threads}", scaled.ranks)),
        format!("{:.1}", scaled.images_per_s),
        format!("{:.3}", scaled.ratio),
        milliseconds(scaled.step_seconds),
        milliseconds(scaled.communication_seconds),
        milliseconds(scaled.waited_seconds),
        if scaled.ranks > 1 { format!("{:.0} %", 100.0 * scaled.overlap) } else { String::new() },
        format!("{:.1} MB", scaled.bytes_per_step / 1e6),
        link.map_or_else(String::new, |link| format!("{:.2} Gb/s", 8e-9 * link.bytes_per_second)),
        link.map_or_else(String::new, |link| format!("{:.0} us", 1e6 * link.latency)),
    ]));
}

fn row(cells: &[String; 11]) -> String {
    let [ranks, threads, rate, ratio, step, under_way, waited, overlap, sent, link, latency] = cells;
    format!(
        "{ranks:>5} {threads:>8} {rate:>10} {ratio:>7} {step:>11} {under_way:>11} {waited:>11} {overlap:>8} {sent:>10} \
         {link:>11} {latency:>8}"
    )
}
