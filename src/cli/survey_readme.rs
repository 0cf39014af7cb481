//! The README.md of a survey: its files in tables. Reads what the stages left and measures nothing; what is missing or
//! unreadable is said in its place.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::survey::{Stage, run_folder, stages_path};
use crate::bench::{Benchmark, Measured};
use crate::engine::gpu::precision::Precision;
use crate::error::Result;
use crate::files;
use crate::inference::evaluation::Evaluation;
use crate::training::history::{self, Epoch};
use crate::training::run::Run;

/// Writes `out/README.md`.
pub fn write(out: &Path) -> Result<()> {
    let mut text = String::from("# What this machine does with vggkit\n\n");
    let benchmarks: Vec<Benchmark> = ["bench-train", "bench-infer", "bench-train-f16"]
        .iter()
        .filter_map(|name| read(out, &format!("{name}.json")))
        .collect();
    if let Some(first) = benchmarks.first() {
        let (device, version, commit, time) = (&first.device, &first.version, &first.commit, &first.time);
        let _ = writeln!(text, "{} · {} · vggkit {version} {commit} · {time}\n", device.adapter, device.driver);
    }
    selftest(out, &mut text);
    for benchmark in &benchmarks {
        bench(benchmark, &mut text);
    }
    training(out, &mut text);
    stages(out, &mut text);
    files::write_atomic(&out.join("README.md"), |file| std::io::Write::write_all(file, text.as_bytes()))
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

fn bench(benchmark: &Benchmark, text: &mut String) {
    let mode = serde_json::to_value(benchmark.mode).ok();
    let mode = mode.as_ref().and_then(Value::as_str).unwrap_or_default();
    let half = if benchmark.precision == Precision::F16 { ", products in f16" } else { "" };
    let _ = writeln!(text, "## Bench: {mode}{half}, {} images a step\n", benchmark.batch_size);
    if let Some(limits) = benchmark.limits {
        let (flops, bytes) = (limits.flops / 1e9, limits.bytes / 1e9);
        let _ =
            writeln!(text, "Measured limits: {flops:.1} GF/s of multiply-adds, {bytes:.1} GB/s of memory traffic.\n");
    }
    let peers: Vec<&str> = benchmark
        .networks
        .first()
        .map(|n| n.pytorch.iter().map(|peer| peer.way().name()).collect())
        .unwrap_or_default();
    let _ = write!(text, "| network | images/s | GF/s | of the limit | largest losses |");
    peers.iter().for_each(|peer| {
        let _ = write!(text, " PyTorch {peer} |");
    });
    let _ = writeln!(text, "\n|---|---|---|---|---|{}", "---|".repeat(peers.len()));
    for measured in &benchmark.networks {
        let Measured { network, images_per_s, flops, share_of_limit, pytorch, .. } = measured;
        let share = share_of_limit.map_or_else(String::new, |s| format!("{:.0} %", 100.0 * s));
        let title = network.title();
        let _ = write!(text, "| {title} | {images_per_s:.1} | {:.1} | {share} | {} |", flops / 1e9, losses(measured));
        for peer in pytorch {
            let _ = write!(text, " {:.1} ({:.2} times) |", peer.images_per_s, peer.ratio);
        }
        text.push('\n');
    }
    text.push('\n');
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
    for stage in files::read_json_lines::<Stage>(&stages_path(out)).unwrap_or_default() {
        let Stage { name, command, exit_code, seconds, .. } = stage;
        let _ = writeln!(text, "| {name} | {seconds:.0} | {exit_code} | `{}` |", command.replace('|', "\\|"));
    }
}
