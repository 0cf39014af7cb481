//! `vggkit report`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{Shared, output};
use crate::error::{Error, Result};
use crate::report::{self, Problem, Sources};

/// Render the runs as a static page
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vggkit report                                  runs/ and data/ to site/index.html
  vggkit report --runs records --out /tmp/page   other runs, elsewhere
  vggkit report --data data/demo                 with the images of the demo set")]
pub struct Arguments {
    #[command(flatten)]
    shared: Shared,
    /// Folder that index.html is written to
    #[arg(long, value_name = "DIR", default_value = "site")]
    out: PathBuf,
    /// Predictions on the test images, by `vggkit predict`
    #[arg(long, value_name = "FILE", default_value = "predictions.csv")]
    predictions: PathBuf,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Summary<'a> {
    schema: &'static str,
    page: String,
    runs: usize,
    problems: &'a [Problem],
    missing: &'a [String],
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { shared, out, predictions } = arguments;
    let sources = Sources { runs: shared.runs.clone(), data: shared.data().to_path_buf(), predictions };
    let report = report::render(&sources, &out)?;
    if !shared.quiet {
        for Problem { place, what, help } in &report.problems {
            output::note(&format!("warning: {place}: {what}"));
            if !help.is_empty() {
                output::note(&format!("  help: {help}"));
            }
        }
        for missing in &report.missing {
            output::note(&format!("note: {missing}"));
        }
    }
    let page = report.page.display().to_string();
    if shared.json {
        let (runs, problems, missing) = (report.runs, &report.problems[..], &report.missing[..]);
        let summary = Summary { schema: "vggkit/report/1", page, runs, problems, missing };
        output::line(&serde_json::to_string_pretty(&summary).map_err(|e| Error::data(&report.page, e))?);
    } else {
        output::line(&page);
    }
    Ok(ExitCode::SUCCESS)
}
