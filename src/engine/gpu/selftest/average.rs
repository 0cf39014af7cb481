//! The moving average against [`reference::average`](crate::engine::cpu::reference::average), with the share from the host and
//! from the device, and a step that is left out.

use super::comparison::{Check, distance, execute, values};
use crate::engine::cpu::reference::average as twin;
use crate::engine::gpu::layers::{average, loss_scaling};
use crate::engine::gpu::plumbing::device::Gpu;
use crate::engine::gpu::plumbing::step::StepUniform;
use crate::engine::{LossScaling, Update};
use crate::error::Result;

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    // 64 invocations of vec4 are a workgroup: below one, exactly one, beyond; and beyond 65,535 of them.
    for count in [4, 256, 1028, 65_537 * 256 + 4] {
        for scaled in [false, true] {
            let variant = if scaled { "follow, loss scaled" } else { "follow" };
            let error = steps_of(gpu, count, scaled)?;
            let sizes = format!("{count} weights");
            tell(Check { operation: "average", variant: variant.into(), sizes, error, allowed: 1e-6 });
        }
    }
    Ok(())
}

/// The error after four steps, early and late ones, the third of which loss scaling leaves out where there is any.
fn steps_of(gpu: &Gpu, count: usize, scaled: bool) -> Result<f64> {
    let decay = 0.99;
    let mut averages = values(1, count);
    let averaged = gpu.upload("averaged", &averages)?;
    let live = gpu.buffer("live", count)?;
    let mut state = LossScaling { skipped_steps: 5, ..LossScaling::default() };
    let record = loss_scaling::buffer(gpu)?;
    let gradients = gpu.upload("gradients", &[f32::INFINITY; 4])?;
    let adam = crate::engine::Optimizer::adam();
    let overflow = loss_scaling::decide(gpu, &adam, 2000, &gradients, &record)?;
    let calls = average::follow(gpu, decay, &live, &averaged, scaled.then_some(&record))?;
    for (index, done) in [5u32, 6, 90, 5_000].into_iter().enumerate() {
        let weights = values(20 + u64::from(done), count);
        gpu.write(&live, &weights);
        loss_scaling::write(gpu, &record, &state);
        let update = u64::from(done) + 1 - u64::from(state.skipped_steps);
        let share = Update::average_share(decay, update) as f32;
        let step = StepUniform { done: [done, 0], average_share: share, ..StepUniform::default() };
        if scaled && index == 2 {
            execute(gpu, &overflow, 1, step)?;
            state = loss_scaling::read(gpu, &record)?.0;
        } else {
            twin::follow(&mut averages, &weights, share);
        }
        execute(gpu, &calls, 1, step)?;
    }
    Ok(distance(&gpu.read::<f32>(&averaged)?, &averages))
}
