//! The GPU engine on a software adapter against the CPU engine and against itself. Kernels are compared in
//! `gpu_kernels.rs`, PyTorch in `golden.rs`, one step with everything that can be asked for in `steps.rs`.
//! Without an adapter this fails; it does not skip.

#![expect(clippy::print_stdout, reason = "a test's figures are read with --nocapture")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use vggkit::dataset::Pack;
use vggkit::engine::cpu::CpuEngine;
use vggkit::engine::gpu::{GpuEngine, Options, Store};
use vggkit::engine::sample::Geometry;
use vggkit::engine::{Batch, Engine, Images, Optimizer, Pick, Settings, Source, State, View};
use vggkit::vgg::{Network, Plan, initialisation};

use super::common::{distance, first_state, narrow};

const SGD: Optimizer = Optimizer::sgd(0.9, 0.0);

fn options() -> Options {
    Options { adapter: Some("llvmpipe".into()), ..Options::default() }
}

fn settings(batch_size: usize, optimizer: Optimizer) -> Settings {
    Settings { optimizer: Some(optimizer), seed: 3, precise: true, ..Settings::inference(batch_size, 2) }
}

fn gpu(plan: &Plan, settings: &Settings, state: &State, options: &Options) -> GpuEngine {
    GpuEngine::new(plan.clone(), settings.clone(), state, options).expect("llvmpipe (Debian: mesa-vulkan-drivers)")
}

/// The demo set's ten classes, 16 train images each, made once.
fn demo() -> &'static Pack {
    static PACK: OnceLock<Pack> = OnceLock::new();
    PACK.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut prepare = Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
        prepare.args(["prepare", "--demo", "--quiet", "--per-class", "16", "--data"]).arg(folder.path());
        assert!(prepare.status().expect("the binary runs").success());
        Pack::open(&folder.path().join("demo"), "train").expect("a pack") // stays mapped when the folder goes
    })
}

/// Batch `step` of `n` picks, in an order that meets all classes.
fn picks(step: usize, n: usize, count: usize) -> Vec<Pick> {
    (0..n)
        .map(|i| {
            let geometry = Geometry::Moved { x: 1, y: -2 };
            let index = ((step * n + i) * 7 % count) as u32;
            View { index, geometry, flip: i % 3 == 0, ..View::default() }.into()
        })
        .collect()
}

fn losses(engine: &mut dyn Engine, images: &Images, steps: usize, n: usize, rate: f32) -> Vec<f32> {
    engine.attach(Source::Train, images.clone()).expect("images");
    for step in 0..steps {
        engine.train_step(Batch::Picks(Source::Train, &picks(step, n, images.count)), rate).expect("a step");
    }
    engine.drain_metrics().expect("metrics").iter().map(|m| m.loss).collect()
}

fn assert_close(what: &str, ours: &[f32], theirs: &[f32], most: f64) {
    for (step, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let error = f64::from((a - b).abs() / b.abs());
        assert!(error <= most, "{what}, step {}: {a} and {b} are {error:.1e} apart", step + 1);
    }
    assert_eq!(ours.len(), theirs.len());
}

/// Noise: in flat parts of drawn images the maxima of pooling tie, and rounding decides which of them counts.
fn noise(count: usize) -> Images {
    let mut generator = ChaCha8Rng::seed_from_u64(1);
    let pixels: Vec<u8> = (0..count * 64 * 64 * 3).map(|_| generator.random()).collect();
    let labels = (0..count as u32).collect();
    Images { pixels: Arc::new(pixels), count, height: 64, width: 64, labels }
}

