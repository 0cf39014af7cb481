//! Any bytes as weights and as a checkpoint of the narrowest VGG-11: refused, or what is read fits the network, can be
//! trained on, and is the same after it is written and read again.

#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use vggkit::engine::{LossScaling, Optimizer, State};
use vggkit::training::checkpoint::{self, Classes, Progress};
use vggkit::vgg::{Network, Plan, initialisation, weights};
use vggkit_fuzz::{scratch, seed};

struct Setting {
    run: PathBuf,
    plan: Plan,
}

static SETTING: OnceLock<Setting> = OnceLock::new();
const SGD: Optimizer = Optimizer::sgd(0.9, 0.0);

fn setting() -> &'static Setting {
    SETTING.get_or_init(|| {
        let network = Network { width: 1e-4, image_size: 32, classes: 2, ..Network::default() };
        Setting { run: scratch("checkpoints"), plan: network.plan().expect("a plan") }
    })
}

fn seeds() {
    let Setting { run, plan } = setting();
    let mut state = State::new(initialisation::initialise(plan, 1));
    let classes = Classes { wnids: vec!["n1".into(), "n2".into()], names: vec!["one".into(), "two".into()] };
    let sealed = checkpoint::Sealed::new(&state).expect("finite");
    checkpoint::save_best(run, plan, &sealed, &Progress::default(), &classes).expect("a file");
    seed("checkpoints", "best", &fs::read(checkpoint::best_path(run)).expect("its bytes"));
    state.step = 7;
    state.variants = BTreeMap::from([("features.0".into(), "winograd4".into())]);
    state.loss_scaling = Some(LossScaling::default());
    let trained: Vec<Vec<f32>> =
        plan.tensors().iter().filter(|spec| spec.role.trained()).map(|spec| vec![0.25; spec.elements()]).collect();
    let progress = Progress { step: 7, epoch: 2, batch: 3, loss_sum: 1.5, samples: 9, ..Progress::default() };
    for (name, optimizer) in [("adam", Optimizer::adam()), ("sgd", SGD)] {
        state.moments = vec![trained.clone(); optimizer.moments().len()];
        state.averages = if name == "adam" { state.tensors.clone() } else { Vec::new() };
        let sealed = checkpoint::Sealed::new(&state).expect("finite");
        checkpoint::save_last(run, plan, &sealed, &optimizer, &progress, &classes).expect("a file");
        seed("checkpoints", name, &fs::read(checkpoint::last_path(run)).expect("its bytes"));
    }
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let Setting { run, plan } = setting();
    let path = run.join("input.safetensors");
    fs::write(&path, bytes).expect("the input is written");
    let fits = |tensors: &[Vec<f32>]| {
        let specs = plan.tensors();
        tensors.len() == specs.len() && tensors.iter().zip(specs).all(|(values, spec)| values.len() == spec.elements())
    };
    let Ok(loaded) = weights::load(&path, plan) else {
        assert!(checkpoint::load(&path, plan, None).is_err(), "no weights, and yet a checkpoint");
        return;
    };
    assert!(fits(&loaded.tensors));
    for optimizer in [None, Some(Optimizer::adam()), Some(SGD)] {
        let Ok(read) = checkpoint::load(&path, plan, optimizer.as_ref()) else { continue };
        assert!(fits(&read.state.tensors) && (read.state.averages.is_empty() || fits(&read.state.averages)));
        assert_eq!((read.classes.wnids.len(), read.classes.names.len()), (2, 2));
        let Progress { step, epoch, samples, top1, loss_sum, seconds, .. } = read.progress;
        assert!(step == read.state.step && epoch >= 1 && top1 <= samples && loss_sum.is_finite() && seconds >= 0.0);
        let Some(optimizer) = optimizer else { continue };
        if let Ok(sealed) = checkpoint::Sealed::new(&read.state) {
            checkpoint::save_last(run, plan, &sealed, &optimizer, &read.progress, &read.classes).expect("a file");
            let again = checkpoint::load(&checkpoint::last_path(run), plan, Some(&optimizer)).expect("it loads again");
            assert_eq!((again.state.tensors, again.progress), (read.state.tensors, read.progress));
            assert_eq!((again.state.moments, again.classes), (read.state.moments, read.classes));
            assert_eq!(again.state.averages, read.state.averages);
        }
    }
});
