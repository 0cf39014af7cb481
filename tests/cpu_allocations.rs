//! A step of the CPU engine allocates none of its buffers. A test binary of its own, because it counts what the whole
//! process allocates.
#![allow(missing_docs, reason = "a test")]

use std::sync::Arc;

use vggkit::engine::cpu::CpuEngine;
use vggkit::engine::{Batch, Engine, Images, Normalisation, Optimizer, Pick, Settings, Source, State, Update};
use vggkit::vgg::Network;
use vggkit::vgg::initialisation::initialise;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const BATCH: usize = 6;
const STEPS: usize = 11;

/// Our kernels allocate nothing. The `gemm` crate packs a few KB for each slab of a linear layer's weight gradient (52 KB
/// a step of VGG-11 here) and of a 1x1 convolution (347 KB a step of VGG-16 with three of them), and threads are handed
/// their work; the engine's memory is more than 100 times these bounds.
const BYTES_A_STEP: u64 = 64 << 10;
const BYTES_A_STEP_1X1: u64 = 512 << 10;

/// The median of some steps: which thread gets what is chance, and one that gets a product of the `gemm` crate for the first
/// time allocates what it keeps for all others. Buffers of our own would be in each step.
fn bytes_a_step(engine: &mut CpuEngine, mut step: impl FnMut(&mut CpuEngine)) -> u64 {
    let mut bytes = [0; STEPS];
    for bytes in &mut bytes {
        let before = dhat::HeapStats::get().total_bytes;
        step(engine);
        *bytes = dhat::HeapStats::get().total_bytes - before;
    }
    bytes.sort_unstable();
    bytes[STEPS / 2]
}

#[test]
fn steps_allocate_next_to_nothing() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let normalisation = Normalisation { mean: [0.5; 3], std: [0.5; 3] };
    let optimizer = Some(Optimizer::adam());
    for (depth, conv1x1, batch_norm) in [(11, false, true), (11, false, false), (16, true, true)] {
        let allowed = if conv1x1 { BYTES_A_STEP_1X1 } else { BYTES_A_STEP };
        let network =
            Network { depth, conv1x1, width: 0.25, dropout: 0.5, classes: 10, batch_norm, ..Network::default() };
        let plan = network.plan().expect("a network");
        let state = State::new(initialise(&plan, 1));
        let settings = Settings {
            normalisation,
            optimizer,
            update: Update { clip_norm: Some(1.0), ema: Some(0.99), ..Update::default() },
            label_smoothing: 0.1,
            ..Settings::inference(BATCH, 2)
        };
        let mut engine = CpuEngine::new(plan, settings, &state).expect("an engine");
        let pixels = (0..BATCH * 64 * 64 * 3).map(|i| (i * 31 % 251) as u8).collect::<Vec<u8>>();
        let labels = (0..BATCH as u32).collect::<Vec<u32>>().into();
        let images = Images { pixels: Arc::new(pixels), count: BATCH, height: 64, width: 64, labels };
        engine.attach(Source::Train, images).expect("fits");
        let picks: Vec<Pick> = (0..BATCH as u32).map(Pick::of).collect();
        let mut logits = Vec::new();
        let trained = bytes_a_step(&mut engine, |engine| {
            engine.train_step(Batch::Picks(Source::Train, &picks), 1e-3).expect("a step");
        });
        let inferred = bytes_a_step(&mut engine, |engine| {
            engine.logits(Batch::Picks(Source::Train, &picks), &mut logits).expect("logits");
        });
        let network = format!("VGG-{depth}, 1x1 {conv1x1}, batch_norm {batch_norm}");
        assert!(engine.memory() > 100 * allowed, "{network}: {} bytes in all say little", engine.memory());
        assert!(trained <= allowed, "{network}: {trained} bytes a training step");
        assert!(inferred <= BYTES_A_STEP, "{network}: {inferred} bytes an inference");
    }
}
