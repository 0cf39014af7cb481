//! Loss, gradient and hits against [`reference::cross_entropy`](crate::engine::cpu::reference::cross_entropy) in f64,
//! with ties, NaN and infinities.

use super::comparison::{Check, distance, execute_part, narrow, padded, unpadded, unwritten, values, wide, worst};
use crate::engine::cpu::reference::cross_entropy as twin;
use crate::engine::gpu::layers::cross_entropy;
use crate::engine::gpu::layers::cross_entropy::{Aim, Tensors};
use crate::engine::gpu::plumbing::device::Gpu;
use crate::engine::gpu::plumbing::step::StepUniform;
use crate::engine::sample::Target;
use crate::error::Result;

/// What is compared: a row of logits and a target a sample.
struct Case {
    variant: &'static str,
    sizes: String,
    classes: usize,
    aim: Aim,
    logits: Vec<f32>,
    targets: Vec<Target>,
}

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    for (classes, samples) in [(1, 1), (3, 2), (10, 70), (200, 5), (257, 3), (5000, 2), (1_000_000, 2)] {
        for (smoothing, taught) in [(0.0, 0.0), (0.1, 0.0), (0.0, 1.0), (0.1, 0.6)] {
            let aim = Aim { smoothing, taught };
            let logits: Vec<f32> = values(1, samples * classes).into_iter().map(|v| 8.0 * v).collect();
            let label = |i: usize| (i * 7 % classes) as u32;
            let target = |i| match i % 3 {
                0 => Target::of(label(i)),
                rest => Target::mixed([label(i), label(i + 1)], [0.3, 0.9][rest - 1]),
            };
            let targets: Vec<Target> = (0..samples).map(target).collect();
            let sizes = format!("{samples} x {classes} classes, smoothing {smoothing}, taught {taught}");
            let case = Case { variant: "loss", sizes, classes, aim, logits, targets };
            compare(gpu, tell, &case)?;
        }
    }
    for (sizes, logits) in special() {
        let targets: Vec<Target> = (0..logits.len() as u32 / 7).map(|i| Target::of(i % 7)).collect();
        let aim = Aim { smoothing: 0.0, taught: 0.0 };
        compare(gpu, tell, &Case { variant: "hits", sizes: sizes.into(), classes: 7, aim, logits, targets })?;
    }
    Ok(())
}

/// Seven logits a sample, one sample for each class as the label.
fn special() -> Vec<(&'static str, Vec<f32>)> {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let rows = |row: [f32; 7]| row.repeat(7);
    vec![
        ("all equal", rows([0.5; 7])),
        ("ties", rows([1.0, 3.0, 1.0, 3.0, 2.0, 2.0, 3.0])),
        ("far apart", rows([300.0, -300.0, 0.0, 299.0, 300.0, -1e30, 80.0])),
        ("NaN", rows([1.0, nan, 0.0, 2.0, 3.0, nan, -1.0])),
        ("all NaN", rows([nan; 7])),
        ("infinity", rows([1.0, inf, 0.0, inf, 3.0, 7.0, -1.0])),
        ("minus infinity", rows([1.0, -inf, 0.0, 2.0, -inf, -inf, -1.0])),
        ("all minus infinity", rows([-inf; 7])),
    ]
}

/// Numbers that are not finite as finite ones that no other stands for.
fn finite(values: &[f32]) -> Vec<f32> {
    let stand_in = |v: f32| match v {
        v if v.is_nan() => 1e6,
        v if v.is_infinite() => 2e6 * v.signum(),
        v => v,
    };
    values.iter().map(|v| stand_in(*v)).collect()
}

/// Squares in shares of their sum, those of some classes 0.
fn shares(values: &[f32]) -> Vec<f32> {
    let kept = |(class, v): (usize, &f32)| if class % 5 == 3 { 0.0 } else { v * v };
    let squares: Vec<f32> = values.iter().enumerate().map(kept).collect();
    let sum: f64 = wide(&squares).iter().sum();
    squares.iter().map(|v| (f64::from(*v) / sum) as f32).collect()
}

/// As the second half of a batch, twice in one slot: the first time over what was there.
fn compare(gpu: &Gpu, tell: &mut dyn FnMut(Check), case: &Case) -> Result<()> {
    let Case { classes, aim, logits, targets, .. } = case;
    let (classes, aim) = (*classes, *aim);
    let samples = targets.len();
    let (first, batch) = (3, samples + 3);
    let mut gradient = vec![0.0; logits.len()];
    let (mut losses, mut top1, mut top5) = (Vec::new(), 0, 0);
    let taught: Vec<f32> = values(2, logits.len()).chunks_exact(classes).flat_map(shares).collect();
    let rows = logits.chunks_exact(classes).zip(gradient.chunks_exact_mut(classes)).zip(taught.chunks_exact(classes));
    for (((row, gradient), taught), target) in rows.zip(targets) {
        let row = wide(row);
        let teaching = (aim.taught > 0.0).then(|| (f64::from(aim.taught), taught));
        losses.push(twin::taught(&row, &[*target], f64::from(aim.smoothing), teaching, gradient));
        gradient.iter_mut().for_each(|g| *g /= batch as f64);
        let hits = twin::hits(&row, &[*target]);
        (top1, top5) = (top1 + hits.0, top5 + hits.1);
    }

    let ours = gpu.upload("logits", &padded(logits, classes))?;
    let all: Vec<Target> = [Target::of(u32::MAX); 3].into_iter().chain(targets.iter().copied()).collect();
    let on_device = gpu.upload("targets", &all)?;
    let before = vec![f32::NAN; first as usize * classes];
    let taught = gpu.upload("what teachers say", &[before, taught].concat())?;
    let d_logits = unwritten(gpu, padded(logits, classes).len())?;
    let (outcomes, metrics) = (unwritten(gpu, 4 * samples)?, unwritten(gpu, 4 * 3)?);
    let tensors = Tensors {
        logits: &ours,
        targets: &on_device,
        rows: &taught,
        d_logits: &d_logits,
        outcomes: &outcomes,
        metrics: &metrics,
    };
    let calls = cross_entropy::record(gpu, "loss", classes, aim, &tensors)?;
    for accumulate in [0, 1] {
        let (samples, batch) = (samples as u32, batch as u32);
        execute_part(
            gpu,
            &calls,
            StepUniform { samples, batch, first, accumulate, slot: 1, ..StepUniform::default() },
        )?;
    }
    let outcomes: Vec<f32> = gpu.read::<f32>(&outcomes)?.iter().step_by(4).copied().collect();
    let slots = gpu.read::<u32>(&metrics)?;
    let slot = &slots[4..8];
    let counts = [2 * top1, 2 * top5, 2 * samples as u32];
    let untouched = slots[..4].iter().chain(&slots[8..]).all(|v| f32::from_bits(*v).is_nan());
    let sum = 2.0 * losses.iter().sum::<f64>();
    let errors = [
        distance(&finite(&unpadded(&gpu.read::<f32>(&d_logits)?, classes)), &finite(&narrow(&gradient))),
        distance(&finite(&outcomes), &finite(&narrow(&losses))),
        distance(&finite(&[f32::from_bits(slot[0])]), &finite(&narrow(&[sum]))),
        if slot[1..] == counts && untouched { 0.0 } else { f64::INFINITY },
    ];
    let (variant, sizes, error) = (case.variant.to_owned(), case.sizes.clone(), worst(&errors));
    tell(Check { operation: "cross_entropy", variant, sizes, error, allowed: 3e-6 });
    Ok(())
}
