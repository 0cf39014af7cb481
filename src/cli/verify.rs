//! `vggkit verify`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::arguments::shared::Shared;
use super::arguments::values;
use super::output;
use crate::dataset::manifest;
use crate::dataset::verify::{Finding, Request, Severity, Target, Verification, near, verify};
use crate::error::Result;

const EXAMPLES: &str = "\
Examples:
  vggkit verify                        the data set in data/
  vggkit verify --data data/demo       the demo set
  vggkit verify --source tiny-imagenet-200.zip         a zip or folder before it is prepared
  vggkit verify --near                 also images that look nearly the same
  vggkit verify --json | jq .findings  for programs (data/verify.json has the same)

Exit code: 0 fit for training, 1 not (with --strict also where there are warnings), 2 wrong usage";

/// As many files or groups as a finding shows.
const MOST_FILES: usize = 20;

/// Is this data set what it claims to be?
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Zip or folder that `vggkit prepare` could take, instead of prepared data; writes no verify.json
    #[arg(long, value_name = "PATH")]
    source: Option<PathBuf>,
    /// Look for near duplicates too: perceptual hashes of 64 bits that differ in at most so many, 0 to 10
    /// [default: 6]
    #[arg(long, value_name = "BITS", num_args = 0..=1, default_missing_value = "6", allow_negative_numbers = true,
          value_parser = values::within(0..=near::MOST, "bits"))]
    near: Option<u32>,
    /// End with 1 on warnings too
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    shared: Shared,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { source, near, strict, shared } = arguments;
    let data = shared.data();
    let target = source.map_or_else(|| Target::Prepared(data.to_path_buf()), Target::Source);
    let quiet = shared.quiet || shared.json;
    let request = Request { target, near, threads: shared.threads(), quiet };
    let result = verify(&request)?;
    if matches!(request.target, Target::Prepared(_))
        && let Err(error) = result.write(data)
    {
        output::note(&format!("warning: {error}")); // data on a medium that cannot be written is still verified
    }
    if shared.json {
        output::json(&result)?;
    } else if !shared.quiet || !result.fit {
        output::print(&text(&result));
    }
    let passed = result.fit && !(strict && result.count(Severity::Warning) > 0);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(result: &Verification) -> String {
    let Verification { classes, height, width, splits, findings, .. } = result;
    let own = findings.iter().any(|finding| finding.code == "own-images");
    let kind = match (result.synthetic, own) {
        (true, _) => "SYNTHETIC (drawn, not photographed)",
        (_, true) => "own images",
        _ => "Tiny ImageNet",
    };
    let number = |n: Option<usize>| n.map_or_else(|| "-".to_owned(), output::count);
    let mut text = format!("{}: {kind}, {} classes, {width} x {height} pixels\n", result.data, output::count(*classes));
    if !splits.is_empty() {
        text += "\n  split    in pack    in folders    decoded    a class      boxes   greyscale    official\n";
    }
    for name in manifest::SPLITS {
        let Some(counts) = splits.get(name) else { continue };
        let each = match (counts.smallest_class, counts.largest_class) {
            (Some(least), Some(most)) if least == most => output::count(most),
            (Some(least), Some(most)) => format!("{least}-{most}"),
            _ => "-".into(),
        };
        text += &format!(
            "  {name:<6} {:>9} {:>13} {:>10} {each:>10} {:>10} {:>11} {:>11}\n",
            number(counts.packed),
            number(counts.files),
            number(counts.decoded),
            output::count(counts.boxes),
            number(counts.greyscale),
            if result.synthetic || own { "-".into() } else { output::count(counts.official) },
        );
    }
    if !findings.is_empty() {
        text += "\n";
    }
    findings.iter().for_each(|finding| text += &lines(finding));
    let tally = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")]
        .map(|(severity, word)| (result.count(severity), word))
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}{}", if n == 1 { "" } else { "s" }))
        .collect::<Vec<_>>();
    let tally = if tally.is_empty() { "nothing found".into() } else { tally.join(", ") };
    let verdict = if result.fit { "Fit for training" } else { "NOT fit for training" };
    text += &format!("\n{verdict}: {tally} ({:.1} s)\n", result.seconds);
    if !result.fit && result.kind == "prepared" {
        text += "Prepare it again: the command that made it, with --force";
        let extra = findings
            .iter()
            .any(|finding| ["file-extra", "folder-extra", "file-pixels", "foreign"].contains(&&finding.code[..]));
        text += if extra { " (which removes what prepare did not write: move it away first)\n" } else { "\n" };
    }
    text
}

fn lines(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let mut text = format!("  {severity:<8} {:<17} {}\n", finding.code, finding.message);
    let groups = finding.groups.iter().map(|group| {
        let distance = group.distance.map_or_else(String::new, |d| format!(" (distance {d})"));
        group.files.join(" = ") + &distance
    });
    for file in finding.files.iter().cloned().chain(groups).take(MOST_FILES) {
        text += &format!("  {:26} {file}\n", "");
    }
    if finding.count > MOST_FILES {
        text += &format!("  {:26} ... and {} more in verify.json\n", "", finding.count - MOST_FILES);
    }
    text
}
