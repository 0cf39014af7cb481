//! The moving average of weights: averaged += share * (live - averaged), as torch.optim.swa_utils.get_ema_multi_avg_fn
//! (<https://docs.pytorch.org/docs/stable/optim.html>) with share = 1 - decay; how large the share is says
//! [`Update::average_share`](crate::engine::Update::average_share).

use super::Real;

/// Moves `averaged` towards `live`.
pub fn follow<T: Real>(averaged: &mut [T], live: &[T], share: T) {
    averaged.iter_mut().zip(live).for_each(|(a, l)| *a += share * (*l - *a));
}
