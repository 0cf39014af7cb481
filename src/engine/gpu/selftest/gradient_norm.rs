//! What clipping multiplies gradients by against [`reference::gradient_norm`](crate::engine::cpu::reference::gradient_norm).

use super::comparison::{Check, execute, unwritten, values, wide};
use crate::engine::LossScaling;
use crate::engine::cpu::reference::gradient_norm as twin;
use crate::engine::gpu::layers::{gradient_norm, loss_scaling};
use crate::engine::gpu::plumbing::device::Gpu;
use crate::engine::gpu::plumbing::step::StepUniform;
use crate::error::Result;

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    // 4096 vec4 are a workgroup's: below one, exactly one, beyond; more partial sums than a workgroup has invocations, and
    // more than one binding holds.
    for count in [4, 1028, 16_384, 16_388, 5_000_004, gpu.binding_floats().min(1 << 25) + 20] {
        for scale in [1.0, 4096.0] {
            let (error, same) = factor(gpu, count, scale)?;
            let sizes = format!("{count} gradients, loss scaled by {scale}");
            // Sums of f32 in a tree against one in f64; and twice the same bits.
            let error = if same { error } else { f64::INFINITY };
            tell(Check { operation: "gradient_norm", variant: "factor".into(), sizes, error, allowed: 1e-6 });
        }
    }
    Ok(())
}

/// The greatest error of the factor for norms that are clipped and that are not, and whether it came out twice the same.
fn factor(gpu: &Gpu, count: usize, scale: f32) -> Result<(f64, bool)> {
    let gradient = values(3, count);
    let norm = twin::norm(&[wide(&gradient)]);
    let scaled: Vec<f32> = gradient.iter().map(|g| g * scale).collect();
    let gradients = gpu.upload("gradients", &scaled)?;
    let sums = unwritten(gpu, gradient_norm::partials(count, gpu.binding_floats()))?;
    let (mut worst, mut same) = (0.0, true);
    for most in [norm * 1e-3, norm * 0.9, norm * 1.1] {
        let record = loss_scaling::buffer(gpu)?;
        loss_scaling::write(gpu, &record, &LossScaling { scale, ..LossScaling::default() });
        let calls = gradient_norm::record(gpu, most, &gradients, &record, &sums)?;
        let once = || -> Result<f32> {
            execute(gpu, &calls, 1, StepUniform::default())?;
            Ok(gpu.read::<f32>(&record)?.last().copied().unwrap_or(f32::NAN))
        };
        let ours = once()?;
        same &= ours == once()?;
        let expected = twin::factor(norm, most) / f64::from(scale);
        worst = f64::max(worst, ((f64::from(ours) - expected) / expected).abs());
        if !ours.is_finite() {
            worst = f64::INFINITY;
        }
    }
    Ok((worst, same))
}
