//! `vggkit survey`: what a machine can do, from its adapters to real epochs, as files that can be kept. Runs vggkit's own
//! commands one after another, each in a process of its own, so that one that fails does not stop the rest; computes
//! nothing itself.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::network_arguments::NetworkArguments;
use super::{Shared, output, survey_readme, values};
use crate::dataset::Manifest;
use crate::engine::Choice;
use crate::engine::gpu::adapter;
use crate::engine::gpu::precision::{Matrices, Precision};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::training::run::Run;

/// The run's folder below the survey's.
const RUN: &str = "run";

/// What it trains when it is told nothing else.
const RECIPE: &str = "-d 16 -b 128 -e 60 -es 0 --optimizer sgd --momentum 0.9 -lr 0.05 --weight-decay 5e-4 \
                      --schedule cosine --warmup 2 --augment crop --dropout 0.5 --label-smoothing 0.1";

/// Measure a machine from end to end and keep what came out
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    network: NetworkArguments,
    /// Folder for the results; what has succeeded there already is not measured again
    #[arg(long, value_name = "DIR", default_value = "survey")]
    out: PathBuf,
    /// Images a step of the benchmarks
    #[arg(short, long, value_name = "N", default_value = "128", visible_aliases = ["batchsize", "batch"],
          value_parser = values::whole(1usize), allow_negative_numbers = true)]
    batch_size: usize,
    /// Seconds of each round of a benchmark
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = values::whole(1u64), allow_negative_numbers = true)]
    seconds: u64,
    /// Archive or folder of Tiny ImageNet, prepared into --data if nothing is there yet
    #[arg(long, value_name = "PATH")]
    source: Option<PathBuf>,
    /// Minutes of training at most; a further survey goes on with it
    #[arg(long, value_name = "MINUTES", default_value = "20", value_parser = values::whole(1u64), allow_negative_numbers = true)]
    minutes: u64,
    /// Measure the networks with this Python's PyTorch too
    #[arg(long, value_name = "PYTHON")]
    pytorch: Option<PathBuf>,
    /// How to train, as `vggkit train` takes it
    #[arg(last = true, value_name = "TRAIN ARGUMENTS")]
    train: Vec<OsString>,
    #[command(flatten)]
    shared: Shared,
}

const EXAMPLES: &str = "\
Examples:
  vggkit survey --source tiny-imagenet-200.zip            all of it on the fastest GPU, results in survey/
  vggkit survey --pytorch venv/bin/python --minutes 60    beside PyTorch; an hour of training; go on by doing it again
  vggkit survey -- -d 11 -e 12 -es 5                      with another recipe
  vggkit survey --adapter llvmpipe --width 0.1 -b 8 --seconds 1 --data data/demo -- -d 11 --width 0.1 -e 2
                                                          a rehearsal on a software adapter

Stages: devices, selftest, bench of the five networks (training, inference, in f16 where there are tensor cores), prepare,
train, evaluate.
The results are JSON files, the run's folder and a README.md that sums them up. Exit code: 0 all stages done, 1 not all.";

/// How a stage ended; a line of `stages.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// Which.
    pub name: String,
    /// What was run.
    pub command: String,
    /// Of the process.
    pub exit_code: i32,
    /// How long it took.
    pub seconds: f64,
    /// When it ended, RFC 3339 in UTC.
    pub time: String,
}

/// The run's folder; one on the demo set is called otherwise.
pub fn run_folder(out: &Path) -> PathBuf {
    let demo = out.join(format!("demo-{RUN}"));
    if Run::path(&demo).exists() { demo } else { out.join(RUN) }
}

