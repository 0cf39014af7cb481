//! Five training steps of whole networks against PyTorch in float64: logits, loss and every gradient of step 1, the
//! losses, and what the steps lead to. `golden/make_golden.py` made the states and says what is in them.
//!
//! `VGGKIT_GOLDENS=<folder> cargo test --test engines golden` runs the cases of another folder as well.

#![expect(clippy::print_stdout, reason = "a test's figures are read with --nocapture")]

mod operations;
mod tensors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use tensors::{Tensors, distance};
use vggkit::engine::cpu::reference::ReferenceEngine;
use vggkit::engine::cpu::{CpuEngine, InstructionSet};
use vggkit::engine::gpu::{GpuEngine, Options};
use vggkit::engine::sample::Target;
use vggkit::engine::{Batch, Engine, Optimizer, Settings, State, Update, WeightSet};
use vggkit::vgg::{Freeze, Network, Operation, Plan};

/// A golden case as read from its folder.
struct Case {
    name: String,
    plan: Plan,
    optimizer: Optimizer,
    update: Update,
    learning_rate: f64,
    state: State,
    /// NHWC activations and labels.
    batches: Vec<(Vec<f32>, Vec<u32>)>,
    expected: Tensors,
}

/// What an engine made of a case, in f64 whatever the engine computes in.
struct Outcome {
    training_logits: Vec<f64>,
    gradients: Vec<Vec<f64>>,
    losses: Vec<f64>,
    tensors: Vec<Vec<f64>>,
    logits: Vec<f64>,
    /// Weights and logits of the average, where one is kept.
    averaged: Option<(Vec<Vec<f64>>, Vec<f64>)>,
}

/// Largest allowed distance of each group of tensors.
struct Tolerance {
    first_step: f64,
    losses: f64,
    after_five: f64,
}

impl Case {
    fn read(folder: &Path) -> Self {
        let meta = std::fs::read_to_string(folder.join("meta.json")).expect("meta.json");
        let meta: serde_json::Value = serde_json::from_str(&meta).expect("meta.json is JSON");
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        let size = |key: &str| meta[key].as_u64().expect("a count") as usize;
        let network = Network {
            depth: size("depth"),
            conv1x1: meta["c11"] == true,
            lrn: meta["lrn"] == true,
            batch_norm: meta["bn"] == true,
            width: number(&meta["width"]),
            dropout: 0.0,
            classes: size("classes"),
            image_size: size("size"),
            ..Network::default()
        };
        let given = &meta["optimiser"];
        let freeze = given["freeze"].as_u64().map_or(Freeze::None, |first| Freeze::Convolutions(first as usize));
        let plan = network.plan().and_then(|plan| plan.freeze(freeze)).expect("a plan");
        let weight_decay = given["weight_decay"].as_f64().unwrap_or(0.0);
        let optimizer = match given["name"].as_str() {
            Some("adam" | "adamw") => {
                let [beta1, beta2] = [0, 1].map(|index| number(&given["betas"][index]));
                let epsilon = number(&given["eps"]);
                match given["name"] == "adamw" {
                    true => Optimizer::AdamW { beta1, beta2, epsilon, weight_decay },
                    false => Optimizer::Adam { beta1, beta2, epsilon, weight_decay },
                }
            }
            Some("sgd") => Optimizer::Sgd {
                momentum: number(&given["momentum"]),
                weight_decay,
                nesterov: given["nesterov"] == true,
            },
            other => panic!("optimiser {other:?}"),
        };
        let init = vggkit::vgg::weights::load(&folder.join("init.safetensors"), &plan).expect("initial weights");
        let own = folder.join("data.safetensors");
        let data = Tensors::read(&if own.exists() { own } else { folder.join("../data.safetensors") });
        let batches =
            (0..5).map(|step| (activations(&data, &format!("x{step}")), data.labels(&format!("y{step}")))).collect();
        Self {
            name: folder.file_name().expect("a name").to_string_lossy().into_owned(),
            plan,
            optimizer,
            update: Update {
                no_decay: given["no_decay"].as_str().unwrap_or("none").parse().expect("roles"),
                clip_norm: given["clip_norm"].as_f64(),
                ema: given["ema"].as_f64(),
            },
            learning_rate: number(&given["lr"]),
            state: State::new(init.tensors),
            batches,
            expected: Tensors::read(&folder.join("f64.safetensors")),
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            optimizer: Some(self.optimizer),
            update: self.update,
            precise: true,
            ..Settings::inference(self.batches[0].1.len(), 2)
        }
    }

    /// For engines that compute in f32. Adam amplifies rounding where gradients are near zero; PyTorch's own float32
    /// does no better.
    fn single(&self) -> Tolerance {
        match self.optimizer {
            Optimizer::Sgd { .. } => Tolerance { first_step: 1e-5, losses: 1e-5, after_five: 1e-4 },
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => {
                Tolerance { first_step: 1e-5, losses: 1e-4, after_five: 1e-2 }
            }
        }
    }

