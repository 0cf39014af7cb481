//! One step of the CPU engine and of the GPU engine against one of the reference in f64, everything that either can be asked for, through the
//! contract that the trainer uses: picks, augmentation, resizing, dropout, label smoothing, a batch that is not full.
//! Five steps are in `golden.rs`, threads, resumed states and refusals in `cpu.rs`.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vggkit::engine::cpu::CpuEngine;
use vggkit::engine::cpu::reference::ReferenceEngine;
use vggkit::engine::gpu::{GpuEngine, Options};
use vggkit::engine::sample::{Area, Blend, Geometry, Mix, Warp};
use vggkit::engine::{
    Batch, Engine, Images, Normalisation, Optimizer, Pick, Precision, Settings, Source, State, Update, View,
};
use vggkit::vgg::plan::Role;
use vggkit::vgg::{Freeze, Head, Network, Plan};

use super::common::{distance, first_state};

const CLASSES: usize = 6;

/// Images that are not square, so that swapped rows and columns show.
fn images(height: usize, width: usize) -> Images {
    let mut generator = ChaCha8Rng::seed_from_u64(1);
    let count = 11;
    Images {
        pixels: Arc::new((0..count * height * width * 3).map(|_| generator.random()).collect::<Vec<u8>>()),
        count,
        height,
        width,
        labels: (0..count as u32).map(|i| i % CLASSES as u32).collect(),
    }
}

/// Every kind of pick: inside, moved out on each side, turned, mirrored, mixed of two, the same image twice. (With shares of
/// .4 rounding turns one maximum of one network, see `compare`.)
fn picks(n: u32) -> Vec<Pick> {
    let view = |i: u32| {
        let moved = Geometry::Moved { x: i as i8 % 5 - 2, y: 4 - i as i8 % 9 };
        let turned = Geometry::Warped(Warp::crop(3, 2, 20, 27).after([[0.9, 0.2, 0.0], [-0.2, 0.9, 0.1]]));
        let geometry = if i % 4 == 2 { turned } else { moved };
        View { index: i * 4 % 11, geometry, flip: i % 2 == 1, ..View::default() }
    };
    let blend = |i| match i % 4 {
        0 => Blend::Share(0.35),
        _ => Blend::Area(Area([0.1, 0.2, 0.6, 0.9])),
    };
    let mix = |i| (i % 3 != 1).then(|| Mix { view: view(i + 5), blend: blend(i) });
    (0..n).map(|i| Pick { view: view(i), mix: mix(i) }).collect()
}

fn settings(optimizer: Optimizer, threads: usize) -> Settings {
    Settings {
        normalisation: Normalisation { mean: [0.48, 0.45, 0.4], std: [0.28, 0.27, 0.3] },
        optimizer: Some(optimizer),
        label_smoothing: 0.1,
        seed: 5,
        precise: true,
        ..Settings::inference(8, threads)
    }
}

fn networks() -> Vec<Network> {
    let base = Network { width: 0.06, classes: CLASSES, image_size: 37, dropout: 0.3, ..Network::default() };
    vec![
        Network { image_size: 32, ..base.clone() },
        Network { lrn: true, batch_norm: false, ..base.clone() },
        Network { depth: 16, conv1x1: true, ..base.clone() },
        Network { image_size: 41, head: Head::Linear, dropout: 0.0, ..base.clone() },
        Network { depth: 13, width: 0.05, image_size: 50, head: Head::Average, dropout: 0.0, ..base.clone() },
        Network { depth: 13, width: 0.05, image_size: 50, ..base },
    ]
}

/// All of them, and some with frozen layers: up to a pooling, to local response normalisation, between two convolutions, all.
fn plans() -> Vec<Plan> {
    let networks = networks();
    let frozen = [
        (0, Freeze::Convolutions(1)),
        (1, Freeze::Convolutions(1)),
        (2, Freeze::Convolutions(5)),
        (3, Freeze::Features),
    ];
    let frozen = frozen.map(|(index, freeze)| (networks[index].clone(), freeze));
    let all = networks.into_iter().map(|network| (network, Freeze::None)).chain(frozen);
    all.map(|(network, freeze)| network.plan().and_then(|plan| plan.freeze(freeze)).expect("a plan")).collect()
}

#[test]
fn cpu_engine_agrees_with_the_reference_step_by_step() {
    compare("cpu", |plan, settings, state| Box::new(CpuEngine::new(plan, settings, state).expect("an engine")));
}