/// Where stages are written down.
pub fn stages_path(out: &Path) -> PathBuf {
    out.join("stages.jsonl")
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let out = &arguments.out;
    if arguments.source.is_none() {
        Manifest::load(arguments.shared.data())?; // training needs it, hours later
    }
    fs::create_dir_all(out).map_err(|e| Error::io("cannot make", out, e))?;
    let survey = Survey { arguments: &arguments };
    let network = survey.network_flags();
    let mut done = vec![survey.keep("devices", &[])?];
    if arguments.shared.engine != Choice::Cpu {
        done.push(survey.keep("selftest", &[])?);
    }
    done.push(survey.bench("bench-train", "train", &network)?);
    done.push(survey.bench("bench-infer", "infer", &network)?);
    if survey.has_matrix_units() {
        done.push(survey.bench(
            "bench-train-f16",
            "train",
            &[&network[..], &["--precision".into(), "f16".into()]].concat(),
        )?);
    }
    survey_readme::write(out)?; // what is known before hours of training
    done.push(survey.train()?);
    survey_readme::write(out)?;
    output::line(&format!("{}", out.join("README.md").display()));
    Ok(if done.into_iter().all(|ok| ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Survey<'a> {
    arguments: &'a Arguments,
}

impl Survey<'_> {
    /// What all stages are told of the engine.
    fn engine_flags(&self) -> Vec<OsString> {
        let shared = &self.arguments.shared;
        let engine = match shared.engine {
            Choice::Cpu => "cpu",
            Choice::Auto | Choice::Gpu => "gpu",
        };
        let mut flags: Vec<OsString> = vec!["--engine".into(), engine.into()];
        if let Some(adapter) = &shared.adapter {
            flags.extend(["--adapter".into(), adapter.into()]);
        }
        if shared.precise {
            flags.push("--precise".into());
        }
        if shared.precision == Some(Precision::F16) {
            flags.extend(["--precision".into(), "f16".into()]);
        }
        flags
    }

    /// Whether the benchmark in f16 says something: on hardware with matrix units, unless all is done in f16 anyway.
    fn has_matrix_units(&self) -> bool {
        let shared = &self.arguments.shared;
        let found = (shared.engine != Choice::Cpu && shared.precision.is_none())
            .then(|| adapter::choose(shared.adapter.as_deref()));
        found.and_then(Result::ok).is_some_and(|found| Matrices::of(&found).is_ok_and(|m| m == Matrices::Cooperative))
    }

    fn network_flags(&self) -> Vec<OsString> {
        let NetworkArguments { width, image_size, .. } = self.arguments.network;
        vec!["--width".into(), width.to_string().into(), "--image-size".into(), image_size.to_string().into()]
    }

    /// Whether the last attempt at a stage failed. What it printed is kept, as it says why.
    fn has_failed(&self, name: &str) -> bool {
        let stages: Vec<Stage> = files::read_json_lines(&stages_path(&self.arguments.out)).unwrap_or_default();
        stages.iter().rfind(|stage| stage.name == name).is_some_and(|stage| stage.exit_code != 0)
    }

    /// Runs a stage whose standard output is one JSON object, unless its file is there and that of a success.
    fn keep(&self, name: &str, more: &[OsString]) -> Result<bool> {
        let path = self.arguments.out.join(format!("{name}.json"));
        if path.exists() && !self.has_failed(name) {
            return Ok(true);
        }
        let command = name.split('-').next().unwrap_or(name); // bench-train is a bench
        let mut flags: Vec<OsString> = vec![command.into(), "--json".into()];
        flags.extend(self.engine_flags());
        flags.extend_from_slice(more);
        let (ok, printed) = self.stage(name, &flags, true)?;
        let whole = serde_json::from_slice::<serde_json::Value>(&printed).ok();
        if let Some(value) = &whole {
            files::write_json(&path, value)?;
        }
        Ok(ok && whole.is_some())
    }

    fn bench(&self, name: &str, mode: &str, network: &[OsString]) -> Result<bool> {
        let Arguments { batch_size, seconds, pytorch, .. } = self.arguments;
        let mut flags: Vec<OsString> = ["--all", "--mode", mode, "--batch-size"].map(OsString::from).into();
        flags.extend([batch_size.to_string().into(), "--seconds".into(), seconds.to_string().into()]);
        flags.extend_from_slice(network);
        if let Some(python) = pytorch {
            flags.extend(["--pytorch".into(), python.into()]);
        }
        self.keep(name, &flags)
    }

    /// Prepares the data where that is wanted, trains or goes on, and evaluates.
    fn train(&self) -> Result<bool> {
        let Arguments { out, source, minutes, train, shared, .. } = self.arguments;
        let data = shared.data();
        if let (Some(source), false) = (source, data.join("manifest.json").exists()) {
            let flags = ["prepare".into(), "--source".into(), source.into(), "--data".into(), data.into()];
            if !self.stage("prepare", &flags, false)?.0 {
                return Ok(false);
            }
        }
        let folder = run_folder(out);
        let known = Run::load(&folder).ok();
        let finished = |run: &Run| matches!(run.origin.stopped_by.as_str(), "epochs" | "early stopping");
        if !known.as_ref().is_some_and(finished) {
            let mut flags: Vec<OsString> = vec!["train".into()];
            flags.extend(self.engine_flags());
            flags.extend(["--runs".into(), out.into(), "--data".into(), data.into()]);
            flags.extend(["--max-minutes".into(), minutes.to_string().into()]);
            if known.is_some() {
                flags.extend(["--resume".into(), folder.into()]);
            } else {
                flags.extend(["--run".into(), RUN.into()]);
                if train.is_empty() {
                    flags.extend(RECIPE.split_whitespace().map(OsString::from));
                } else {
                    flags.extend_from_slice(train);
                }
            }
            if !self.stage("train", &flags, false)?.0 {
                return Ok(false);
            }
        }
        let mut flags: Vec<OsString> = vec!["evaluate".into(), run_folder(out).into()];
        flags.extend(self.engine_flags());
        flags.extend(["--data".into(), data.into()]);
        Ok(self.stage("evaluate", &flags, false)?.0)
    }

    /// Runs vggkit with `flags` and writes down how it went. Whether it succeeded, and what it printed where that is
    /// asked for. Errors: vggkit cannot be started, the log cannot be written.
    fn stage(&self, name: &str, flags: &[OsString], captured: bool) -> Result<(bool, Vec<u8>)> {
        let words: Vec<_> = flags.iter().map(|flag| flag.to_string_lossy()).collect();
        let command = format!("vggkit {}", words.join(" "));
        if !self.arguments.shared.quiet {
            output::note(&format!("{name}: {command}"));
        }
        let failed = |e| Error::new(Kind::Io, format!("cannot run {command}")).with_source(e);
        let program = std::env::current_exe().map_err(failed)?;
        let started = Instant::now();
        let printed = if captured { Stdio::piped() } else { Stdio::inherit() };
        let child = Command::new(program).args(flags).stdin(Stdio::null()).stdout(printed).spawn().map_err(failed)?;
        let finished = child.wait_with_output().map_err(failed)?;
        let stage = Stage {
            name: name.to_owned(),
            command,
            exit_code: finished.status.code().unwrap_or(-1),
            seconds: started.elapsed().as_secs_f64(),
            time: files::now(),
        };
        files::append_json_line(&stages_path(&self.arguments.out), &stage)?;
        Ok((finished.status.success(), finished.stdout))
    }
}
