//! Loss scaling and the optimiser behind it against [`reference::loss_scaling`](crate::engine::cpu::reference::loss_scaling)
//! and [`reference::optimizer`](crate::engine::cpu::reference::optimizer), over steps that overflow and steps that do not.

use super::comparison::{Check, distance, execute, read_activations, stored, unwritten, unwritten_activations, values};
use super::optimizer::RULES;
use crate::engine::cpu::reference::{loss_scaling as twin, optimizer as twin_optimizer};
use crate::engine::gpu::layers::loss_scaling;
use crate::engine::gpu::layers::optimizer;
use crate::engine::gpu::layers::optimizer::{Decided, Tensors};
use crate::engine::gpu::plumbing::device::Gpu;
use crate::engine::gpu::plumbing::step::StepUniform;
use crate::engine::{LossScaling, Optimizer};
use crate::error::Result;

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    let mut told = |variant: &str, sizes: String, error: f64, allowed: f64| {
        tell(Check { operation: "loss_scaling", variant: variant.into(), sizes, error, allowed });
    };
    for (samples, width) in [(1, 4), (3, 12), (67, 200)] {
        told("scale", format!("{samples} x {width}"), scale(gpu, samples, width)?, 0.0);
    }
    // 64 invocations of vec4 are a workgroup: within one, across several, and beyond 65,535 of them.
    for count in [4, 1028, 65_537 * 256 + 4] {
        told("find", format!("{count} gradients"), find(gpu, count)?, 0.0);
    }
    for (variant, rule, _) in RULES {
        for (first, steps) in [(0, 12), (1_234, 8), (1_000_000, 4)] {
            let sizes = format!("{steps} steps after {first}");
            // The optimiser's own bound is 1e-6; 1 - beta^t is a few ulp off here, where the host has it in f64.
            told(variant, sizes, steps_of(gpu, &rule, first, steps)?, 2e-6);
        }
    }
    Ok(())
}

/// Tells the device's buffer of a state that no step has left.
fn start(gpu: &Gpu, state: LossScaling) -> Result<crate::engine::gpu::plumbing::device::Slice> {
    let scaling = unwritten(gpu, 9)?;
    loss_scaling::write(gpu, &scaling, &state);
    Ok(scaling)
}

/// Powers of two round nothing but what activations are rounded to; what is beyond the samples stays.
fn scale(gpu: &Gpu, samples: usize, width: usize) -> Result<f64> {
    let scaling = start(gpu, LossScaling { scale: 1024.0, ..LossScaling::default() })?;
    let unscaled = values(1, (samples + 2) * width);
    let from = gpu.upload("gradient", &unscaled)?;
    let d_logits = unwritten_activations(gpu, unscaled.len())?;
    execute(gpu, &[loss_scaling::scale(gpu, width, &from, &d_logits, &scaling)?], samples, StepUniform::default())?;
    let expected = stored(gpu, unscaled.iter().take(samples * width).map(|v| 1024.0 * v).collect());
    let ours = read_activations(gpu, &d_logits)?;
    let untouched = ours[expected.len()..].iter().all(|v| v.is_nan());
    Ok(if untouched { distance(&ours[..expected.len()], &expected) } else { f64::INFINITY })
}

/// One number that is not finite, at either end or in the middle, is found; none is invented. 0 where all is right.
fn find(gpu: &Gpu, count: usize) -> Result<f64> {
    let sgd = Optimizer::sgd(0.0, 0.0);
    let mut values = values(2, count);
    values[1] = f32::MAX; // the largest that is finite
    let gradients = gpu.upload("gradients", &values)?;
    let mut wrong = 0;
    for (at, value) in [(0, 0.5), (0, f32::NAN), (count / 2 + 1, f32::INFINITY), (count - 1, f32::NEG_INFINITY)] {
        let scaling = start(gpu, LossScaling::default())?;
        let calls = loss_scaling::decide(gpu, &sgd, 2000, &gradients, &scaling)?;
        let place = crate::engine::gpu::plumbing::device::Slice {
            buffer: gradients.buffer.clone(),
            offset: at as u64 * 4,
            bytes: 4,
        };
        gpu.write(&place, &[value]);
        execute(gpu, &calls, 1, StepUniform::default())?;
        gpu.write(&place, &[values[at]]);
        let mut expected = LossScaling::default();
        twin::decide(&mut expected, 2000, &[value]);
        wrong += usize::from(loss_scaling::read(gpu, &scaling)?.0 != expected);
    }
    Ok(wrong as f64)
}

/// Steps after `first` others, every third of which overflows until the scale, doubled after two updates, has moved both
/// ways. The state must be the twin's to the bit; returns the error of parameters and moments.
fn steps_of(gpu: &Gpu, rule: &Optimizer, first: u64, steps: u64) -> Result<f64> {
    let count = 1028;
    let rate = 1e-3f32;
    let mut state = LossScaling { scale: 512.0, good_steps: 0, skipped_steps: (first / 2) as u32 };
    let scaling = start(gpu, state)?;
    let mut parameters = values(1, count);
    let mut moments = vec![vec![0.0f32; count]; rule.moments().len()];
    let ours = gpu.upload("parameters", &parameters)?;
    let gradients = gpu.buffer("gradients", count)?;
    let buffers: Vec<_> = moments.iter().map(|m| gpu.upload("moment", m)).collect::<Result<_>>()?;
    let mut calls = loss_scaling::decide(gpu, rule, 2, &gradients, &scaling)?;
    let rounded = unwritten_activations(gpu, count)?;
    let tensors = Tensors { parameters: &ours, gradients: &gradients, moments: &buffers };
    calls.extend(optimizer::update(gpu, rule, &(0..count), &tensors, Decided::Scaled([&scaling, &rounded]))?);
    for step in 0..steps {
        let gradient = values(10 + step, count);
        let mut scaled: Vec<f32> = gradient.iter().map(|g| g * state.scale).collect();
        if step % 3 == 1 {
            scaled[step as usize * 7] = f32::INFINITY;
        }
        gpu.write(&gradients, &scaled);
        let done = first + step;
        let halves = [done as u32, (done >> 32) as u32];
        execute(gpu, &calls, 1, StepUniform { done: halves, learning_rate: rate, ..StepUniform::default() })?;
        let update = LossScaling::updates(Some(&state), done) + 1;
        if twin::decide(&mut state, 2, &scaled) {
            let mut slots: Vec<&mut [f32]> = moments.iter_mut().map(Vec::as_mut_slice).collect();
            twin_optimizer::update(rule, f64::from(rate), update, &mut parameters, &gradient, &mut slots);
        }
        if loss_scaling::read(gpu, &scaling)?.0 != state {
            return Ok(f64::INFINITY);
        }
    }
    let updated = gpu.read::<f32>(&ours)?;
    if read_activations(gpu, &rounded)? != stored(gpu, updated.clone()) {
        return Ok(f64::INFINITY);
    }
    let mut error = distance(&updated, &parameters);
    for (ours, twin) in buffers.iter().zip(&moments) {
        error = error.max(distance(&gpu.read::<f32>(ours)?, twin));
    }
    Ok(error)
}
