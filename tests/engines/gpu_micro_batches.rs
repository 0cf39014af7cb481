//! Batches in micro-batches on the GPU engine, of one rank and of several, also together with the CPU engine. Runs on a software
//! adapter.

use std::sync::Arc;

use vggkit::engine::cpu::CpuEngine;
use vggkit::engine::gpu::{GpuEngine, Options};
use vggkit::engine::peers::{Peers, Together};
use vggkit::engine::{Precision, Settings, State, Update};
use vggkit::vgg::initialisation::initialise;
use vggkit::vgg::{Freeze, Network, Plan};

use crate::micro_batches::{Counting, alone, distance, network, ranks, settings, steps};

fn options() -> Options {
    Options { adapter: Some("llvmpipe".into()), ..Options::default() }
}

fn on_gpu(plan: &Plan, settings: Settings, together: &Together, precision: Precision) -> (Vec<f32>, State) {
    let state = State::new(initialise(plan, 1));
    let options = Options { precision, ..options() };
    let mut engine = GpuEngine::with_peers(plan.clone(), settings, &state, &options, together).expect("llvmpipe");
    steps(&mut engine)
}

fn on_cpu(plan: &Plan, settings: Settings, together: Together) -> (Vec<f32>, State) {
    let state = State::new(initialise(plan, 1));
    steps(&mut CpuEngine::with_peers(plan.clone(), settings, state, together).expect("an engine"))
}

/// Networks with and without batch normalisation, also with its first two convolutions frozen; their classes are padded on a device.
fn plans() -> [Plan; 4] {
    let networks =
        [Network { batch_norm: false, ..network() }, network(), Network { depth: 16, conv1x1: true, ..network() }];
    let [plain, normalised, deep] = networks.map(|network| network.plan().expect("a plan"));
    let frozen = normalised.clone().freeze(Freeze::Convolutions(2)).expect("layers");
    [plain, normalised, deep, frozen]
}

/// What the CPU engine makes of the same micro-batches, running statistics included.
#[test]
fn micro_batches_are_those_of_the_cpu_engine() {
    for plan in plans() {
        for micro_batch in [3, 11] {
            let together = alone(micro_batch, false).expect("one rank");
            let (expected_losses, expected) = on_cpu(&plan, settings(), together.clone());
            let (losses, found) = on_gpu(&plan, settings(), &together, Precision::F32);
            let error = distance(&found, &expected);
            assert!(error < 2e-4, "{micro_batch}: {error}");
            assert!(losses.iter().zip(&expected_losses).all(|(a, b)| (a - b).abs() < 1e-4), "{losses:?}");
        }
    }
}

/// Also with more ranks than the last batch has micro-batches, with clipped gradients and an average, and with a scaled loss.
#[test]
fn any_number_of_ranks_has_the_same_bits_on_the_gpu() {
    let update = Update { clip_norm: Some(0.1), ema: Some(0.9), ..Update::default() };
    let settings = Settings { update, ..settings() };
    let [plain, normalised, _, frozen] = plans();
    for (plan, precision) in [
        (&plain, Precision::F32),
        (&normalised, Precision::F32),
        (&normalised, Precision::F16),
        (&frozen, Precision::F32),
    ] {
        let one = on_gpu(plan, settings.clone(), &alone(3, false).expect("one rank"), precision);
        for count in [2, 3] {
            let found = ranks(count, 3, |_, peers| {
                on_gpu(plan, settings.clone(), &Together { peers, sync_batch_norm: false }, precision)
            });
            for (rank, found) in found.iter().enumerate() {
                assert!(*found == one, "rank {rank} of {count} in {precision:?}");
            }
        }
    }
}

/// A step keeps none of the buffers that it was given.
#[test]
fn buffers_that_travel_come_back_on_the_gpu() {
    let peers = Arc::new(Counting::new(2));
    let together = Together { peers: Arc::clone(&peers) as Arc<dyn Peers>, sync_batch_norm: false };
    let [_, plan, ..] = plans();
    on_gpu(&plan, settings(), &together, Precision::F32);
    assert_eq!(peers.kept(), 0);
}

/// Gradients travel as torchvision has them. Each engine makes the update, and rounds, by itself.
#[test]
fn a_gpu_and_a_processor_train_together() {
    let update = Update { clip_norm: Some(0.1), ..Update::default() };
    let settings = Settings { update, ..settings() };
    for plan in plans() {
        let (_, expected) = on_cpu(&plan, settings.clone(), alone(3, false).expect("one rank"));
        let found = ranks(3, 3, |rank, peers: Arc<dyn Peers>| {
            let together = Together { peers, sync_batch_norm: false };
            match rank {
                1 => on_gpu(&plan, settings.clone(), &together, Precision::F32),
                _ => on_cpu(&plan, settings.clone(), together),
            }
        });
        for (rank, (losses, state)) in found.iter().enumerate() {
            assert_eq!(losses.len(), 3);
            let error = distance(state, &expected);
            assert!(error < 2e-4, "rank {rank}: {error}");
        }
        assert!(found[0] == found[2], "processors round alike");
    }
}

#[test]
fn batch_normalisation_over_the_batch_is_refused() {
    let plan = network().plan().expect("a plan");
    let state = State::new(initialise(&plan, 1));
    let together = alone(3, true).expect("one rank");
    let error = GpuEngine::with_peers(plan, settings(), &state, &options(), &together).err().expect("it does not");
    assert!(error.to_string().contains("micro-batch"), "{error}");
}
