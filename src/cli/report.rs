//! `vggkit report`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::arguments::shared::Shared;
use super::arguments::values;
use super::output;
use crate::engine::Precision;
use crate::error::{Error, Kind, Result};
use crate::inference::model;
use crate::report::live::{self, Live};
use crate::report::{self, Fingerprint, Options, Problem, Report, Sources};
use crate::training::stop::Stop;

/// Render the runs as a static page
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vggkit report                                  runs/ and data/ to site/index.html
  vggkit report --open                           and show it in the browser
  vggkit report --watch --open                   a page that follows the training in another terminal
  vggkit report --runs records --out /tmp/page   other runs, elsewhere
  vggkit report --data data/demo                 with the images of the demo set
  vggkit report --live vgg13                     and site/live.html: this network in a page, asked by dropping an image

Beside the page lies index_files/: the figures behind it as CSV and JSON, and its images with --split-assets. What vggkit
did not write there stays; an index.html that it did not write is replaced with --force only.")]
pub struct Arguments {
    #[command(flatten)]
    shared: Shared,
    /// Folder that index.html is written to
    #[arg(long, value_name = "DIR", default_value = "site")]
    out: PathBuf,
    /// Predictions on the test images, by `vggkit predict`
    #[arg(long, value_name = "FILE", default_value = "predictions.csv")]
    predictions: PathBuf,
    /// Put images beside the page instead of into it
    #[arg(long)]
    split_assets: bool,
    /// Also write live.html: one file with the best network of this run in it, that runs in browsers with WebGPU
    #[arg(long, value_name = "RUN", conflicts_with = "watch")]
    live: Option<PathBuf>,
    /// What the weights in live.html are stored in: f32, or f16 at half the size, which moves its logits a little [default: f32, or
    /// f16 where that takes more than 16 MiB]. It computes in f32 in any case
    #[arg(long, value_name = "NAME", value_parser = values::precision, requires = "live")]
    live_weights: Option<Precision>,
    /// Replace an index.html or live.html that vggkit did not write
    #[arg(long)]
    force: bool,
    /// Open the page in the browser
    #[arg(long)]
    open: bool,
    /// Render again whenever something changes, until the training that goes on has ended
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Summary<'a> {
    schema: &'static str,
    page: String,
    runs: usize,
    problems: &'a [Problem],
    missing: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<&'a Live>,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { shared, out, predictions, split_assets, force, open, watch, live, live_weights } = arguments;
    let sources = Sources { runs: shared.runs.clone(), data: shared.data().to_path_buf(), predictions };
    let live = match live {
        Some(run) => {
            report::check(&out, force)?; // before anything changes
            let folder = model::find(&shared.runs, run)?;
            let options = live::Options { precision: live_weights, threads: shared.threads(), force };
            Some(live::render(&folder, shared.data(), &out, options)?)
        }
        None => None,
    };
    let render = |following| report::render(&sources, &out, Options { split_assets, following, force });
    let report = if watch { follow(&sources, render, open, shared.quiet)? } else { render(false)? };
    if open && !watch {
        show(&report)?;
    }
    if !shared.quiet {
        tell(&report);
        if let Some(missing) = live.as_ref().and_then(|live| live.missing.as_ref()) {
            output::note(&format!("note: {missing}"));
        }
    }
    let page = report.page.display().to_string();
    if shared.json {
        let (runs, problems, missing) = (report.runs, &report.problems[..], &report.missing[..]);
        output::json(&Summary { schema: "vggkit/report/1", page, runs, problems, missing, live: live.as_ref() })?;
    } else {
        output::line(&page);
        if let Some(live) = &live {
            output::line(&live.page.display().to_string());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What could not be used, and what was not there.
fn tell(report: &Report) {
    for Problem { place, what, help } in &report.problems {
        output::note(&format!("warning: {place}: {what}"));
        if !help.is_empty() {
            output::note(&format!("  help: {help}"));
        }
    }
    for missing in &report.missing {
        output::note(&format!("note: {missing}"));
    }
    for foreign in &report.foreign {
        output::note(&format!("note: {} is not of vggkit, and stays", foreign.display()));
    }
}

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Renders a page that follows whenever something changed, until a training was seen and none goes on any more, or a signal
/// comes; then once more as it stays.
fn follow(sources: &Sources, render: impl Fn(bool) -> Result<Report>, open: bool, quiet: bool) -> Result<Report> {
    let stop = Stop::on_signals()?;
    let mut rendered: Option<(Fingerprint, Vec<String>)> = None;
    let mut seen = false;
    while stop.signal().is_none() {
        let trained = report::trained_now(sources);
        if seen && trained.is_empty() {
            break;
        }
        if !quiet && !seen && rendered.is_none() && trained.is_empty() {
            output::note("no training goes on; waiting for one to begin (Ctrl-C ends)");
        }
        seen |= !trained.is_empty();
        let now = (report::fingerprint(sources), trained);
        if rendered.as_ref() != Some(&now) {
            let report = render(true)?;
            if !quiet {
                let trained = if now.1.is_empty() { "nothing".to_owned() } else { now.1.join(", ") };
                output::note(&format!("{} rendered; in training: {trained}", report.page.display()));
            }
            if open && rendered.is_none() {
                show(&report)?;
            }
            rendered = Some(now);
        }
        thread::sleep(LOOK);
    }
    render(false)
}

/// Opens the page with whatever the system opens pages with.
fn show(report: &Report) -> Result<()> {
    let page = report.page.canonicalize().map_err(|e| Error::io("cannot find", &report.page, e))?;
    let opening = open::that_in_background(page);
    // A browser that this starts may stay in the foreground; one that cannot be started says so soon.
    let patience = Instant::now() + Duration::from_secs(2);
    while !opening.is_finished() && Instant::now() < patience {
        thread::sleep(Duration::from_millis(20));
    }
    if !opening.is_finished() || opening.join().is_ok_and(|opened| opened.is_ok()) {
        return Ok(());
    }
    Err(Error::new(Kind::Io, "no browser could be started")
        .with_help(format!("the page is rendered; open {} yourself", report.page.display())))
}
