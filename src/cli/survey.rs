//! `vggkit survey`: what a machine can do, from its adapters to real epochs, as files that can be kept. Runs vggkit's own
//! commands one after another, each in a process of its own, so that one that fails does not stop the rest; goes on where
//! an earlier survey stopped; computes nothing itself.

mod readme;
mod stage;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::arguments::network::NetworkArguments;
use super::arguments::shared::Shared;
use super::arguments::values;
use super::output;
use crate::bench::pytorch::Way;
use crate::dataset::Manifest;
use crate::engine::Precision;
use crate::engine::gpu::plumbing::adapter;
use crate::engine::gpu::plumbing::capabilities::Matrices;
use crate::engines::Choice;
use crate::error::{Error, Kind, Result};
use crate::files::{self, fs};
use crate::training::run::Run;
use stage::{RUN, Runner, Stage, run_folder};

/// What it trains when it is told nothing else.
const RECIPE: &str = "-d 16 -b 128 -e 26 -es 0 --optimizer sgd --momentum 0.9 -lr 0.05 --weight-decay 5e-4 \
                      --schedule cosine --warmup 2 --augment crop --dropout 0.5 --label-smoothing 0.1";

/// Rounds of each benchmark: PyTorch tries both layouts in the first.
const ROUNDS: u64 = 2;

/// The networks as their benchmarks are called, and as they are asked for.
const NETWORKS: [(&str, &[&str]); 5] = [
    ("vgg11", &["-d", "11"]),
    ("vgg13", &["-d", "13"]),
    ("vgg16", &["-d", "16"]),
    ("vgg16c", &["-d", "16", "--conv1x1"]),
    ("vgg19", &["-d", "19"]),
];

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
    /// Seconds of each of two rounds of a benchmark
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = values::whole(1u64), allow_negative_numbers = true)]
    seconds: u64,
    /// Archive or folder of Tiny ImageNet, prepared into --data if nothing is there yet
    #[arg(long, value_name = "PATH")]
    source: Option<PathBuf>,
    /// Minutes of this call at most [default: until all is done]; a further call goes on where it stopped
    #[arg(long, value_name = "MINUTES", value_parser = values::whole(1u64), allow_negative_numbers = true)]
    minutes: Option<u64>,
    /// Measure the networks with this Python's PyTorch too
    #[arg(long, value_name = "PYTHON")]
    pytorch: Option<PathBuf>,
    /// An earlier survey's folder, or any with results of `bench --json`, whose figures the README sets beside these
    #[arg(long, value_name = "DIR")]
    before: Option<PathBuf>,
    /// Only these stages, by name or by part of it, such as bench-train, vgg16 or f16
    #[arg(long, value_name = "WORD,...", value_delimiter = ',')]
    only: Vec<String>,
    /// How to train, as `vggkit train` takes it
    #[arg(last = true, value_name = "TRAIN ARGUMENTS")]
    train: Vec<OsString>,
    #[command(flatten)]
    shared: Shared,
}

const EXAMPLES: &str = "\
Examples:
  vggkit survey --source tiny-imagenet-200.zip --pytorch venv/bin/python     all of it on the fastest GPU, in survey/
  vggkit survey --pytorch venv/bin/python --minutes 9     nine minutes of it; do it again until nothing is left
  vggkit survey --only bench --pytorch venv/bin/python --before old/survey   speed alone, beside an earlier survey's
  vggkit survey -- -d 11 -e 12 -es 5                      with another recipe
  vggkit survey --adapter llvmpipe --width 0.1 -b 8 --seconds 1 --data data/demo -- -d 11 --width 0.1 -e 2
                                                          a rehearsal on a software adapter