#[test]
fn gpu_engine_agrees_with_the_reference_step_by_step() {
    let options = Options { adapter: Some("llvmpipe".into()), checked: true, ..Options::default() };
    compare("gpu", |plan, settings, state| {
        Box::new(GpuEngine::new(plan, settings, state, &options).expect("llvmpipe (Debian: mesa-vulkan-drivers)"))
    });
}

fn compare(engine: &str, open: impl Fn(Plan, Settings, &State) -> Box<dyn Engine>) {
    let sgd = Optimizer::sgd(0.9, 5e-4);
    // One step from the same state each time: over several, a rounding error that turns a maximum or a ReLU the other
    // way grows without bound in any engine. The second batch is not full, and its dropout masks are later ones.
    for (plan, (n, step)) in plans().into_iter().flat_map(|plan| [(plan.clone(), (8, 0)), (plan, (5, 7 << 32))]) {
        let network = &plan.network;
        let state = State { step, ..first_state(&plan) };
        let settings = Settings { taught: if n == 5 { 0.4 } else { 0.0 }, ..settings(sgd, 2) };
        let said = |i: usize| if i % CLASSES == i / CLASSES { 0.75 } else { 0.05 }; // of six classes
        let rows: Vec<f32> = (0..n as usize * CLASSES).map(said).collect();
        let mut reference = ReferenceEngine::<f64>::new(plan.clone(), settings.clone(), &state).expect("an engine");
        let mut fast = open(plan.clone(), settings, &state);
        for engine in [&mut reference as &mut dyn Engine, fast.as_mut()] {
            engine.attach(Source::Train, images(35, 41)).expect("images");
            engine.attach(Source::Validation, images(64, 37)).expect("images");
            let picks = picks(n);
            let batch = match n {
                5 => Batch::Taught(Source::Train, &picks, &rows),
                _ => Batch::Picks(Source::Train, &picks),
            };
            engine.train_step(batch, 0.01).expect("a step");
        }
        let close = |name: &str, ours: &[f32], theirs: &[f32]| {
            let distance = distance(ours, theirs);
            let title = format!("{engine}, {} from layer {} on with {n} samples", network.short_name(), plan.frozen);
            assert!(distance < 5e-5, "{title}, {name}: {distance:.1e}");
        };
        let (ours, theirs) = (fast.drain_metrics().expect("metrics"), reference.drain_metrics().expect("metrics"));
        assert_eq!(
            (ours[0].step, ours[0].samples, ours[0].top1, ours[0].top5),
            (step + 1, n, theirs[0].top1, theirs[0].top5)
        );
        close("loss", &[ours[0].loss], &[theirs[0].loss]);
        let logits = |engine: &mut dyn Engine| engine.training_logits().expect("logits");
        close("training logits", &logits(fast.as_mut()), &logits(&mut reference));
        let specs = plan.tensors();
        let trained: Vec<_> = specs.iter().filter(|s| s.trained()).collect();
        let (ours, theirs) = (fast.gradients().expect("gradients"), reference.gradients().expect("gradients"));
        assert_eq!([ours.len(), theirs.len()], [trained.len(); 2]);
        for (spec, (ours, theirs)) in trained.into_iter().zip(ours.iter().zip(&theirs)) {
            close(&format!("gradient of {}", spec.name), ours, theirs);
        }
        let (ours, theirs) = (fast.state().expect("state"), reference.state().expect("state"));
        assert_eq!(ours.step, theirs.step);
        for (spec, (ours, theirs)) in specs.iter().zip(ours.tensors.iter().zip(&theirs.tensors)) {
            close(&spec.name, ours, theirs);
        }
        let logits = |engine: &mut dyn Engine| {
            let mut logits = Vec::new();
            engine.logits(Batch::Picks(Source::Validation, &picks(3)), &mut logits).expect("logits");
            logits
        };
        close("logits", &logits(fast.as_mut()), &logits(&mut reference));
    }
}

