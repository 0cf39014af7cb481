//! The fast CPU engine as a whole: against the reference engine, for any number of threads, through its state, and
//! with what it must refuse.

use std::sync::Arc;

use vggkit::engine::cpu::reference::ReferenceEngine;
use vggkit::engine::cpu::{CpuEngine, InstructionSet, memory_of};
use vggkit::engine::sample::Geometry;
use vggkit::engine::{Batch, Engine, Images, Normalisation, Optimizer, Pick, Settings, Source, State, View};
use vggkit::vgg::initialisation::initialise;
use vggkit::vgg::{Network, Plan};

const BATCH: usize = 5;
const COUNT: usize = 7;

fn network() -> Network {
    Network { width: 0.06, classes: 9, image_size: 32, ..Network::default() }
}

fn settings(optimizer: Option<Optimizer>, threads: usize) -> Settings {
    let normalisation = Normalisation { mean: [0.4, 0.5, 0.6], std: [0.2, 0.3, 0.4] };
    Settings { normalisation, optimizer, label_smoothing: 0.1, seed: 3, ..Settings::inference(BATCH, threads) }
}

fn sgd() -> Optimizer {
    Optimizer::sgd(0.9, 1e-3)
}

/// Images whose rows and columns cannot be confused, of another size than the network's.
fn images(height: usize, width: usize) -> Images {
    let pixel = |i: usize| {
        let (image, row, column, channel) = (i / (height * width * 3), i / (width * 3) % height, i / 3 % width, i % 3);
        ((image * 53 + row * row * 3 + column * 7 + channel * 31 + row * column) % 251) as u8
    };
    let pixels: Vec<u8> = (0..COUNT * height * width * 3).map(pixel).collect();
    let labels: Vec<u32> = (0..COUNT as u32).map(|i| i * 4 % 9).collect();
    Images { pixels: Arc::new(pixels), count: COUNT, height, width, labels: labels.into() }
}

fn picks(step: usize, count: usize) -> Vec<Pick> {
    let pick = |i: usize| View {
        index: ((step * 3 + i * 2) % COUNT) as u32,
        geometry: Geometry::Moved { x: (i as i8 - 2) * 2, y: 3 - step as i8 - i as i8 },
        flip: (i + step).is_multiple_of(2),
        ..View::default()
    };
    (0..count).map(|i| pick(i).into()).collect()
}

/// Three steps, the last on a smaller batch; then logits of validation images.
fn train(engine: &mut dyn Engine, source: &Images) -> (State, Vec<f32>, Vec<f32>) {
    engine.attach(Source::Train, source.clone()).expect("fits");
    engine.attach(Source::Validation, Images { labels: Arc::new([]), ..source.clone() }).expect("fits");
    for (step, count) in [BATCH, BATCH, 2].into_iter().enumerate() {
        engine.train_step(Batch::Picks(Source::Train, &picks(step, count)), 0.05).expect("a step");
    }
    let losses = engine.drain_metrics().expect("metrics").iter().map(|m| m.loss).collect();
    let mut logits = Vec::new();
    engine.logits(Batch::Picks(Source::Validation, &picks(5, 3)), &mut logits).expect("logits");
    assert_eq!(logits.len(), 27);
    (engine.state().expect("a state"), losses, logits)
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let difference: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (difference / b.iter().map(|b| f64::from(*b).powi(2)).sum::<f64>().max(1e-12)).sqrt()
}

fn start(plan: &Plan) -> State {
    // Wider than the real first weights: so narrow a network would otherwise carry no signal.
    let mut tensors = initialise(plan, 1);
    for (spec, tensor) in plan.tensors().iter().zip(&mut tensors) {
        if spec.name.starts_with("classifier") && spec.shape.len() == 2 {
            tensor.iter_mut().for_each(|v| *v *= 10.0);
        }
    }
    State::new(tensors)
}

fn networks() -> [Network; 4] {
    [
        network(),
        Network { lrn: true, dropout: 0.5, ..network() },
        Network { depth: 16, conv1x1: true, ..network() },
        Network { depth: 13, batch_norm: false, dropout: 0.2, image_size: 37, ..network() },
    ]
}

fn precise(settings: Settings) -> Settings {
    Settings { precise: true, ..settings }
}