#[test]
fn twenty_steps_of_sgd_and_five_of_adam_follow_the_cpu_engine() {
    let plan = narrow().plan().expect("a plan");
    let (images, state) = (&demo().images, State::new(initialisation::initialise(&plan, 2)));
    for (name, optimizer, rate, steps) in
        [("sgd", Optimizer::sgd(0.0, 0.0), 0.01, 20), ("adam", Optimizer::adam(), 0.001, 5)]
    {
        let settings = settings(16, optimizer);
        let mut cpu = CpuEngine::new(plan.clone(), settings.clone(), &state).expect("an engine");
        let theirs = losses(&mut cpu, images, steps, 16, rate);
        let ours = losses(&mut gpu(&plan, &settings, &state, &options()), images, steps, 16, rate);
        assert_close(name, &ours, &theirs, 1e-4);
        assert!(theirs.iter().all(|l| l.is_finite()) && theirs[steps - 1] != theirs[0], "{theirs:?}");
    }
}

/// A ReLU or a maximum that rounding turns the other way changes gradients by 1e-3 in any two float32 engines, and
/// among half a million of them one in a few batches does. An error of a kernel shows in every batch: one of these must
/// agree in all gradients, and all of them in the loss.
const BATCHES: usize = 6;

#[test]
fn one_step_at_full_width_agrees_for_every_network() {
    let images = &noise(2 * BATCHES);
    let base = Network { classes: 200, image_size: 48, ..Network::default() };
    let networks = [
        Network { depth: 11, ..base.clone() },
        Network { depth: 11, lrn: true, batch_norm: false, ..base.clone() },
        Network { depth: 13, ..base.clone() },
        Network { depth: 16, ..base.clone() },
        Network { depth: 16, conv1x1: true, ..base.clone() },
        Network { depth: 19, ..base },
    ];
    for network in networks {
        let plan = network.plan().expect("a plan");
        let (state, settings) = (first_state(&plan), settings(2, SGD));
        let mut cpu = CpuEngine::new(plan.clone(), settings.clone(), &state).expect("an engine");
        let mut gpu = gpu(&plan, &settings, &state, &options());
        let step = |engine: &mut dyn Engine, batch: u32| {
            engine.load_state(&state).expect("it fits");
            engine.attach(Source::Train, images.clone()).expect("images");
            let picks = [2 * batch, 2 * batch + 1].map(Pick::of);
            engine.train_step(Batch::Picks(Source::Train, &picks), 0.01).expect("a step");
            (engine.drain_metrics().expect("metrics")[0].loss, engine.gradients().expect("gradients"))
        };
        let title = network.title();
        let agrees = (0..BATCHES as u32).any(|batch| {
            let ((loss, ours), (expected, theirs)) = (step(&mut gpu, batch), step(&mut cpu, batch));
            assert_close(&title, &[loss], &[expected], 1e-5);
            let worst = ours.iter().zip(&theirs).map(|(a, b)| distance(a, b)).fold(0.0, f64::max);
            println!("{title}: worst gradient {worst:.1e}");
            worst < 5e-5
        });
        assert!(agrees, "{title}: gradients differ in every batch");
    }
}

#[test]
fn a_state_moves_between_engines_and_training_goes_on() {
    let plan = narrow().plan().expect("a plan");
    let (images, first) = (&demo().images, first_state(&plan));
    let settings = settings(8, SGD);
    let mut cpu = CpuEngine::new(plan.clone(), settings.clone(), &first).expect("an engine");
    let mut gpu = gpu(&plan, &settings, &first, &options());
    losses(&mut cpu, images, 3, 8, 0.01);
    let state = cpu.state().expect("a state");
    gpu.load_state(&state).expect("it fits");
    let back = gpu.state().expect("a state");
    assert_eq!((back.step, &back.tensors, &back.moments), (3, &state.tensors, &state.moments));
    let theirs = losses(&mut cpu, images, 3, 8, 0.01);
    let ours = losses(&mut gpu, images, 3, 8, 0.01);
    assert_close("after the move", &ours, &theirs, 1e-4);
    let moved = gpu.state().expect("a state");
    cpu.load_state(&moved).expect("it fits");
    assert_eq!(cpu.state().expect("a state").tensors, moved.tensors);
}

