//! The README.md of a survey: its files in tables. Reads what the stages left and measures nothing; what is missing or
//! unreadable is said in its place.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::stage;
use super::stage::{Stage, run_folder};
use crate::bench::pytorch::{self, Peer, Way};
use crate::bench::{self, Benchmark, Measured, Mode};
use crate::engine::{Limits, Precision};
use crate::error::{Error, Result};
use crate::files;
use crate::inference::evaluation::Evaluation;
use crate::training::history::{self, Epoch};
use crate::training::run::Run;
use crate::vgg::Network;

/// Writes `out/README.md`, with the figures of the results in `before` beside those in `out`.
pub fn write(out: &Path, before: Option<&Path>) -> Result<()> {
    let mut text = String::from("# What this machine does with vggkit\n\n");
    let results = Results::of(out);
    let earlier = before.map(Results::of);
    if let Some((_, first)) = results.0.first() {
        let _ = writeln!(text, "{}\n", heading(first));
    }
    if let (Some(before), Some((_, first))) = (before, earlier.as_ref().and_then(|earlier| earlier.0.first())) {
        let _ = writeln!(text, "Before: {}, in `{}`\n", heading(first), before.display());
    }
    selftest(out, &mut text);
    for mode in [Mode::Train, Mode::Infer] {
        rates(mode, &results, earlier.as_ref(), &mut text);
        operations(mode, &results, &mut text);
    }
    training(out, &mut text);
    stages(out, &mut text);
    files::write_atomic(&out.join("README.md"), |file| std::io::Write::write_all(file, text.as_bytes()))
}

/// Errors: there is no result of `vggkit bench --json` in `before`.
pub fn check_before(before: &Path) -> Result<()> {
    if Results::of(before).0.is_empty() {
        return Err(Error::data(before, "holds no result of a benchmark")
            .with_help("--before takes the folder of an earlier survey, or any with files of `vggkit bench --json`"));
    }
    Ok(())
}

/// The results of benchmarks in a folder, with the names of their files, which are their order.
struct Results(Vec<(String, Benchmark)>);

impl Results {
    /// Those that can be read.
    fn of(folder: &Path) -> Self {
        let entries = files::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| name.ends_with(".json"));
        names.sort();
        let result = |name: String| {
            let value: Value = read(folder, &name)?;
            (value["schema"] == bench::SCHEMA).then_some(())?;
            Some((name, serde_json::from_value(value).ok()?))
        };
        Self(names.into_iter().filter_map(result).collect())
    }

    fn measured(&self, mode: Mode, precision: Precision) -> impl Iterator<Item = &Measured> {
        let of = self.0.iter().filter(move |(_, result)| (result.mode, result.precision) == (mode, precision));
        of.flat_map(|(_, result)| &result.networks)
    }

    fn network(&self, mode: Mode, precision: Precision, network: &Network) -> Option<&Measured> {
        self.measured(mode, precision).find(|measured| measured.network == *network)
    }

    /// The networks that were measured in `mode`, in the order of the paper's table.
    fn networks(&self, mode: Mode) -> Vec<&Network> {
        let both = [Precision::F32, Precision::F16].into_iter().flat_map(|p| self.measured(mode, p));
        let mut networks: Vec<&Network> = both.map(|measured| &measured.network).collect();
        networks.sort_by_key(|network| (network.depth, network.conv1x1));
        networks.dedup();
        networks
    }
}

fn heading(result: &Benchmark) -> String {
    let Benchmark { device, version, commit, time, .. } = result;
    format!("{} · {} · vggkit {version} {commit} · {time}", device.adapter, device.driver)
}

fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Train => "Training",
        Mode::Infer => "Inference",
    }
}

/// Images per second of every network, with what they are to be held against.
fn rates(mode: Mode, results: &Results, before: Option<&Results>, text: &mut String) {
    let networks = results.networks(mode);
    let Some((_, first)) = results.0.iter().find(|(_, result)| result.mode == mode) else { return };
    let _ = writeln!(text, "## {}, {} images a step, images/s\n", name(mode), first.batch_size);
    let peer = |network: &Network, way: Way| {
        let mut peers = [Precision::F32, Precision::F16].into_iter().filter_map(|p| results.network(mode, p, network));
        peers.find_map(|measured| measured.pytorch.iter().find(|peer| peer.way() == way))
    };
    let ways: Vec<Way> =
        Way::all(true).iter().copied().filter(|way| networks.iter().any(|n| peer(n, *way).is_some())).collect();
    let mut columns: Vec<String> = vec!["f32".into(), "f16".into()];
    columns.extend(ways.iter().map(|way| format!("PyTorch {}", way.name())));
    // What each of vggkit's precisions is to be held against, by the nearest of PyTorch's.
    let pairs = |way: Way| if way.precision == pytorch::Precision::Amp { Precision::F16 } else { Precision::F32 };
    let beside: Vec<(Precision, Way)> = ways.iter().map(|way| (pairs(*way), *way)).collect();
    columns.extend(beside.iter().map(|(precision, way)| format!("{} / {}", precision.name(), way.name())));
    if before.is_some() {
        columns.extend([Precision::F32, Precision::F16].map(|p| format!("{} / before", p.name())));
    }
    let _ = writeln!(text, "| network | {} |\n|---|{}", columns.join(" | "), "---|".repeat(columns.len()));
    for network in networks {
        let own = |precision| results.network(mode, precision, network).map(|measured| measured.images_per_s);
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.1}"));
        let ratio =
            |a: Option<f64>, b: Option<f64>| a.zip(b).map_or_else(String::new, |(a, b)| format!("{:.2}", a / b));
        let mut cells = vec![number(own(Precision::F32)), number(own(Precision::F16))];
        cells.extend(ways.iter().map(|way| {
            let layout = |p: &Peer| format!("{:.1}, {}", p.images_per_s, p.layout.name());
            peer(network, *way).map_or_else(String::new, layout)
        }));
        cells.extend(
            beside
                .iter()
                .map(|(precision, way)| ratio(own(*precision), peer(network, *way).map(|peer| peer.images_per_s))),
        );
        if let Some(before) = before {
            cells.extend(
                [Precision::F32, Precision::F16]
                    .map(|p| ratio(own(p), before.network(mode, p, network).map(|measured| measured.images_per_s))),
            );
        }
        let _ = writeln!(text, "| {} | {} |", network.title(), cells.join(" | "));
    }
    text.push('\n');
    for (file, result) in results.0.iter().filter(|(_, result)| result.mode == mode) {
        if let Some(partial) = &result.partial {
            let _ = writeln!(text, "`{file}` is not whole: {partial}.\n");
        }
    }
}

