//! `--precision f16` on a software adapter, which emulates the matrix units and nothing else: bounds against f32, steps that
//! overflow, resuming, and what is refused. Kernels are compared in `gpu_kernels.rs`.
//! Without an adapter this fails; it does not skip.

#![expect(clippy::print_stdout, reason = "a test's figures are read with --nocapture")]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use vggkit::engine::Precision;
use vggkit::engine::gpu::{GpuEngine, Options};
use vggkit::engine::{Batch, Engine, Images, LossScaling, Optimizer, Pick, Settings, Source, State, View};
use vggkit::vgg::{Network, Plan};

use super::common::{distance, first_state, narrow};

/// f16 rounds a factor by at most 2^-11 of it, some 2^-12 on average and to either side, so that a sum of products is off by
/// a few times 1e-4. Ten layers later the loss of a first step is off by no more than that times ten; the updates after it
/// follow gradients that differ, and drift apart.
const LOSS_FIRST: f64 = 2e-3;
const LOSS_LATER: f64 = 3e-2;
/// The gradient of the last layer, which no ReLU is behind: as the loss.
const GRADIENT_LAST: f64 = 1e-2;
/// Of the others, in the L2 norm. Where activations are off by 1e-3, a share of some 1e-3 of the ReLUs and maxima falls the
/// other way, and each takes or brings a whole number: the square root of that share a layer, for ten layers. (A twin that
/// rounds likewise on the CPU comes no nearer than a third of this: what f32 sums differ by decides roundings to f16, a few
/// layers on these differ everywhere. So kernels are held to their twin one by one, and tightly.)
const GRADIENT: f64 = 0.35;

const SGD: Optimizer = Optimizer::sgd(0.9, 5e-4);

fn options(precision: Precision) -> Options {
    Options { adapter: Some("llvmpipe".into()), precision, ..Options::default() }
}

fn settings(optimizer: Optimizer) -> Settings {
    Settings { optimizer: Some(optimizer), seed: 3, precise: true, ..Settings::inference(8, 2) }
}

fn engine(plan: &Plan, optimizer: Optimizer, state: &State, precision: Precision) -> GpuEngine {
    let engine = GpuEngine::new(plan.clone(), settings(optimizer), state, &options(precision));
    let mut engine = engine.expect("llvmpipe (Debian: mesa-vulkan-drivers)");
    engine.attach(Source::Train, images().clone()).expect("images");
    engine
}

/// Blobs of a colour that the class decides, under noise: something to learn from.
fn images() -> &'static Images {
    static IMAGES: OnceLock<Images> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let (count, side, classes) = (40, 32, 10);
        let mut generator = ChaCha8Rng::seed_from_u64(1);
        let pixels: Vec<u8> = (0..count * side * side * 3)
            .map(|i| {
                let (class, channel) = (i / (side * side * 3) % classes, i % 3);
                let colour = if class >> channel & 1 == 1 { 160 } else { 40 };
                colour + generator.random_range(0..90u8)
            })
            .collect();
        let labels = (0..count as u32).map(|i| i % classes as u32).collect();
        Images { pixels: Arc::new(pixels), count, height: side, width: side, labels }
    })
}

fn step(engine: &mut dyn Engine, index: usize, rate: f32) {
    let picks: Vec<Pick> = (0..8)
        .map(|i| View { index: ((index * 8 + i) * 7 % 40) as u32, flip: i % 3 == 0, ..View::default() }.into())
        .collect();
    engine.train_step(Batch::Picks(Source::Train, &picks), rate).expect("a step");
}

fn losses(engine: &mut dyn Engine, steps: std::ops::Range<usize>, rate: f32) -> Vec<f32> {
    steps.for_each(|index| step(engine, index, rate));
    engine.drain_metrics().expect("metrics").iter().map(|m| m.loss).collect()
}

