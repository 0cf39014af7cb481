//! Images per second of training on the CPU engine, and where the time goes.
//!
//! `cargo bench --bench training_step -- 11 --batch 32 [--threads 2] [--steps 8] [--size 64] [--infer] [--parts] [--precise]`
//! Networks are 11, 13, 16, 16c, 19, or all where none is named. Two steps warm up; the median of the rest counts.

use std::time::Instant;

use vggkit::cli::output::line;
use vggkit::engine::cpu::{CpuEngine, memory_of};
use vggkit::engine::{Batch, Engine, Optimizer, Settings, State};
use vggkit::error::{Error, Result};
use vggkit::vgg::Network;
use vggkit::vgg::initialisation::initialise;

#[derive(Default)]
struct Options {
    networks: Vec<String>,
    batch: usize,
    threads: usize,
    steps: usize,
    size: usize,
    infer: bool,
    parts: bool,
    precise: bool,
}

fn options() -> Result<Options> {
    let mut options = Options { batch: 32, threads: 2, steps: 8, size: 64, ..Options::default() };
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let value = arguments.next().unwrap_or_default();
            value.parse().map_err(|_| Error::usage(format!("{argument} needs a number, not '{value}'")))
        };
        match argument.as_str() {
            "--batch" => options.batch = number()?,
            "--threads" => options.threads = number()?,
            "--steps" => options.steps = number()?,
            "--size" => options.size = number()?,
            "--infer" => options.infer = true,
            "--parts" => options.parts = true,
            "--precise" => options.precise = true,
            "11" | "13" | "16" | "16c" | "19" => options.networks.push(argument),
            other => return Err(Error::usage(format!("'{other}' is not 11, 13, 16, 16c, 19 or an option"))),
        }
    }
    if options.networks.is_empty() {
        options.networks = ["11", "13", "16", "16c", "19"].map(String::from).to_vec();
    }
    Ok(options)
}

fn main() -> Result<()> {
    let options = options()?;
    for name in &options.networks {
        run(name, &options)?;
    }
    Ok(())
}

fn run(name: &str, options: &Options) -> Result<()> {
    let depth = name.trim_end_matches('c').parse().map_err(|_| Error::usage(format!("network {name}")))?;
    let network = Network { depth, conv1x1: name.ends_with('c'), image_size: options.size, ..Network::default() };
    let plan = network.plan()?;
    let settings = Settings {
        optimizer: (!options.infer).then(Optimizer::adam),
        precise: options.precise,
        ..Settings::inference(options.batch, options.threads)
    };
    let megabytes = memory_of(&plan, &settings)?.total() >> 20;
    let state = State::new(initialise(&plan, 0));
    let input: Vec<f32> =
        (0..options.batch * plan.input().elements()).map(|i| (i as f32 * 0.618).fract() - 0.5).collect();
    let labels: Vec<u32> = (0..options.batch as u32).map(|i| i % 200).collect();
    let mut engine = CpuEngine::new(plan, settings, &state)?;
    let (mut times, mut logits, mut warm) = (Vec::new(), Vec::new(), Vec::new());
    for step in 0..options.steps + 2 {
        if step == 2 {
            warm = engine.timings();
        }
        let start = Instant::now();
        let batch = Batch::Activations { input: &input, labels: &labels };
        if options.infer {
            engine.logits(batch, &mut logits)?
        } else {
            engine.train_step(batch, 1e-3)?
        }
        times.push(start.elapsed().as_secs_f64());
    }
    let mut counted = times.split_off(2);
    counted.sort_by(f64::total_cmp);
    let median = counted[counted.len() / 2];
    line(&format!(
        "vgg{name:<3} {} batch {} threads {} {:>7.2} images/s  step {:.3} s (best {:.3})  {megabytes} MiB  {}",
        if options.infer { "inference" } else { "training" },
        options.batch,
        options.threads,
        options.batch as f64 / median,
        median,
        counted[0],
        engine.device().driver,
    ));
    let mut groups: Vec<(String, f64)> = Vec::new();
    for ((part, end), (_, start)) in engine.timings().into_iter().zip(warm) {
        let milliseconds = (end - start) / options.steps as f64 * 1e3;
        if options.parts && milliseconds > 0.05 {
            line(&format!("    {part:<40} {milliseconds:>8.2} ms"));
        }
        let (layer, kind) = part.split_once(' ').map_or(("", part.as_str()), |(l, k)| (l, k));
        let section = layer.split('.').next().unwrap_or_default();
        let group = format!("{section} {kind}");
        match groups.iter_mut().find(|(g, _)| *g == group) {
            Some((_, total)) => *total += milliseconds,
            None => groups.push((group, milliseconds)),
        }
    }
    for (group, milliseconds) in groups.iter().filter(|(_, m)| *m > 0.05) {
        line(&format!("  {group:<42} {milliseconds:>8.2} ms"));
    }
    Ok(())
}
