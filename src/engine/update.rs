//! What an update of the weights is: the optimiser's rule and its constants, and what comes before and after it (clipping,
//! loss scaling, which tensors decay, the moving average). It computes nothing but the numbers that a step needs.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::vgg::plan::{Role, TensorSpec};

/// The optimiser and its constants; the learning rate comes with each step. The constants are f64, as PyTorch's are:
/// 1 - 0.999 computed from f32 would be off by 1e-5. Engines derive what a step needs in f64 and round that once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Optimizer {
    /// torch.optim.Adam: weight decay is added to the gradient (L2).
    Adam {
        /// Decay of the first moment, 0.9.
        beta1: f64,
        /// Decay of the second moment, 0.999.
        beta2: f64,
        /// Added to the root of the second moment, 1e-8.
        epsilon: f64,
        /// L2 factor.
        weight_decay: f64,
    },
    /// torch.optim.AdamW: ahead of Adam's step the parameter is multiplied by 1 - learning rate * weight decay, of which the
    /// gradient and the moments know nothing (Loshchilov & Hutter 2019, <https://arxiv.org/abs/1711.05101>).
    AdamW {
        /// As Adam's.
        beta1: f64,
        /// As Adam's.
        beta2: f64,
        /// As Adam's.
        epsilon: f64,
        /// Share of the learning rate by which parameters shrink, 0.01.
        weight_decay: f64,
    },
    /// torch.optim.SGD: buffer = momentum * buffer + gradient (the first time: the gradient), no dampening.
    Sgd {
        /// 0 for plain descent.
        momentum: f64,
        /// L2 factor.
        weight_decay: f64,
        /// Whether a step follows gradient + momentum * buffer, not the buffer.
        #[serde(default, skip_serializing_if = "is_false")]
        nesterov: bool,
    },
}

impl Optimizer {
    /// PyTorch's defaults for Adam.
    pub fn adam() -> Self {
        Self::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }

    /// PyTorch's defaults for AdamW.
    pub fn adamw() -> Self {
        Self::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }

    /// SGD without Nesterov's look ahead.
    pub const fn sgd(momentum: f64, weight_decay: f64) -> Self {
        Self::Sgd { momentum, weight_decay, nesterov: false }
    }

    /// The same rule with the constants that it has where nothing is said of them: PyTorch's.
    #[must_use]
    pub fn by_default(&self) -> Self {
        match self {
            Self::Adam { .. } => Self::adam(),
            Self::AdamW { .. } => Self::adamw(),
            Self::Sgd { .. } => Self::sgd(0.0, 0.0),
        }
    }

    /// Its weight decay, whatever it does with it.
    pub fn weight_decay(&self) -> f64 {
        let (Self::Adam { weight_decay, .. } | Self::AdamW { weight_decay, .. } | Self::Sgd { weight_decay, .. }) =
            self;
        *weight_decay
    }

    /// The same rule with another weight decay.
    #[must_use]
    pub fn with_decay(mut self, decay: f64) -> Self {
        let (Self::Adam { weight_decay, .. } | Self::AdamW { weight_decay, .. } | Self::Sgd { weight_decay, .. }) =
            &mut self;
        *weight_decay = decay;
        self
    }

    /// Names of the state kept for each trained tensor, as in PyTorch's optimiser state.
    pub fn moments(&self) -> &'static [&'static str] {
        match self {
            Self::Adam { .. } | Self::AdamW { .. } => &["exp_avg", "exp_avg_sq"],
            Self::Sgd { .. } => &["momentum_buffer"],
        }
    }
}

/// What an update does besides the optimiser's rule: by default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Update {
    /// Whose tensors weight decay leaves alone.
    pub no_decay: NoDecay,
    /// torch.nn.utils.clip_grad_norm_: the most that the L2 norm of all gradients together may be. Beyond it all of them are
    /// multiplied by `clip_norm / (norm + 1e-6)`, ahead of weight decay and, in f16, behind the scale.
    pub clip_norm: Option<f64>,
    /// Decay of the averaged weights, which follow the live ones with each update ([`Update::average_share`]).
    pub ema: Option<f64>,
}

impl Update {
    /// The share of the live weights in the averaged ones at update `t`, from 1: averaged += share * (live - averaged), with
    /// share = 1 - min(decay, (1 + t) / (10 + t)). So the average is that of the last tenth of a short training, and not of
    /// its first weights (tf.train.ExponentialMovingAverage with num_updates); without that bound it is
    /// torch.optim.swa_utils.get_ema_multi_avg_fn. Parameters and running statistics alike (use_buffers = True). An update
    /// that loss scaling leaves out counts for nothing here.
    pub fn average_share(decay: f64, t: u64) -> f64 {
        (1.0 - decay).max(9.0 / (10.0 + t as f64))
    }
}

/// Tensors that weight decay leaves alone, by role. In words `norm`, `bias`, `norm,bias` or `none`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NoDecay {
    /// Batch normalisation's gamma and beta.
    pub norm: bool,
    /// Biases of convolutions and linear layers.
    pub bias: bool,
}

impl NoDecay {
    /// Whether nothing is left alone.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a tensor of this role is left alone.
    pub fn spares(self, role: Role) -> bool {
        match role {
            Role::Scale | Role::Shift => self.norm,
            Role::Bias => self.bias,
            _ => false,
        }
    }

