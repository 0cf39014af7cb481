//! Dynamic loss scaling as torch.amp.GradScaler does it (initial scale 2^16, growth 2, backoff 1/2, interval 2000): a step
//! whose scaled gradients are not all finite is left out and halves the scale; so many updates in a row double it.
//!
//! Not a part of any reference network: these compute in f32 and f64, which need no scale.

use crate::engine::LossScaling;

/// Scales stay within these, where their inverses are exact.
const RANGE: [f32; 2] = [1.0 / 18_446_744_073_709_551_616.0, 18_446_744_073_709_551_616.0];

/// Moves `scaling` after a step with these `gradients` (scaled) and says whether the step is an update.
pub fn decide(scaling: &mut LossScaling, interval: u32, gradients: &[f32]) -> bool {
    let finite = gradients.iter().all(|g| g.is_finite());
    if finite {
        scaling.good_steps += 1;
        if scaling.good_steps == interval {
            scaling.scale = (2.0 * scaling.scale).min(RANGE[1]);
            scaling.good_steps = 0;
        }
    } else {
        scaling.scale = (0.5 * scaling.scale).max(RANGE[0]);
        scaling.good_steps = 0;
        scaling.skipped_steps += 1;
    }
    finite
}
