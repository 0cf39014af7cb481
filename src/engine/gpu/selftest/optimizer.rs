//! Adam, AdamW and SGD against [`reference::optimizer`](crate::engine::cpu::reference::optimizer), over three steps, and a
//! range of the parameters that alone decays.

use super::comparison::{Check, distance, execute, values};
use crate::engine::cpu::reference::optimizer as twin;
use crate::engine::gpu::layers::loss_scaling;
use crate::engine::gpu::layers::optimizer;
use crate::engine::gpu::layers::optimizer::{Decided, Tensors};
use crate::engine::gpu::plumbing::device::Gpu;
use crate::engine::gpu::plumbing::step::StepUniform;
use crate::engine::{LossScaling, Optimizer};
use crate::error::Result;

/// Each rule with its weight decay and a learning rate.
pub(super) const RULES: [(&str, Optimizer, f32); 4] = [
    ("adam", Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 5e-4 }, 1e-3),
    ("adamw", Optimizer::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.05 }, 1e-2),
    ("sgd", Optimizer::sgd(0.9, 5e-4), 0.05),
    ("sgd, nesterov", Optimizer::Sgd { momentum: 0.9, weight_decay: 5e-4, nesterov: true }, 0.05),
];

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    let mut told = |variant: String, sizes: String, error: f64| {
        tell(Check { operation: "optimizer", variant, sizes, error, allowed: 1e-6 });
    };
    for (name, rule, rate) in RULES {
        // 64 invocations of vec4 are a workgroup: below one, exactly one, beyond; and beyond 65,535 of them.
        for count in [4, 256, 1028, 65_537 * 256 + 4] {
            let steps = if count > 1 << 20 { 1 } else { 3 };
            let sizes = format!("{count} parameters, {steps} steps");
            told(name.into(), sizes, steps_of(gpu, &rule, rate, &[(0..count, true)], (steps, None))?);
        }
        let ranges = [(0..384, true), (384..1412, false)];
        told(format!("{name}, some decay"), "384 of 1412".into(), steps_of(gpu, &rule, rate, &ranges, (3, None))?);
        let whole = [(0..1028, true)];
        told(format!("{name}, clipped"), "1028, 3 steps".into(), steps_of(gpu, &rule, rate, &whole, (3, Some(0.3)))?);
    }
    Ok(())
}

/// The error after so many steps over the ranges, each with whether it decays; with gradients multiplied by a factor, where
/// there is one.
fn steps_of(
    gpu: &Gpu,
    rule: &Optimizer,
    rate: f32,
    ranges: &[(std::ops::Range<usize>, bool)],
    (steps, factor): (u64, Option<f32>),
) -> Result<f64> {
    let count = ranges.last().map_or(0, |(range, _)| range.end);
    let mut parameters = values(1, count);
    let mut moments = vec![vec![0.0f32; count]; rule.moments().len()];
    let ours = gpu.upload("parameters", &parameters)?;
    let gradients = gpu.buffer("gradients", count)?;
    let states: Vec<_> = moments.iter().map(|m| gpu.upload("moment", m)).collect::<Result<_>>()?;
    let record = loss_scaling::buffer(gpu)?;
    if let Some(factor) = factor {
        // What is left out of the loss's scale is what gradients are multiplied by.
        loss_scaling::write(gpu, &record, &LossScaling { scale: 1.0 / factor, ..LossScaling::default() });
    }
    let decided = factor.map_or(Decided::Plain, |_| Decided::Clipped(&record));
    let tensors = Tensors { parameters: &ours, gradients: &gradients, moments: &states };
    let mut calls = Vec::new();
    for (range, decays) in ranges {
        let rule = if *decays { *rule } else { rule.with_decay(0.0) };
        calls.extend(optimizer::update(gpu, &rule, range, &tensors, decided)?);
    }
    for t in 1..=steps {
        let mut gradient = values(10 + t, count);
        gpu.write(&gradients, &gradient);
        let mut step = StepUniform::default();
        optimizer::rates(rule, rate, t, &mut step);
        execute(gpu, &calls, 1, step)?;
        gradient.iter_mut().for_each(|g| *g *= factor.unwrap_or(1.0));
        for (range, decays) in ranges {
            let rule = if *decays { *rule } else { rule.with_decay(0.0) };
            let mut slots: Vec<&mut [f32]> = moments.iter_mut().map(|m| &mut m[range.clone()]).collect();
            let (parameters, gradient) = (&mut parameters[range.clone()], &gradient[range.clone()]);
            twin::update(&rule, f64::from(rate), t, parameters, gradient, &mut slots);
        }
    }
    let mut error = distance(&gpu.read::<f32>(&ours)?, &parameters);
    for (ours, twin) in states.iter().zip(&moments) {
        error = error.max(distance(&gpu.read::<f32>(ours)?, twin));
    }
    Ok(error)
}