#[test]
fn training_in_f16_stays_near_f32() {
    let plan = narrow().plan().expect("a plan");
    let state = first_state(&plan);
    for (name, optimizer, rate, steps) in [("sgd", SGD, 2e-4, 12), ("adam", Optimizer::adam(), 1e-4, 8)] {
        let mut half = engine(&plan, optimizer, &state, Precision::F16);
        assert!(half.network().variants().values().all(|v| v.starts_with("half ")), "{:?}", half.network().variants());
        let mut full = engine(&plan, optimizer, &state, Precision::F32);
        let (mut ours, mut theirs) = (losses(&mut half, 0..1, rate), losses(&mut full, 0..1, rate));
        let (a, b) = (half.gradients().expect("gradients"), full.gradients().expect("gradients"));
        let distances: Vec<f64> = a.iter().zip(&b).map(|(a, b)| distance(a, b)).collect();
        let (worst, last) = (distances.iter().copied().fold(0.0, f64::max), distances[distances.len() - 2]);
        ours.extend(losses(&mut half, 1..steps, rate));
        theirs.extend(losses(&mut full, 1..steps, rate));
        let errors: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| f64::from((a - b).abs() / b.abs())).collect();
        println!("{name}: losses {theirs:?}, f16 off by {errors:.5?}, worst gradient {worst:.1e}, last {last:.1e}");
        assert_eq!(errors.len(), steps);
        assert!(last > 1e-5, "f16 cannot be that exact: {last:.1e}");
        assert!(worst < GRADIENT && last < GRADIENT_LAST, "{worst} and {last}");
        assert!(errors[0] < LOSS_FIRST && errors.iter().all(|e| *e < LOSS_LATER), "{errors:?}");
        assert!(theirs[steps - 1] < theirs[0] && ours[steps - 1] < ours[0], "{theirs:?} {ours:?}");
        let scaling = half.state().expect("a state").loss_scaling.expect("that of f16");
        assert_eq!(scaling, LossScaling { good_steps: steps as u32, ..LossScaling::default() });
    }
}

#[test]
fn a_step_that_overflows_is_left_out_and_halves_the_scale() {
    let plan = narrow().plan().expect("a plan");
    for optimizer in [Optimizer::adam(), SGD] {
        let mut engine = engine(&plan, optimizer, &first_state(&plan), Precision::F16);
        losses(&mut engine, 0..2, 1e-3);
        let before = engine.state().expect("a state");
        let huge = 2f32.powi(60);
        let scaling = LossScaling { scale: huge, good_steps: 2, skipped_steps: 0 };
        let mut provoked = State { loss_scaling: Some(scaling), ..before.clone() };
        engine.load_state(&provoked).expect("it fits");
        let loss = losses(&mut engine, 2..3, 1e-3);
        assert!(loss[0].is_finite() && loss[0] < 10.0, "the loss is told without its scale: {loss:?}");
        let after = engine.state().expect("a state");
        let expected = LossScaling { scale: huge / 2.0, good_steps: 0, skipped_steps: 1 };
        assert_eq!((after.step, after.loss_scaling), (3, Some(expected)));
        assert_eq!(after.moments, before.moments);
        // Running statistics are the forward pass's, and move as they do in PyTorch.
        for (spec, (a, b)) in plan.tensors().iter().zip(after.tensors.iter().zip(&before.tensors)) {
            assert_eq!(a == b, spec.role.trained(), "{}", spec.name);
        }
        // The step left out does not count for Adam: the next one is as if it had not been.
        provoked = State { loss_scaling: Some(LossScaling { skipped_steps: 1, ..LossScaling::default() }), ..after };
        let plain = State { step: 2, loss_scaling: None, ..provoked.clone() };
        let mut update = |state: &State| {
            engine.load_state(state).expect("it fits");
            losses(&mut engine, 3..4, 1e-3);
            engine.state().expect("a state").tensors
        };
        assert_eq!(update(&provoked), update(&plain));
    }
}

/// Factors are rounded sample by sample, and all micro-batches have one scale: only the order of the last sums differs. What
/// overflows in one of them spoils the sum, and the whole step is left out.
#[test]
fn micro_batches_add_up_to_the_batch() {
    // Without batch normalisation, whose statistics are those of a micro-batch.
    let plan = Network { batch_norm: false, ..narrow() }.plan().expect("a plan");
    let state = first_state(&plan);
    let mut whole = engine(&plan, SGD, &state, Precision::F16);
    let some = Options { micro_batch: Some(3), ..options(Precision::F16) };
    let mut parts = GpuEngine::new(plan.clone(), settings(SGD), &state, &some).expect("llvmpipe");
    parts.attach(Source::Train, images().clone()).expect("images");
    assert_eq!((whole.micro_batch(), parts.micro_batch()), (8, 3));
    let (ours, theirs) = (losses(&mut parts, 0..1, 1e-3), losses(&mut whole, 0..1, 1e-3));
    assert!((ours[0] - theirs[0]).abs() < 1e-5 * theirs[0], "{ours:?} and {theirs:?}");
    for (ours, theirs) in parts.gradients().expect("gradients").iter().zip(&whole.gradients().expect("gradients")) {
        assert!(theirs.iter().any(|g| *g != 0.0) && distance(ours, theirs) < 1e-5);
    }
    let before = parts.state().expect("a state");
    let scaling = LossScaling { scale: 2f32.powi(60), ..LossScaling::default() };
    parts.load_state(&State { loss_scaling: Some(scaling), ..before.clone() }).expect("it fits");
    losses(&mut parts, 1..2, 1e-3);
    let after = parts.state().expect("a state");
    assert_eq!((after.tensors, after.moments), (before.tensors, before.moments));
    assert_eq!(after.loss_scaling.expect("that of f16").skipped_steps, 1);
}

