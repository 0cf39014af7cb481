//! What the layers of a plan compute, and what that is called. Computes nothing.

use serde::Serialize;

/// What a layer computes. Constants are those of the paper and of PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Operation {
    /// Square convolution, stride 1, zero padding `kernel / 2`, with bias. Weight OIHW.
    Conv2d {
        /// 1 or 3.
        kernel: usize,
    },
    /// Over N, H, W: eps 1e-5, momentum 0.1, running variance unbiased (torch.nn.BatchNorm2d).
    BatchNorm2d,
    /// max(x, 0).
    Relu,
    /// Krizhevsky et al. 2012, section 3.3: x / (k + alpha * sum over `size` neighbouring channels of x^2)^beta with
    /// k = 2, size = 5, alpha = 1e-4, beta = 0.75. (torch.nn.LocalResponseNorm divides alpha by size: use 5e-4 there.)
    LocalResponseNorm,
    /// 2x2, stride 2, no padding: an odd last row or column is dropped (torch.nn.MaxPool2d).
    MaxPool2d,
    /// To `size` x `size` with torch.nn.AdaptiveAvgPool2d's windows: floor(i*in/size) .. ceil((i+1)*in/size).
    /// Its output is flattened channel first (C, H, W), so that the linear weights are torchvision's.
    AdaptiveAvgPool2d {
        /// Output height and width.
        size: usize,
    },
    /// y = x W^T + b, weight [out, in].
    Linear,
    /// Inverted dropout with this probability of zero; present in every plan (torchvision's indices), idle at 0.
    Dropout {
        /// Probability that an element is dropped.
        probability: f32,
    },
}

impl Operation {
    /// The field's term for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conv2d { .. } => "convolution",
            Self::BatchNorm2d => "batch normalisation",
            Self::Relu => "ReLU",
            Self::LocalResponseNorm => "local response normalisation",
            Self::MaxPool2d => "max pooling",
            Self::AdaptiveAvgPool2d { .. } => "average pooling",
            Self::Linear => "linear",
            Self::Dropout { .. } => "dropout",
        }
    }

    /// Its kernel, output size or probability; empty where there is nothing to say.
    pub fn size(self) -> String {
        match self {
            Self::Conv2d { kernel } => format!("{kernel}x{kernel}"),
            Self::MaxPool2d => "2x2".into(),
            Self::AdaptiveAvgPool2d { size } => format!("to {size}x{size}"),
            Self::Dropout { probability } => probability.to_string(),
            Self::BatchNorm2d | Self::Relu | Self::LocalResponseNorm | Self::Linear => String::new(),
        }
    }
}