#[test]
fn the_same_bits_twice_and_after_a_resume() {
    let plan = Network { dropout: 0.3, ..narrow() }.plan().expect("a plan");
    let (images, state) = (&demo().images, first_state(&plan));
    let settings = settings(8, Optimizer::adam());
    let run = |state: &State, from: usize, to: usize| {
        let mut engine = gpu(&plan, &settings, state, &options());
        engine.attach(Source::Train, images.clone()).expect("images");
        for step in from..to {
            engine.train_step(Batch::Picks(Source::Train, &picks(step, 8, images.count)), 0.001).expect("a step");
        }
        engine.state().expect("a state")
    };
    let whole = run(&state, 0, 6);
    assert_eq!(run(&state, 0, 6), whole);
    assert_eq!(run(&run(&state, 0, 2), 2, 6), whole);
}

#[test]
fn a_snapshot_knows_nothing_of_the_steps_after_it() {
    let plan = narrow().plan().expect("a plan");
    let (images, first) = (&demo().images, first_state(&plan));
    let mut engine = gpu(&plan, &settings(8, Optimizer::adam()), &first, &options());
    engine.attach(Source::Train, images.clone()).expect("images");
    let step = |engine: &mut GpuEngine, step| {
        engine.train_step(Batch::Picks(Source::Train, &picks(step, 8, images.count)), 0.001).expect("a step");
    };
    // Before the first step, from memory that is had for it; after it with moments, and again in the same memory.
    for turn in 0..3 {
        let expected = engine.state().expect("a state");
        let snapshot = engine.snapshot().expect("a snapshot");
        for after in 0..3 {
            step(&mut engine, 3 * turn + after);
        }
        // On a thread of its own, while this one goes on to submit.
        let other = std::thread::spawn(move || snapshot.state().expect("a state"));
        step(&mut engine, 9);
        assert!(other.join().expect("ends") == expected, "turn {turn}");
        assert!(engine.state().expect("a state") != expected);
    }
    // One that nobody waits for is in nobody's way, nor is a second one under way.
    drop(engine.snapshot().expect("a snapshot"));
    let two = [engine.snapshot().expect("a snapshot"), engine.snapshot().expect("a snapshot")];
    let [one, other] = two.map(|snapshot| snapshot.state().expect("a state"));
    assert!(one == other && one == engine.state().expect("a state"));
}

#[test]
fn many_inferences_under_way_are_those_of_one_at_a_time() {
    let plan = narrow().plan().expect("a plan");
    let (images, first) = (&demo().images, first_state(&plan));
    for micro_batch in [None, Some(3)] {
        let mut engine = gpu(&plan, &settings(8, SGD), &first, &Options { micro_batch, ..options() });
        engine.attach(Source::Validation, images.clone()).expect("images");
        // More batches than may be under way, of several sizes.
        let all: Vec<Vec<Pick>> = (0..20).map(|step| picks(step, 1 + step % 8, images.count)).collect();
        let mut one = Vec::new();
        let mut expected = Vec::new();
        for picks in &all {
            engine.logits(Batch::Picks(Source::Validation, picks), &mut one).expect("logits");
            assert_eq!(one.len(), picks.len() * plan.network.classes);
            expected.push(one.clone());
        }
        let mut found = Vec::new();
        let mut batches = all.iter().map(|picks| Batch::Picks(Source::Validation, picks));
        engine.infer(&mut batches, &mut |logits| found.push(logits.to_vec())).expect("logits");
        assert!(found == expected, "micro-batches of {micro_batch:?}");
        // What is refused is said, and what was under way is in nobody's way.
        let wrong = [Pick::of(u32::MAX)];
        let mut batches = [all[5].as_slice(), &wrong].into_iter().map(|picks| Batch::Picks(Source::Validation, picks));
        assert!(engine.infer(&mut batches, &mut |_| ()).is_err());
        engine.logits(Batch::Picks(Source::Validation, &all[7]), &mut one).expect("logits");
        assert!(one == expected[7]);
    }
}