#[test]
fn whole_networks_agree_with_the_reference() {
    for network in networks() {
        let plan = network.plan().expect("a plan");
        let state = start(&plan);
        for (height, width) in [(network.image_size, network.image_size), (41, 50), (20, 64)] {
            let source = images(height, width);
            let mut oracle =
                ReferenceEngine::<f64>::new(plan.clone(), settings(Some(sgd()), 1), &state).expect("an engine");
            let expected = train(&mut oracle, &source);
            let mut engine =
                CpuEngine::new(plan.clone(), precise(settings(Some(sgd()), 2)), &state).expect("an engine");
            let got = train(&mut engine, &source);
            let name = format!("{} {height}x{width}", network.short_name());
            assert!(distance(&got.1, &expected.1) < 1e-5, "{name}: losses {:?} {:?}", got.1, expected.1);
            assert!(distance(&got.2, &expected.2) < 1e-4, "{name}: logits");
            for ((a, b), spec) in got.0.tensors.iter().zip(&expected.0.tensors).zip(plan.tensors()) {
                assert!(distance(a, b) < 1e-4, "{name}: {} differs by {}", spec.name, distance(a, b));
            }
        }
    }
}

#[test]
fn gradients_with_the_fastest_kernels_stay_near() {
    for network in networks().into_iter().chain([Network { width: 0.25, depth: 19, image_size: 64, ..network() }]) {
        let plan = network.plan().expect("a plan");
        let state = start(&plan);
        let pixels = BATCH * network.image_size * network.image_size * 3;
        // Where rounding turns the sign of one of some thousand values ahead of a ReLU, its mask is another function's:
        // that alone moves gradients by 1e-2. So the median of three inputs counts.
        let mut errors = Vec::new();
        for input in [0.618, 0.414, 0.732] {
            let input: Vec<f32> = (0..pixels).map(|i| (i as f32 * input).fract() * 2.0 - 1.0).collect();
            let batch = Batch::Activations { input: &input, labels: &[0, 3, 8, 1, 1] };
            let mut oracle =
                ReferenceEngine::<f64>::new(plan.clone(), settings(Some(sgd()), 1), &state).expect("an engine");
            oracle.train_step(batch, 0.01).expect("a step");
            let expected = oracle.gradients().expect("gradients");
            let mut worst: f64 = 0.0;
            for set in [InstructionSet::Portable, InstructionSet::Avx2, InstructionSet::Avx512] {
                if set.available() {
                    let mut engine =
                        CpuEngine::with_instruction_set(plan.clone(), settings(Some(sgd()), 2), &state, set)
                            .expect("fits");
                    engine.train_step(batch, 0.01).expect("a step");
                    let gradients = engine.gradients().expect("gradients");
                    worst = gradients.iter().zip(&expected).map(|(a, b)| distance(a, b)).fold(worst, f64::max);
                }
            }
            errors.push(worst);
        }
        errors.sort_by(f64::total_cmp);
        assert!(errors[1] < 1e-3, "{}: {errors:?}", network.short_name());
    }
}

#[test]
fn a_precise_training_is_resumed_precisely() {
    let plan = Network { width: 0.1, ..network() }.plan().expect("a plan");
    let source = images(32, 32);
    let run = |settings: Settings, state: &State, first: usize| {
        let mut engine = CpuEngine::new(plan.clone(), settings, state).expect("fits");
        engine.attach(Source::Train, source.clone()).expect("fits");
        for i in first..first + 2 {
            engine.train_step(Batch::Picks(Source::Train, &picks(i, BATCH)), 0.01).expect("a step");
        }
        engine.state().expect("a state")
    };
    let (fast, exact) = (settings(Some(sgd()), 2), precise(settings(Some(sgd()), 2)));
    let between = run(exact.clone(), &start(&plan), 0);
    let whole = run(exact, &between, 2);
    assert!(run(fast.clone(), &between, 2) == whole);
    // It does make a difference.
    let other = State { variants: Default::default(), ..between };
    assert!(run(fast, &other, 2).tensors != whole.tensors);
}

