//! Adam and SGD against [`reference::optimizer`](crate::engine::cpu::reference::optimizer), over three steps.

use super::{Check, Gpu, Step, distance, execute, values};
use crate::engine::Optimizer;
use crate::engine::cpu::reference::optimizer as twin;
use crate::engine::gpu::optimizer;
use crate::error::Result;

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    let adam = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 5e-4 };
    let sgd = Optimizer::Sgd { momentum: 0.9, weight_decay: 5e-4 };
    for (name, settings, learning_rate) in [("adam", adam, 1e-3f32), ("sgd", sgd, 0.05)] {
        // 64 invocations of vec4 are a workgroup: below one, exactly one, beyond; and beyond 65,535 of them.
        for count in [4, 256, 1028, 65_537 * 256 + 4] {
            let steps = if count > 1 << 20 { 1 } else { 3 };
            let mut parameters = values(1, count);
            let mut moments = vec![vec![0.0f32; count]; settings.moments().len()];
            let ours = gpu.upload("parameters", &parameters)?;
            let gradients = gpu.buffer("gradients", count)?;
            let states: Vec<_> = moments.iter().map(|m| gpu.upload("moment", m)).collect::<Result<_>>()?;
            let calls = optimizer::update(gpu, &settings, &ours, &gradients, &states, None)?;
            for t in 1..=steps {
                let gradient = values(10 + t, count);
                gpu.write(&gradients, &gradient);
                let mut step = Step::default();
                optimizer::rates(&settings, learning_rate, t, &mut step);
                execute(gpu, &calls, 1, step)?;
                let mut slots: Vec<&mut [f32]> = moments.iter_mut().map(Vec::as_mut_slice).collect();
                twin::update(&settings, f64::from(learning_rate), t, &mut parameters, &gradient, &mut slots);
            }
            let mut error = distance(&gpu.read::<f32>(&ours)?, &parameters);
            for (ours, twin) in states.iter().zip(&moments) {
                error = error.max(distance(&gpu.read::<f32>(ours)?, twin));
            }
            let sizes = format!("{count} parameters, {steps} steps");
            tell(Check { operation: "optimizer", variant: name.into(), sizes, error, allowed: 1e-6 });
        }
    }
    Ok(())
}