#[test]
fn micro_batches_add_up_to_the_batch() {
    // Without batch normalisation, whose statistics are those of a micro-batch.
    let plan = Network { batch_norm: false, dropout: 0.3, ..narrow() }.plan().expect("a plan");
    let (images, state) = (&demo().images, first_state(&plan));
    let settings = settings(8, SGD);
    let mut whole = gpu(&plan, &settings, &state, &options());
    let mut parts = gpu(&plan, &settings, &state, &Options { micro_batch: Some(3), ..options() });
    assert_eq!((whole.micro_batch(), parts.micro_batch()), (8, 3));
    let theirs = losses(&mut whole, images, 2, 7, 0.01);
    let ours = losses(&mut parts, images, 2, 7, 0.01);
    assert_close("losses", &ours, &theirs, 1e-5);
    let (ours, theirs) = (parts.gradients().expect("gradients"), whole.gradients().expect("gradients"));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!(distance(ours, theirs) < 1e-5);
    }
    let logits = |engine: &mut GpuEngine| {
        let mut logits = Vec::new();
        engine.attach(Source::Validation, images.clone()).expect("images");
        engine.logits(Batch::Picks(Source::Validation, &picks(0, 8, images.count)), &mut logits).expect("logits");
        logits
    };
    assert!(distance(&logits(&mut parts), &logits(&mut whole)) < 1e-4);
}

#[test]
fn winograd_4x4_stays_near_and_is_forbidden_by_precise() {
    let plan = Network { width: 0.25, classes: 10, ..Network::default() }.plan().expect("a plan");
    let (images, state) = (&demo().images, first_state(&plan));
    let settings = settings(4, SGD);
    let mut precise = gpu(&plan, &settings, &state, &options());
    assert!(precise.network().variants().values().all(|v| !v.contains("winograd4")));
    let theirs = losses(&mut precise, images, 1, 4, 0.01);
    let mut forced = state.clone();
    for key in precise.network().variants().keys() {
        if key.starts_with("features.") && !key.starts_with("features.0 ") {
            forced.variants.insert(key.clone(), "winograd4 registers".into());
        }
    }
    let fast = Settings { precise: false, ..settings.clone() };
    let mut fast = gpu(&plan, &fast, &forced, &options());
    assert!(fast.network().variants().values().any(|v| v.contains("winograd4")), "{:?}", fast.network().variants());
    let ours = losses(&mut fast, images, 1, 4, 0.01);
    assert_close("loss", &ours, &theirs, 1e-4);
    let (ours, theirs) = (fast.gradients().expect("gradients"), precise.gradients().expect("gradients"));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!(distance(ours, theirs) < 1e-2);
    }
}

/// A store of this process.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, Vec<u8>>>);

impl Store for Kept {
    fn load(&self, name: &str) -> Option<Vec<u8>> {
        self.0.lock().expect("no other test").get(name).cloned()
    }

    fn save(&self, name: &str, bytes: &[u8]) {
        self.0.lock().expect("no other test").insert(name.into(), bytes.into());
    }
}

#[test]
fn what_was_chosen_among_precise_variants_does_not_bind_others() {
    let plan = Network { width: 0.06, ..narrow() }.plan().expect("a plan");
    let (state, kept) = (first_state(&plan), Arc::new(Kept::default()));
    let options = Options { tune: true, store: Some(Arc::clone(&kept) as Arc<dyn Store>), ..options() };
    for precise in [true, false] {
        gpu(&plan, &Settings { precise, ..settings(2, SGD) }, &state, &options);
    }
    let kept = kept.0.lock().expect("no other test");
    let (_, bytes) = kept.iter().find(|(name, _)| name.starts_with("variants")).expect("choices");
    let choices: BTreeMap<String, String> = serde_json::from_slice(bytes).expect("JSON");
    let precise = choices.keys().filter(|key| key.ends_with(" precise")).count();
    assert!(precise > 0 && 2 * precise == choices.len(), "{choices:?}");
}
