//! `vggkit selftest`: every kernel variant on the adapter at hand against its plain twin on the CPU.

use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;

use super::arguments::shared::Shared;
use super::output;
use crate::engine::Precision;
use crate::engine::gpu::Gpu;
use crate::engine::gpu::plumbing::adapter;
use crate::engine::gpu::plumbing::capabilities::Matrices;
use crate::engine::gpu::selftest::{self, Check};
use crate::error::Result;
use crate::progress;

/// The value of `schema`.
const SCHEMA: &str = "vggkit/selftest/1";

/// Check every GPU kernel against its plain twin on the CPU
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vggkit selftest                             on the GPU that a training would take
  vggkit selftest --adapter llvmpipe          on a software one
  vggkit selftest --only convolution
  vggkit selftest --json | jq '.checks[] | select(.passed | not)'

Exit code: 0 all passed, 1 not all, or no adapter")]
pub struct Arguments {
    /// Check this operation only
    #[arg(long, value_name = "OPERATION", value_parser = PossibleValuesParser::new(selftest::operations()))]
    only: Option<String>,
    #[command(flatten)]
    shared: Shared,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    adapter: String,
    driver: String,
    backend: &'static str,
    passed: usize,
    failed: usize,
    seconds: f64,
    checks: Vec<Checked>,
}

#[derive(Debug, Serialize)]
struct Checked {
    #[serde(flatten)]
    check: Check,
    passed: bool,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let shared = &arguments.shared;
    let mut options = shared.target().gpu;
    let found = adapter::choose(options.adapter.as_deref(), options.turn)?;
    // Once for each type that activations have in memory.
    let precisions: &[Precision] =
        if Matrices::of(&found).is_ok() { &[Precision::F32, Precision::F16] } else { &[Precision::F32] };
    let info = &found.info;
    let quiet = shared.quiet || shared.json;
    if !quiet {
        output::note(&format!("{} · {} · {}", info.name, adapter::backend(info), found.driver()));
    }
    let line = progress::counter("selftest", "checks", quiet);
    let (mut checks, started) = (Vec::<Checked>::new(), Instant::now());
    let mut tell = |check: Check| {
        line.set_message(format!("{}: {}", check.operation, check.variant));
        line.inc(1);
        checks.push(Checked { passed: check.passed(), check });
    };
    let outcome = precisions.iter().try_for_each(|precision| {
        options.precision = *precision;
        let gpu = Gpu::open_found(found.clone(), &options)?;
        let outcome = match &arguments.only {
            Some(operation) => selftest::run_only(&gpu, operation, &mut tell),
            None => selftest::run(&gpu, &mut tell),
        };
        gpu.save_pipelines();
        outcome
    });
    line.finish_and_clear();
    let passed = checks.iter().filter(|c| c.passed).count();
    let report = Report {
        schema: SCHEMA,
        adapter: info.name.clone(),
        driver: found.driver(),
        backend: adapter::backend(info),
        passed,
        failed: checks.len() - passed,
        seconds: started.elapsed().as_secs_f64(),
        checks,
    };
    if let Err(error) = outcome {
        // A device that fails half-way: what was learnt until then helps to find out why.
        if !shared.json {
            output::print(&text(&report));
        }
        return Err(error);
    }
    if shared.json {
        output::json(&report)?;
    } else if !shared.quiet || report.failed > 0 {
        output::print(&text(&report));
    }
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A row for each operation and variant, then failures in full.
fn text(report: &Report) -> String {
    let mut rows: Vec<(&str, &str, Vec<&Checked>)> = Vec::new();
    for checked in &report.checks {
        let (operation, variant) = (checked.check.operation, checked.check.variant.as_str());
        match rows.iter_mut().find(|row| row.0 == operation && row.1 == variant) {
            Some(row) => row.2.push(checked),
            None => rows.push((operation, variant, vec![checked])),
        }
    }
    let wide = |of: fn(&(&str, &str, Vec<&Checked>)) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let (first, second) = (wide(|r| r.0.len()).max(9), wide(|r| r.1.len()).max(7));
    let mut text = format!(
        "{:<first$}  {:<second$}  {:>8}  {:>11}  {:>7}\n",
        "operation", "variant", "passed", "worst error", "allowed"
    );
    for (operation, variant, checks) in &rows {
        let passed = checks.iter().filter(|c| c.passed).count();
        let worst = checks.iter().map(|c| c.check.error).fold(0.0, f64::max);
        let allowed = checks.iter().map(|c| c.check.allowed).fold(0.0, f64::max);
        let mark = if passed < checks.len() { "  FAILED" } else { "" };
        let share = format!("{passed}/{}", checks.len());
        let (worst, allowed) = (figure(worst), figure(allowed));
        text += &format!("{operation:<first$}  {variant:<second$}  {share:>8}  {worst:>11}  {allowed:>7}{mark}\n");
    }
    let failures: Vec<_> = report.checks.iter().filter(|c| !c.passed).collect();
    if !failures.is_empty() {
        text += "\nfailed:\n";
    }
    for Checked { check: Check { operation, variant, sizes, error, allowed }, .. } in failures {
        let (error, allowed) = (figure(*error), figure(*allowed));
        text += &format!("  {operation}, {variant}\n    {sizes}: error {error}, allowed {allowed}\n");
    }
    let Report { passed, failed, seconds, .. } = report;
    text += &format!("\n{passed} checks passed, {failed} failed, in {seconds:.0} s\n");
    text
}

/// A relative error for people.
fn figure(error: f64) -> String {
    if error == 0.0 {
        "0".into()
    } else if error.is_finite() {
        format!("{error:.1e}")
    } else {
        "not a number".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(variant: &str, error: f64) -> Checked {
        let check = Check { operation: "relu", variant: variant.into(), sizes: "3 x 5".into(), error, allowed: 1e-6 };
        Checked { passed: check.passed(), check }
    }

    #[test]
    fn failures_are_marked_and_told_in_full() {
        let checks = vec![checked("forward", 1e-7), checked("forward", 2e-7), checked("backward", f64::INFINITY)];
        let (passed, failed) = (2, 1);
        let [schema, backend] = [SCHEMA, "Vulkan"];
        let (adapter, driver) = (String::new(), String::new());
        let report = Report { schema, adapter, driver, backend, passed, failed, seconds: 0.0, checks };
        let text = text(&report);
        assert!(text.contains("relu       forward        2/2       2.0e-7   1.0e-6\n"), "{text}");
        assert!(text.contains("backward       0/1  not a number   1.0e-6  FAILED\n"), "{text}");
        assert!(text.contains("failed:\n  relu, backward\n    3 x 5: error not a number, allowed 1.0e-6\n"), "{text}");
        assert!(text.ends_with("2 checks passed, 1 failed, in 0 s\n"), "{text}");
    }
}