/// Steps with all that could move a weight that has no gradient: decay, momentum, clipping, an average, running statistics.
/// Zeros are negative, since adding nothing to one makes another number of it.
fn frozen_layers_keep_every_bit(engine: &str, open: impl Fn(Plan, Settings, &State) -> Box<dyn Engine>) {
    let rules = [
        Optimizer::adamw().with_decay(0.5),
        Optimizer::adam().with_decay(0.1),
        Optimizer::Sgd { momentum: 0.9, weight_decay: 0.1, nesterov: true },
    ];
    let update = Update { clip_norm: Some(0.5), ema: Some(0.9), ..Update::default() };
    for (freeze, rule) in [Freeze::Convolutions(4), Freeze::Convolutions(1), Freeze::Features].into_iter().zip(rules) {
        let network = Network { image_size: 32, ..networks()[0].clone() };
        let plan = network.plan().and_then(|plan| plan.freeze(freeze)).expect("a plan");
        let specs = plan.tensors();
        let mut first = first_state(&plan);
        first.tensors.iter_mut().zip(&specs).filter(|(_, spec)| spec.frozen).for_each(|(values, _)| values[0] = -0.0);
        let settings = Settings { update, ..settings(rule, 2) };
        let train = |state: &State, steps: std::ops::Range<usize>| {
            let mut engine = open(plan.clone(), settings.clone(), state);
            engine.attach(Source::Train, images(35, 41)).expect("images");
            for step in steps {
                let picks = &picks(8)[step..];
                engine.train_step(Batch::Picks(Source::Train, picks), 0.001).expect("a step");
            }
            (engine.state().expect("a state"), engine.gradients().expect("gradients"))
        };
        let (after, gradients) = train(&first, 0..3);
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        for (index, spec) in specs.iter().enumerate() {
            for (what, values) in [("live", &after.tensors[index]), ("averaged", &after.averages[index])] {
                let same = bits(values) == bits(&first.tensors[index]);
                // The bias ahead of batch normalisation has gradient zero, which leaves one of zeros as it is.
                let still = first.tensors[index].iter().all(|v| *v == 0.0) && spec.role == Role::Bias;
                assert!(same == spec.frozen || still, "{engine}, {freeze}, {what} {}", spec.name);
            }
        }
        let trained = specs.iter().filter(|spec| spec.trained()).count();
        assert_eq!(gradients.len(), trained, "{engine}, {freeze}");
        assert!(after.moments.iter().all(|moment| moment.len() == trained), "{engine}, {freeze}");
        let (half_way, _) = train(&first, 0..2);
        assert_eq!(train(&half_way, 2..3).0, after, "{engine}, {freeze}: a resumed training");
    }
}

#[test]
fn frozen_layers_keep_every_bit_in_the_reference() {
    frozen_layers_keep_every_bit("reference", |plan, settings, state| {
        Box::new(ReferenceEngine::<f32>::new(plan, settings, state).expect("an engine"))
    });
}

#[test]
fn frozen_layers_keep_every_bit_on_the_cpu() {
    frozen_layers_keep_every_bit("cpu", |plan, settings, state| {
        Box::new(CpuEngine::new(plan, settings, state).expect("an engine"))
    });
}

#[test]
fn frozen_layers_keep_every_bit_on_a_gpu_in_f32_and_f16() {
    for precision in [Precision::F32, Precision::F16] {
        let options = Options { adapter: Some("llvmpipe".into()), checked: true, precision, ..Options::default() };
        frozen_layers_keep_every_bit(&format!("gpu {precision:?}"), |plan, settings, state| {
            Box::new(GpuEngine::new(plan, settings, state, &options).expect("llvmpipe (Debian: mesa-vulkan-drivers)"))
        });
    }
}

/// What a frozen layer does costs neither memory for its gradients and moments nor for activations that nobody goes back to.
#[test]
fn frozen_layers_take_less_memory_in_every_engine() {
    let whole = networks()[0].plan().expect("a plan");
    let frozen = whole.clone().freeze(Freeze::Features).expect("a plan");
    let options = Options { adapter: Some("llvmpipe".into()), ..Options::default() };
    let memory = |plan: &Plan| {
        let (settings, state) = (settings(Optimizer::adam(), 2), first_state(plan));
        let reference =
            ReferenceEngine::<f32>::new(plan.clone(), settings.clone(), &state).expect("an engine").memory();
        let cpu = CpuEngine::new(plan.clone(), settings.clone(), &state).expect("an engine").memory();
        let gpu = GpuEngine::new(plan.clone(), settings, &state, &options).expect("an engine").memory();
        [reference, cpu, gpu]
    };
    let (whole, frozen) = (memory(&whole), memory(&frozen));
    assert!(whole.iter().zip(frozen).all(|(whole, frozen)| frozen < *whole), "{whole:?} {frozen:?}");
}