    /// Runs the case through the engines' common contract.
    fn run(&self, engine: &mut dyn Engine) -> Outcome {
        let mut first = None;
        for (input, labels) in &self.batches {
            engine.train_step(Batch::Activations { input, labels }, self.learning_rate as f32).expect("a step");
            if first.is_none() {
                first = Some((engine.training_logits().expect("logits"), engine.gradients().expect("gradients")));
            }
        }
        let (training_logits, gradients) = first.expect("five batches");
        let metrics = engine.drain_metrics().expect("metrics");
        assert_eq!(metrics.iter().map(|m| m.step).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        let mut logits = |set| {
            let mut logits = Vec::new();
            engine.infer_with(set).expect("such weights");
            engine.logits(Batch::Activations { input: &self.batches[0].0, labels: &[] }, &mut logits).expect("logits");
            widen(&logits)
        };
        // The other way round than they are kept, and the live ones again: neither takes the other's place for good.
        let averaged = self.update.ema.map(|_| logits(WeightSet::Averaged));
        let live = logits(WeightSet::Live);
        let state = engine.state().expect("state");
        assert_eq!(state.averages.is_empty(), averaged.is_none());
        Outcome {
            training_logits: widen(&training_logits),
            gradients: gradients.iter().map(|g| widen(g)).collect(),
            losses: metrics.iter().map(|m| f64::from(m.loss)).collect(),
            tensors: state.tensors.iter().map(|t| widen(t)).collect(),
            logits: live,
            averaged: averaged.map(|logits| (state.averages.iter().map(|t| widen(t)).collect(), logits)),
        }
    }

    /// Runs the case through the reference in f64, with nothing rounded on the way.
    fn run_double(&self) -> Outcome {
        let mut engine =
            ReferenceEngine::<f64>::new(self.plan.clone(), self.settings(), &self.state).expect("an engine");
        let mut outcome = Outcome {
            training_logits: Vec::new(),
            gradients: Vec::new(),
            losses: Vec::new(),
            tensors: Vec::new(),
            logits: Vec::new(),
            averaged: None,
        };
        for (step, (input, labels)) in self.batches.iter().enumerate() {
            outcome.losses.push(engine.step(widen(input), &Target::each(labels), self.learning_rate).expect("a step"));
            if step == 0 {
                outcome.training_logits = engine.last_training_logits().to_vec();
                outcome.gradients = engine.last_gradients().to_vec();
            }
        }
        outcome.tensors = engine.tensors().to_vec();
        outcome.logits = engine.infer(widen(&self.batches[0].0));
        if self.update.ema.is_some() {
            engine.infer_with(WeightSet::Averaged).expect("they are kept");
            outcome.averaged = Some((engine.averages().to_vec(), engine.infer(widen(&self.batches[0].0))));
        }
        outcome
    }

    /// Names of the biases whose gradient is zero by algebra.
    fn zero_by_algebra(&self) -> Vec<String> {
        let pairs = self.plan.layers.windows(2);
        pairs
            .filter(|p| matches!(p[0].operation, Operation::Conv2d { .. }) && p[1].operation == Operation::BatchNorm2d)
            .map(|p| format!("{}.bias", p[0].name))
            .collect()
    }

    /// Holds an outcome against PyTorch's and prints the worst distance of each group.
    fn judge(&self, engine: &str, outcome: &Outcome, tolerance: &Tolerance) {
        let expected = &self.expected;
        let mut worst: BTreeMap<&str, (f64, String)> = BTreeMap::new();
        let mut failures = Vec::new();
        let mut compare = |group: &'static str, name: &str, ours: &[f64], theirs: &[f64], limit: f64| {
            let distance = distance(ours, theirs);
            let entry = worst.entry(group).or_insert((0.0, String::new()));
            if distance.is_nan() || distance >= entry.0 {
                *entry = (distance, name.to_owned());
            }
            if distance.is_nan() || distance > limit {
                failures.push(format!("{group} {name}: {distance:.2e}, at most {limit:.0e}"));
            }
        };
        compare("logits0", "", &outcome.training_logits, &expected.f64("logits0"), tolerance.first_step);
        let losses = expected.f64("loss");
        compare("loss0", "", &outcome.losses[..1], &losses[..1], tolerance.first_step);
        for (ours, theirs) in outcome.losses.iter().zip(&losses) {
            compare("losses", "", &[*ours], &[*theirs], tolerance.losses);
        }
        let specs = self.plan.tensors();
        let trained: Vec<_> = specs.iter().filter(|s| s.trained()).collect();
        let zero = self.zero_by_algebra();
        assert_eq!(outcome.gradients.len(), trained.len());
        assert_eq!(expected.names("grad.").len(), trained.len(), "PyTorch trains other tensors");
        for (spec, gradient) in trained.iter().zip(&outcome.gradients) {
            if zero.contains(&spec.name) {
                assert!(gradient.iter().all(|g| *g == 0.0), "{engine} {}: {} is not exactly 0", self.name, spec.name);
            } else {
                let theirs = expected.f64(&format!("grad.{}", spec.name));
                assert!(theirs.iter().any(|g| *g != 0.0), "{}: a golden gradient of zero tests nothing", spec.name);
                compare("gradients", &spec.name, gradient, &theirs, tolerance.first_step);
            }
        }
        for (spec, values) in specs.iter().zip(&outcome.tensors) {
            let (group, prefix) = if spec.role.trained() { ("parameters", "param5") } else { ("statistics", "buf5") };
            let theirs = expected.f64(&format!("{prefix}.{}", spec.name));
            compare(group, &spec.name, values, &theirs, if spec.frozen { 0.0 } else { tolerance.after_five });
        }
        compare("evaluation", "", &outcome.logits, &expected.f64("eval_logits"), tolerance.after_five);
        assert_eq!(outcome.averaged.is_some(), !expected.names("avg5.").is_empty());
        if let Some((averages, logits)) = &outcome.averaged {
            for (spec, values) in specs.iter().zip(averages) {
                let theirs = expected.f64(&format!("avg5.{}", spec.name));
                compare("averages", &spec.name, values, &theirs, tolerance.after_five);
            }
            compare("averaged", "", logits, &expected.f64("avg_eval_logits"), tolerance.after_five);
        }
        let groups = [
            "logits0",
            "loss0",
            "gradients",
            "losses",
            "parameters",
            "statistics",
            "evaluation",
            "averages",
            "averaged",
        ];
        let figures: Vec<_> = groups
            .iter()
            .filter_map(|group| worst.get(group).map(|(distance, _)| format!("{group} {distance:.1e}")))
            .collect();
        println!("{:20} {engine:16} {}", self.name, figures.join("  "));
        assert!(failures.is_empty(), "{engine} {}:\n{}", self.name, failures.join("\n"));
    }
}