#[test]
fn bits_do_not_depend_on_threads() {
    for network in [
        Network { width: 0.3, dropout: 0.3, ..network() },
        Network { width: 0.2, depth: 16, conv1x1: true, batch_norm: false, ..network() },
    ] {
        let plan = network.plan().expect("a plan");
        let state = start(&plan);
        for set in [InstructionSet::Portable, InstructionSet::Avx2, InstructionSet::Avx512] {
            if !set.available() {
                continue;
            }
            let run = |threads| {
                let settings = settings(Some(Optimizer::adam()), threads);
                let mut engine = CpuEngine::with_instruction_set(plan.clone(), settings, &state, set).expect("fits");
                let results = train(&mut engine, &images(40, 36));
                (results, engine.gradients().expect("gradients"))
            };
            let one = run(1);
            assert!(one == run(2) && one == run(3), "{} {}", network.short_name(), set.name());
        }
    }
}

#[test]
fn a_restored_state_goes_on_with_the_same_bits() {
    let plan = Network { dropout: 0.4, ..network() }.plan().expect("a plan");
    for optimizer in [sgd(), Optimizer::adam()] {
        let source = images(32, 32);
        let new = |state: &State| {
            let mut engine = CpuEngine::new(plan.clone(), settings(Some(optimizer), 2), state).expect("fits");
            engine.attach(Source::Train, source.clone()).expect("fits");
            engine
        };
        let step = |engine: &mut CpuEngine, index| {
            engine.train_step(Batch::Picks(Source::Train, &picks(index, BATCH)), 0.01).expect("a step");
        };
        let mut whole = new(&start(&plan));
        (0..2).for_each(|i| step(&mut whole, i));
        let between = whole.state().expect("a state");
        assert_eq!(between.step, 2);
        let mut resumed = new(&between);
        assert!(resumed.state().expect("a state") == between);
        for i in 2..4 {
            step(&mut whole, i);
            step(&mut resumed, i);
        }
        assert!(whole.state().expect("a state") == resumed.state().expect("a state"));
        let steps: Vec<_> = resumed.drain_metrics().expect("metrics").iter().map(|m| m.step).collect();
        assert_eq!(steps, [3, 4]);
        // Going back also forgets the moments.
        resumed.load_state(&start(&plan)).expect("fits");
        let mut fresh = new(&start(&plan));
        step(&mut resumed, 0);
        step(&mut fresh, 0);
        assert!(resumed.state().expect("a state") == fresh.state().expect("a state"));
    }
}

#[test]
fn inference_needs_less_and_gives_the_same() {
    let plan = Network { depth: 13, width: 0.25, ..network() }.plan().expect("a plan");
    let state = start(&plan);
    let (trains, infers) = (settings(Some(sgd()), 2), settings(None, 2));
    let mut training = CpuEngine::new(plan.clone(), trains.clone(), &state).expect("fits");
    let mut inference = CpuEngine::new(plan.clone(), infers.clone(), &state).expect("fits");
    assert_eq!(training.memory(), memory_of(&plan, &trains).expect("known").total());
    assert_eq!(inference.memory(), memory_of(&plan, &infers).expect("known").total());
    let (needs, all) = (inference.memory(), training.memory());
    assert!(needs < all / 2, "{needs} of {all} bytes");
    let input: Vec<f32> = (0..3 * 32 * 32 * 3).map(|i| (i as f32 * 0.37).sin()).collect();
    let batch = Batch::Activations { input: &input, labels: &[] };
    let (mut a, mut b) = (Vec::new(), vec![1.0; 100]);
    training.logits(batch, &mut a).expect("logits");
    inference.logits(batch, &mut b).expect("logits");
    assert_eq!(a, b);
    assert!(inference.train_step(batch, 0.1).is_err());
    assert!(inference.gradients().expect("none").is_empty());
}

#[test]
fn kept_filters_follow_the_state() {
    let plan = Network { depth: 13, width: 0.25, image_size: 64, ..network() }.plan().expect("a plan");
    let first = start(&plan);
    let mut second = start(&plan);
    second.tensors.iter_mut().flatten().for_each(|v| *v *= 0.8);
    let single = |optimizer, threads| Settings { batch_size: 1, ..settings(optimizer, threads) };
    let input: Vec<f32> = (0..64 * 64 * 3).map(|i| (i as f32 * 0.37).sin()).collect();
    let batch = Batch::Activations { input: &input, labels: &[] };
    let logits = |engine: &mut dyn Engine| {
        let mut logits = Vec::new();
        engine.logits(batch, &mut logits).expect("logits");
        logits
    };
    let mut inference = CpuEngine::new(plan.clone(), single(None, 2), &first).expect("fits");
    let mut before = Vec::new();
    for state in [&first, &second] {
        inference.load_state(state).expect("fits");
        let got = logits(&mut inference);
        let mut oracle = ReferenceEngine::<f64>::new(plan.clone(), single(None, 1), state).expect("an engine");
        let error = distance(&got, &logits(&mut oracle));
        assert!(error < 1e-4, "logits differ by {error}");
        // Training transforms filters each time. The bits are the same, for any number of threads.
        for other in [single(None, 3), single(Some(sgd()), 2)] {
            let mut other = CpuEngine::new(plan.clone(), other, state).expect("fits");
            assert_eq!(got, logits(&mut other));
        }
        assert!(got != before);
        before = got;
    }
}