    /// The parts of all parameters, in order, each with whether it decays, of which there are few: `tensors` says the role of
    /// each and where it lies, and they lie as [`by_decay`] has them. What is between two tensors is never read.
    pub fn ranges(self, tensors: &[(Role, Range<usize>)], total: usize) -> Vec<(Range<usize>, bool)> {
        let mut sorted: Vec<_> = tensors.iter().filter(|(role, _)| role.trained()).collect();
        sorted.sort_by_key(|(_, range)| range.start);
        let mut ranges: Vec<(Range<usize>, bool)> = Vec::new();
        for (role, range) in sorted {
            let decays = !self.spares(*role);
            match ranges.last_mut() {
                Some((last, before)) if *before == decays => last.end = range.end,
                Some((last, _)) => {
                    last.end = range.start;
                    ranges.push((range.clone(), decays));
                }
                None => ranges.push((0..range.end, decays)),
            }
        }
        if let Some((last, _)) = ranges.last_mut() {
            last.end = total;
        }
        ranges
    }
}

impl fmt::Display for NoDecay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.norm, self.bias) {
            (true, true) => "norm,bias",
            (true, false) => "norm",
            (false, true) => "bias",
            (false, false) => "none",
        })
    }
}

impl FromStr for NoDecay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut spared = Self::default();
        if text == "none" {
            return Ok(spared);
        }
        for name in text.split(',').map(str::trim) {
            match name {
                "norm" => spared.norm = true,
                "bias" => spared.bias = true,
                _ => return Err("choose norm, bias, norm,bias or none".to_owned()),
            }
        }
        Ok(spared)
    }
}

impl TryFrom<String> for NoDecay {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<NoDecay> for String {
    fn from(spared: NoDecay) -> Self {
        spared.to_string()
    }
}

/// Indices of `specs` in the order in which an engine lays them out: weights, biases, normalisation, so that what decays and
/// what does not are few ranges; each kind in the plan's order. What is frozen comes behind all that is not.
pub fn by_decay(specs: &[TensorSpec]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..specs.len()).collect();
    let kind = |role| match role {
        Role::Weight => 0,
        Role::Bias => 1,
        Role::Scale | Role::Shift => 2,
        Role::RunningMean | Role::RunningVariance => 3,
    };
    order.sort_by_key(|&index| (specs[index].frozen, kind(specs[index].role)));
    order
}

/// Where dynamic loss scaling stands: torch.amp.GradScaler's state, and how many steps made no update.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScaling {
    /// What the loss is multiplied by: a power of two.
    pub scale: f32,
    /// Updates in a row since it last moved.
    pub good_steps: u32,
    /// Steps whose gradients were not finite: left out.
    pub skipped_steps: u32,
}

impl Default for LossScaling {
    fn default() -> Self {
        Self { scale: 65_536.0, good_steps: 0, skipped_steps: 0 }
    }
}

impl LossScaling {
    /// Updates after which the scale is doubled.
    pub const INTERVAL: u32 = 2000;

    /// Updates made in `steps` steps: Adam's t.
    pub fn updates(scaling: Option<&Self>, steps: u64) -> u64 {
        steps.saturating_sub(scaling.map_or(0, |s| s.skipped_steps.into()))
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vgg::Network;

    #[test]
    fn the_average_begins_with_the_live_weights_and_comes_to_its_decay() {
        let shares: Vec<f64> = [1, 8, 89, 8_989, 8_990, 1 << 40].map(|t| Update::average_share(0.999, t)).into();
        let expected = [9.0 / 11.0, 0.5, 9.0 / 99.0, 9.0 / 8_999.0, 0.001, 0.001];
        assert!(shares.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{shares:?}");
        assert_eq!(Update::average_share(0.0, 1), 1.0);
    }

    #[test]
    fn no_decay_in_words_and_back() {
        for text in ["none", "norm", "bias", "norm,bias"] {
            assert_eq!(text.parse::<NoDecay>().map(|spared| spared.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("bias, norm".parse(), Ok(NoDecay { norm: true, bias: true }));
        for wrong in ["", "norms", "norm,", "norm,none"] {
            assert!(wrong.parse::<NoDecay>().is_err_and(|e| e.contains("norm,bias or none")), "{wrong}");
        }
    }

    #[test]
    fn every_tensor_is_in_one_range_of_its_kind() {
        for batch_norm in [true, false] {
            let plan = Network { depth: 16, batch_norm, width: 0.05, ..Network::default() }.plan().expect("a plan");
            let specs = plan.tensors();
            let mut end = 0;
            let mut tensors = vec![(Role::Weight, 0..0); specs.len()];
            for index in by_decay(&specs).into_iter().filter(|index| specs[*index].role.trained()) {
                tensors[index] = (specs[index].role, end..end + specs[index].elements());
                end = tensors[index].1.end.next_multiple_of(16);
            }
            let trained = || specs.iter().zip(&tensors).filter(|(spec, _)| spec.role.trained()).map(|(_, t)| t);
            let trained: Vec<_> = trained().cloned().collect();
            for (norm, bias, most) in [(false, false, 1), (true, false, 2), (false, true, 3), (true, true, 2)] {
                let spared = NoDecay { norm, bias };
                let ranges = spared.ranges(&trained, end);
                assert!(ranges.len() <= most && ranges[0].0.start == 0, "{ranges:?}");
                assert!(ranges.windows(2).all(|pair| pair[0].0.end == pair[1].0.start), "{ranges:?}");
                assert_eq!(ranges.last().map(|(range, _)| range.end), Some(end));
                for (role, range) in &trained {
                    let (_, decays) = ranges
                        .iter()
                        .find(|(whole, _)| whole.start <= range.start && range.end <= whole.end)
                        .expect("in one range");
                    assert_eq!(*decays, !spared.spares(*role), "{role:?} {range:?}");
                }
            }
        }
    }
}