/// Activations [N,3,S,S] as NHWC. Bytes stand for x / 128 - 1.
fn activations(data: &Tensors, name: &str) -> Vec<f32> {
    let values = data.f64(name);
    let shape = data.shape(name);
    let pixels = shape[2] * shape[3];
    let bytes = data.dtype(name) == Dtype::U8;
    let mut nhwc = Vec::with_capacity(values.len());
    for image in values.chunks_exact(3 * pixels) {
        for pixel in 0..pixels {
            for channel in 0..3 {
                let value = image[channel * pixels + pixel];
                nhwc.push(if bytes { value / 128.0 - 1.0 } else { value } as f32);
            }
        }
    }
    nhwc
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// The cases of a folder, sorted.
fn cases(folder: &Path) -> Vec<Case> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut folders: Vec<PathBuf> =
        entries.map(|e| e.expect("an entry").path()).filter(|p| p.join("meta.json").exists()).collect();
    folders.sort();
    assert!(!folders.is_empty(), "{} has no golden cases", folder.display());
    folders.iter().map(|f| Case::read(f)).collect()
}

fn small() -> Vec<Case> {
    cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/golden"))
}

fn check_double(case: &Case) {
    // Small cases store what five steps lead to as f32. And Adam makes steps of PyTorch's own noise of 1e-15 in
    // gradients that are zero by algebra, which moves those biases by up to 1e-7 of themselves.
    let tolerance = Tolerance { first_step: 1e-11, losses: 1e-11, after_five: 1e-6 };
    case.judge("reference f64", &case.run_double(), &tolerance);
}

fn check_single(case: &Case) {
    let mut engine = ReferenceEngine::<f32>::new(case.plan.clone(), case.settings(), &case.state).expect("an engine");
    case.judge("reference f32", &case.run(&mut engine), &case.single());
}

fn check_fast(case: &Case) {
    let sets = [InstructionSet::Portable, InstructionSet::Avx2, InstructionSet::Avx512];
    for set in sets.into_iter().filter(|s| s.available()) {
        let mut engine =
            CpuEngine::with_instruction_set(case.plan.clone(), case.settings(), &case.state, set).expect("an engine");
        case.judge(&format!("cpu {}", set.name()), &case.run(&mut engine), &case.single());
    }
}

/// `precise`: Winograd F(4x4, 3x3) has wider bounds, in `gpu.rs`.
fn check_gpu(case: &Case) {
    let options = Options { adapter: Some("llvmpipe".into()), checked: true, ..Options::default() };
    let mut engine = GpuEngine::new(case.plan.clone(), case.settings(), &case.state, &options)
        .expect("an engine on llvmpipe (Debian: mesa-vulkan-drivers)");
    case.judge("gpu", &case.run(&mut engine), &case.single());
}

#[test]
fn reference_in_f64_is_pytorch_in_float64() {
    small().iter().for_each(check_double);
}

#[test]
fn reference_in_f32_stays_within_the_tolerances() {
    small().iter().for_each(check_single);
}

#[test]
fn cpu_engine_stays_within_the_tolerances() {
    small().iter().for_each(check_fast);
}

#[test]
fn gpu_engine_stays_within_the_tolerances() {
    small().iter().for_each(check_gpu);
}

#[test]
fn cases_of_the_folder_in_the_environment() {
    let Some(folder) = std::env::var_os("VGGKIT_GOLDENS") else {
        println!("skipped: VGGKIT_GOLDENS names no folder of golden cases");
        return;
    };
    for case in cases(Path::new(&folder)) {
        check_double(&case);
        check_single(&case);
        check_fast(&case);
        check_gpu(&case);
    }
}