#[test]
fn a_diverged_network_shows_in_its_loss() {
    for batch_norm in [true, false] {
        let plan = Network { batch_norm, ..network() }.plan().expect("a plan");
        let mut state = start(&plan);
        state.tensors[0][5] = f32::NAN;
        let mut engine = CpuEngine::new(plan, settings(Some(sgd()), 2), &state).expect("fits");
        let input = vec![0.5; 2 * 32 * 32 * 3];
        engine.train_step(Batch::Activations { input: &input, labels: &[1, 2] }, 0.1).expect("a step");
        let metrics = engine.drain_metrics().expect("metrics");
        assert!(metrics[0].loss.is_nan() && metrics[0].top1 == 0, "{metrics:?}");
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_changes_nothing() {
    let plan = network().plan().expect("a plan");
    let state = start(&plan);
    for wrong in [
        Settings { batch_size: 0, ..settings(None, 1) },
        Settings { threads: 0, ..settings(None, 1) },
        Settings { batch_size: 1 << 40, ..settings(None, 1) },
    ] {
        assert!(CpuEngine::new(plan.clone(), wrong, &state).is_err());
    }
    let mut short = state.clone();
    short.tensors[3].pop();
    assert!(CpuEngine::new(plan.clone(), settings(None, 1), &short).is_err());
    let mut engine = CpuEngine::new(plan.clone(), settings(Some(sgd()), 2), &state).expect("fits");
    assert!(engine.load_state(&short).is_err());

    let source = images(32, 32);
    let all = picks(0, 4);
    assert!(engine.train_step(Batch::Picks(Source::Train, &all), 0.1).is_err(), "nothing is attached");
    assert!(engine.attach(Source::Train, Images { count: COUNT + 1, ..source.clone() }).is_err());
    assert!(engine.attach(Source::Train, Images { labels: Arc::new([1]), ..source.clone() }).is_err());
    engine.attach(Source::Train, source.clone()).expect("fits");
    engine.attach(Source::Validation, Images { labels: Arc::new([]), ..source }).expect("fits");
    let outside = [Pick::of(COUNT as u32)];
    assert!(engine.train_step(Batch::Picks(Source::Train, &outside), 0.1).is_err());
    assert!(engine.train_step(Batch::Picks(Source::Validation, &all), 0.1).is_err(), "no labels");
    assert!(engine.train_step(Batch::Picks(Source::Train, &[]), 0.1).is_err());
    let untaught = Batch::Taught(Source::Train, &all, &[0.1]);
    assert!(engine.train_step(untaught, 0.1).is_err(), "nobody teaches");
    assert!(engine.train_step(Batch::Picks(Source::Train, &picks(0, BATCH + 1)), 0.1).is_err());
    let input = vec![0.0; 2 * 32 * 32 * 3];
    for (input, labels) in [(&input[1..], &[0, 0][..]), (&input, &[0]), (&input, &[0, 9]), (&input, &[]), (&[], &[])] {
        assert!(engine.train_step(Batch::Activations { input, labels }, 0.1).is_err(), "{labels:?}");
    }
    assert!(engine.state().expect("a state") == state, "refused calls changed the state");
    assert!(engine.drain_metrics().expect("none").is_empty());
}

#[test]
fn the_device_says_what_it_is() {
    let plan = network().plan().expect("a plan");
    let state = start(&plan);
    let engine = CpuEngine::new(plan, settings(None, 2), &state).expect("fits");
    let device = engine.device();
    assert_eq!((device.engine.as_str(), device.threads), ("cpu", 2));
    assert!(!device.adapter.is_empty());
    assert_eq!(device.driver, InstructionSet::detect().name());
}