#[test]
fn the_same_bits_twice_and_after_a_resume() {
    let plan = Network { dropout: 0.3, ..narrow() }.plan().expect("a plan");
    // So large that the first steps overflow, and so near to being doubled that it is.
    let scaling = LossScaling { scale: 2f32.powi(32), good_steps: 0, skipped_steps: 0 };
    let first = State { loss_scaling: Some(scaling), ..first_state(&plan) };
    let run = |state: &State, from: usize, to: usize| {
        let mut engine = engine(&plan, Optimizer::adam(), state, Precision::F16);
        losses(&mut engine, from..to, 1e-3);
        engine.state().expect("a state")
    };
    let whole = run(&first, 0, 5);
    assert!(whole.loss_scaling.expect("that of f16").skipped_steps > 0, "{:?}", whole.loss_scaling);
    assert_eq!(run(&first, 0, 5), whole);
    assert_eq!(run(&run(&first, 0, 2), 2, 5), whole);
}

fn vggkit(data: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
    let cache = data.join("cache");
    command.args(more).arg("--data").arg(data.join("demo")).arg("--runs").arg(data.join("runs"));
    command.env("VGGKIT_CACHE", cache).env_remove("VGGKIT_ADAPTER").output().expect("the binary runs")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_command_line_records_it_resumes_in_it_and_refuses_what_cannot_do_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut prepare = Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
    prepare.args(["prepare", "--demo", "--quiet", "--per-class", "4", "--data"]).arg(folder.path());
    assert!(prepare.status().expect("the binary runs").success());

    let train =
        ["train", "--width", "0.05", "-i", "32", "-b", "8", "-e", "1", "--engine", "gpu", "--adapter", "llvmpipe"];
    let whole = vggkit(folder.path(), &[&train[..], &["--precision", "f16", "--run", "demo-whole"]].concat());
    assert!(whole.status.success(), "{}", told(&whole));
    assert!(told(&whole).contains("f16 is emulated"), "{}", told(&whole));
    let half = vggkit(
        folder.path(),
        &[&train[..], &["--precision", "f16", "--run", "demo-half", "--max-steps", "2"]].concat(),
    );
    assert!(half.status.success(), "{}", told(&half));
    let resume = vggkit(folder.path(), &["train", "--resume", "demo-half", "--engine", "gpu", "--adapter", "llvmpipe"]);
    assert!(resume.status.success(), "{}", told(&resume));
    let read = |run: &str, file: &str| std::fs::read(folder.path().join("runs").join(run).join(file)).expect(file);
    for run in ["demo-whole", "demo-half"] {
        let settings = String::from_utf8(read(run, "run.toml")).expect("text");
        assert!(settings.contains("precision = \"f16\"\n"), "{settings}");
        let weights = read(run, "last.safetensors");
        let header = String::from_utf8_lossy(&weights[..4000.min(weights.len())]).into_owned();
        assert!(header.contains("loss_scaling") && header.contains("half 64x64"), "{header}");
    }
    // Times differ, numbers do not: what follows the header with its times and sums of seconds.
    let numbers = |run: &str| {
        let bytes = read(run, "last.safetensors");
        let header = u64::from_le_bytes(std::array::from_fn(|i| bytes[i])) as usize;
        bytes[8 + header..].to_vec()
    };
    assert!(numbers("demo-whole") == numbers("demo-half"), "a resumed training has other bits");

    // On the CPU it goes on in f32, if it is told so; on an f32 device the scale is kept.
    let cpu = vggkit(folder.path(), &["train", "--resume", "demo-half", "--engine", "cpu"]);
    assert!(told(&cpu).contains("give --precision f32"), "{}", told(&cpu));
    let more = ["train", "--resume", "demo-half", "-e", "2", "--precision", "f32", "--engine"];
    let cpu = vggkit(folder.path(), &[&more[..], &["cpu"]].concat());
    assert!(cpu.status.success(), "{}", told(&cpu));
    let settings = String::from_utf8(read("demo-half", "run.toml")).expect("text");
    assert!(settings.contains("precision = \"f32\"\n"), "{settings}");
    assert!(String::from_utf8_lossy(&read("demo-half", "last.safetensors")).contains("good_steps"));
    let evaluate = ["evaluate", "demo-whole", "--engine", "gpu", "--adapter", "llvmpipe", "--precision", "f16"];
    let evaluated = vggkit(folder.path(), &evaluate);
    assert!(evaluated.status.success() && told(&evaluated).contains("emulated"), "{}", told(&evaluated));

    let refused = vggkit(folder.path(), &["train", "--precision", "f16", "--engine", "cpu"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(told(&refused).contains("the CPU engine computes in f32 only"), "{}", told(&refused));
    let unknown = vggkit(folder.path(), &["train", "--precision", "bf16"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(told(&unknown).contains("choose f32 or f16"), "{}", told(&unknown));
}