Stages: devices, selftest, bench-train-NETWORK and bench-infer-NETWORK of the five networks, with -f16 where there are
tensor cores, prepare, train (in f16 where there are tensor cores), evaluate. Each says how long it will take, where that
can be known, and how long it took. Ctrl-C stops after the step that goes on and keeps what there is.
The results are JSON files, the run's folder and a README.md that sums them up. Exit code: 0 all stages done, 1 not all,
130 or 143 stopped by a signal.";

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let survey = Survey::new(&arguments);
    let tasks = survey.tasks();
    if tasks.is_empty() {
        let names = "devices, selftest, bench-train-vgg11, bench-infer-vgg16c-f16, prepare, train and evaluate";
        return Err(Error::usage("--only leaves no stage").with_help(format!("stages are called {names}")));
    }
    if arguments.source.is_none() && tasks.iter().any(|task| task.name == "train") {
        Manifest::load(arguments.shared.data())?; // training needs it, when all else is done
    }
    if let Some(before) = &arguments.before {
        readme::check_before(before)?;
    }
    let out = &arguments.out;
    fs::create_dir_all(out).map_err(|e| Error::io("cannot make", out, e))?;
    let mut runner = Runner::new()?;
    let open: Vec<&Task> = tasks.iter().filter(|task| !survey.is_done(task)).collect();
    let training = open.iter().any(|task| task.name == "train");
    let about = |tasks: &[&Task]| tasks.iter().filter_map(|task| survey.about(task)).sum::<Duration>();
    survey.tell(&format!("{} of {} stages to do, {}", open.len(), tasks.len(), minutes(about(&open), training)));
    let (mut failed, mut left) = (false, &open[..]);
    for (at, task) in open.iter().enumerate() {
        let needed = survey.about(task).unwrap_or(Duration::from_secs(60));
        // The first one is tried in any case, so that every call gets on.
        if at > 0 && survey.deadline.is_some_and(|deadline| Instant::now() + needed > deadline) {
            break;
        }
        failed |= !survey.perform(task, &mut runner, at + 1, open.len())?;
        left = &open[at + 1..];
        readme::write(out, arguments.before.as_deref())?;
        if let Some(signal) = runner.stopped() {
            let what = format!("stopped by a signal in {}; what there is is in {}", task.name, out.display());
            return Err(Error::new(Kind::Interrupted(signal), what).with_help("the same command goes on there"));
        }
    }
    readme::write(out, arguments.before.as_deref())?;
    if !left.is_empty() {
        let first = &left[0].name;
        let rest = minutes(about(left), false);
        survey.tell(&format!("left: {} stages from {first} on, {rest}; the same command goes on there", left.len()));
    }
    output::line(&format!("{}", out.join("README.md").display()));
    let unfinished = tasks.iter().any(|task| !survey.is_done(task));
    Ok(if failed || unfinished { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// About how long something takes, for people; longer where a training of unknown length is in it.
fn minutes(about: Duration, more: bool) -> String {
    let (seconds, more) = (about.as_secs(), if more { " and the training" } else { "" });
    if seconds < 100 { format!("about {seconds} s{more}") } else { format!("about {} min{more}", (seconds + 30) / 60) }
}

/// A stage to be run; its flags but for those that depend on what has been done.
struct Task {
    name: String,
    flags: Vec<OsString>,
    /// Whether its standard output is one JSON object, kept as `<name>.json`.
    captured: bool,
}

struct Survey<'a> {
    arguments: &'a Arguments,
    /// Whether there is a precision beside f32 to measure and to train in.
    half: bool,
    /// Whether a graphics card computes, and so PyTorch's CUDA.
    hardware: bool,
    deadline: Option<Instant>,
}

fn words(text: &str) -> impl Iterator<Item = OsString> {
    text.split_whitespace().map(OsString::from)
}

impl<'a> Survey<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        let shared = &arguments.shared;
        let gpu = shared.engine != Choice::Cpu;
        let found = gpu.then(|| adapter::choose(shared.adapter.as_deref(), 0).ok()).flatten();
        // On a software adapter f16 is emulated: that rehearses what a card would do.
        let half = shared.precision.is_none() && found.as_ref().is_some_and(|found| Matrices::of(found).is_ok());
        let hardware = found.is_some_and(|found| !found.software());
        let deadline = arguments.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
        Self { arguments, half, hardware, deadline }
    }

    fn tell(&self, line: &str) {
        if !self.arguments.shared.quiet {
            output::note(line);
        }
    }

    /// What all stages are told of the engine.
    fn engine_flags(&self) -> Vec<OsString> {
        let shared = &self.arguments.shared;
        let mut flags: Vec<OsString> =
            words(if shared.engine == Choice::Cpu { "--engine cpu" } else { "--engine gpu" }).collect();
        if let Some(adapter) = &shared.adapter {
            flags.extend(["--adapter".into(), adapter.into()]);
        }
        if let Some(threads) = shared.threads {
            flags.extend(["--threads".into(), threads.to_string().into()]);
        }
        if shared.precise {
            flags.push("--precise".into());
        }
        if let Some(precision) = shared.precision {
            flags.extend(["--precision".into(), precision.name().into()]);
        }
        flags
    }

    /// All stages, the quick and telling ones first.
    fn tasks(&self) -> Vec<Task> {
        let Arguments { shared, source, only, .. } = self.arguments;
        let task = |name: &str, flags: Vec<OsString>, captured| Task { name: name.to_owned(), flags, captured };
        let json = |command: &str| words(command).chain(["--json".into()]).chain(self.engine_flags()).collect();
        let mut tasks = vec![task("devices", json("devices"), true)];
        if shared.engine != Choice::Cpu {
            tasks.push(task("selftest", json("selftest"), true));
        }
        for mode in ["train", "infer"] {
            for (network, flags) in NETWORKS {
                let name = format!("bench-{mode}-{network}");
                tasks.push(task(&name, self.bench(mode, flags, Precision::F32), true));
                if self.half {
                    tasks.push(task(&format!("{name}-f16"), self.bench(mode, flags, Precision::F16), true));
                }
            }
        }
        if let Some(source) = source {
            let data = ["--source".into(), source.into(), "--data".into(), shared.data().into()];
            tasks.push(task("prepare", words("prepare").chain(data).collect(), false));
        }
        tasks.push(task("train", words("train").chain(self.engine_flags()).collect(), false));
        tasks.push(task("evaluate", words("evaluate").chain(self.engine_flags()).collect(), false));
        let names: Vec<String> = tasks.iter().map(|task| task.name.clone()).collect();
        // `train` is that stage, not every benchmark of training.
        let chosen =
            |name: &String, word: &String| name == word || (!names.contains(word) && name.contains(word.as_str()));
        tasks.retain(|task| only.is_empty() || only.iter().any(|word| chosen(&task.name, word)));
        tasks
    }

    /// PyTorch is measured beside f32, once a network and mode; beside f16 it would be the same again.
    fn bench(&self, mode: &str, network: &[&str], precision: Precision) -> Vec<OsString> {
        let Arguments { batch_size, seconds, pytorch, network: NetworkArguments { width, image_size, .. }, .. } =
            self.arguments;
        let mut flags: Vec<OsString> = words("bench --json").chain(self.engine_flags()).collect();
        flags.extend(network.iter().map(OsString::from));
        flags.extend(words(&format!(
            "--mode {mode} --batch-size {batch_size} --seconds {seconds} --rounds {ROUNDS} --width {width} \
             --image-size {image_size}"
        )));
        match (precision, pytorch) {
            (Precision::F16, _) => flags.extend(words("--precision f16")),
            (Precision::F32, Some(python)) => flags.extend(["--pytorch".into(), python.into()]),
            (Precision::F32, None) => {}
        }
        flags
    }

    /// Whether nothing is left to do of `task`.
    fn is_done(&self, task: &Task) -> bool {
        let out = &self.arguments.out;
        let stages = stage::all(out);
        let last = |name: &str| stages.iter().rposition(|stage| stage.name == name);
        match task.name.as_str() {
            "prepare" => self.arguments.shared.data().join("manifest.json").exists(),
            "train" => Run::load(&run_folder(out))
                .is_ok_and(|run| matches!(run.origin.stopped_by.as_str(), "epochs" | "early stopping")),
            "evaluate" => last("evaluate").is_some_and(|at| stages[at].exit_code == 0 && last("train") < Some(at)),
            // A file without a word of how it came is taken for what it says it is.
            name => out.join(format!("{name}.json")).exists() && last(name).is_none_or(|at| stages[at].exit_code == 0),
        }
    }

    /// How long `task` is expected to take: as long as its like took here, else by what it is told to do. None for a
    /// training, which nothing is known of.
    fn about(&self, task: &Task) -> Option<Duration> {
        let like = |name: &str| NETWORKS.iter().fold(format!("{name}-"), |n, (w, _)| n.replace(&format!("-{w}-"), "-"));
        let stages = stage::all(&self.arguments.out);
        let known = stages.iter().rfind(|stage| stage.exit_code == 0 && like(&stage.name) == like(&task.name));
        let seconds = match (task.name.as_str(), known) {
            ("train", _) => return None,
            (_, Some(stage)) => 1.1 * stage.seconds,
            ("devices", _) => 1.0,
            ("selftest" | "prepare", _) => 30.0,
            ("evaluate", _) => 20.0,
            (name, _) => {
                let round = self.arguments.seconds as f64;
                let ways = Way::all(self.hardware).len() as f64;
                let asked = if name.ends_with("f16") || self.arguments.pytorch.is_none() { 0.0 } else { ways };
                let pytorch = asked * (ROUNDS + 1) as f64 * (round + 2.0) + if asked > 0.0 { 10.0 } else { 0.0 };
                12.0 + ROUNDS as f64 * round + pytorch
            }
        };
        Some(Duration::from_secs_f64(seconds))
    }

    /// What `train` and `evaluate` have to be told of what has been done; None where there is nothing to evaluate.
    fn further_flags(&self, task: &Task) -> Option<Vec<OsString>> {
        let Arguments { out, train, shared, .. } = self.arguments;
        let (folder, data) = (run_folder(out), shared.data());
        let known = Run::load(&folder).is_ok();
        let mut flags = Vec::new();
        match task.name.as_str() {
            "train" => {
                flags.extend(["--runs".into(), out.into(), "--data".into(), data.into()]);
                if let Some(deadline) = self.deadline {
                    // Time for the last checkpoint and the evaluation is left.
                    let left =
                        deadline.saturating_duration_since(Instant::now()).saturating_sub(Duration::from_secs(40));
                    flags.extend(["--max-minutes".into(), (left.as_secs() / 60).max(1).to_string().into()]);
                }
                if known {
                    flags.extend(["--resume".into(), folder.into()]);
                } else {
                    flags.extend(["--run".into(), RUN.into()]);
                    if train.is_empty() {
                        flags.extend(words(RECIPE));
                    } else {
                        flags.extend_from_slice(train);
                    }
                    if self.half && !train.iter().any(|word| word == "--precision") {
                        flags.extend(words("--precision f16"));
                    }
                }
            }
            "evaluate" if !known => return None,
            "evaluate" => flags.extend([folder.into(), "--data".into(), data.into()]),
            _ => {}
        }
        Some(flags)
    }

    /// Runs the stage `at` of `count`; whether it succeeded. What a failed one printed is kept, as it says why.
    fn perform(&self, task: &Task, runner: &mut Runner, at: usize, count: usize) -> Result<bool> {
        let out = &self.arguments.out;
        let Some(further) = self.further_flags(task) else {
            self.tell(&format!("{at}/{count} {}: there is no run", task.name));
            return Ok(false);
        };
        let flags = [&task.flags[..], &further].concat();
        let about = self.about(task).map_or_else(String::new, |about| format!(", {}", minutes(about, false)));
        let command = stage::command(&flags);
        self.tell(&format!("{at}/{count} {}{about}: {command}", task.name));
        // A training saves by itself in time.
        let deadline = self.deadline.filter(|_| task.name != "train");
        let (stage, printed) = runner.run(out, &task.name, &flags, task.captured, deadline)?;
        let Stage { exit_code, seconds, .. } = stage;
        let mut done = exit_code == 0;
        if task.captured {
            let whole = serde_json::from_slice::<serde_json::Value>(&printed).ok();
            if let Some(value) = &whole {
                files::write_json(&out.join(format!("{}.json", task.name)), value)?;
            }
            done &= whole.is_some();
        }
        let failed = if done { String::new() } else { format!(", failed with exit code {exit_code}") };
        self.tell(&format!("  {} took {seconds:.0} s{failed}", task.name));
        Ok(done)
    }
}