/// What each network reached of the limits, and which operations lose the most.
fn operations(mode: Mode, results: &Results, text: &mut String) {
    let of_mode: Vec<&Benchmark> = results.0.iter().map(|(_, result)| result).filter(|r| r.mode == mode).collect();
    if of_mode.is_empty() {
        return;
    }
    text.push_str(
        "| network | precision | GF/s | limit GF/s | of it | limit GB/s | first step after | largest losses |\n",
    );
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for result in of_mode {
        let limit =
            |of: fn(&Limits) -> f64| result.limits.as_ref().map_or_else(String::new, |l| format!("{:.1}", of(l)));
        let doubt = if result.limits_exceeded_by.is_some() { " (too low)" } else { "" };
        for measured in &result.networks {
            let Measured { network, flops, share_of_limit, seconds_to_first_step, .. } = measured;
            let share = share_of_limit.map_or_else(String::new, |s| format!("{:.0} %", 100.0 * s));
            let _ = writeln!(
                text,
                "| {} | {} | {:.1} | {}{doubt} | {share} | {} | {seconds_to_first_step:.1} s | {} |",
                network.title(),
                result.precision.name(),
                flops / 1e9,
                limit(|l| l.flops / 1e9),
                limit(|l| l.bytes / 1e9),
                losses(measured)
            );
        }
    }
    text.push('\n');
}

fn read<T: serde::de::DeserializeOwned>(out: &Path, name: &str) -> Option<T> {
    files::read_json(&out.join(name)).ok()
}

fn selftest(out: &Path, text: &mut String) {
    let _ = match read::<Value>(out, "selftest.json") {
        Some(report) => writeln!(
            text,
            "Selftest: {} checks passed, {} failed, in {:.0} s.\n",
            report["passed"],
            report["failed"],
            report["seconds"].as_f64().unwrap_or(0.0)
        ),
        None => writeln!(text, "Selftest: not done.\n"),
    };
}

/// The operations that take the most time beyond what the limits would allow.
fn losses(measured: &Measured) -> String {
    let mut losses: Vec<(f64, String)> = measured
        .operations
        .iter()
        .map(|o| {
            let reached = o.share_of_flops.or(o.share_of_bytes).unwrap_or(0.0).clamp(0.0, 1.0);
            (o.share_of_step * (1.0 - reached), format!("{} {:.0} %", o.name, 100.0 * o.share_of_step))
        })
        .collect();
    losses.sort_by(|a, b| b.0.total_cmp(&a.0));
    losses.into_iter().take(3).map(|(_, text)| text).collect::<Vec<_>>().join(", ")
}

fn training(out: &Path, text: &mut String) {
    let folder = run_folder(out);
    let Ok(run) = Run::load(&folder) else {
        text.push_str("Training: not done.\n\n");
        return;
    };
    let _ = writeln!(text, "## Training: {}\n\n`{}`\n", run.network.title(), run.origin.command);
    text.push_str("| epoch | train loss | train top-1 | val loss | val top-1 | val top-5 | seconds | images/s |\n");
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for e in files::read_json_lines::<Epoch>(&history::path(&folder)).unwrap_or_default() {
        let _ = writeln!(
            text,
            "| {} | {:.4} | {:.2} % | {:.4} | {:.2} % | {:.2} % | {:.0} | {:.1} |",
            e.epoch,
            e.train_loss,
            100.0 * e.train_top1,
            e.val_loss,
            100.0 * e.val_top1,
            100.0 * e.val_top5,
            e.seconds,
            e.images_per_s
        );
    }
    text.push('\n');
    if let Some(evaluation) = read::<Evaluation>(&folder, "evaluation.json") {
        let _ = writeln!(
            text,
            "Best weights on val: top-1 {:.2} %, top-5 {:.2} %.\n",
            100.0 * evaluation.top1,
            100.0 * evaluation.top5
        );
    }
}

fn stages(out: &Path, text: &mut String) {
    text.push_str("## Commands\n\n| stage | seconds | exit code | command |\n|---|---|---|---|\n");
    for stage in stage::all(out) {
        let Stage { name, command, exit_code, seconds, .. } = stage;
        let _ = writeln!(text, "| {name} | {seconds:.0} | {exit_code} | `{}` |", command.replace('|', "\\|"));
    }
}
