//! What a convolution's pass is given: the layer's shape, which of the three products it is, and the ranges that it reads and
//! writes. How it is computed stands in [`convolution`](super::convolution) and [`winograd`](super::winograd).

use crate::engine::gpu::plumbing::device::Slice;
pub use crate::engine::layout::Convolution;
use crate::error::{Error, Kind, Result};

/// What the device's 32-bit arithmetic can count. Errors: sizes that no network of ours has.
pub fn check(convolution: &Convolution, batch: usize) -> Result<()> {
    let Convolution { kernel, height, width, inputs, outputs } = *convolution;
    let sizes = matches!(kernel, 1 | 3)
        && inputs.is_multiple_of(4)
        && outputs.is_multiple_of(4)
        && (1..1 << 15).contains(&height)
        && (1..1 << 15).contains(&width)
        && batch < 1 << 22
        && (batch * convolution.pixels()).saturating_mul(inputs.max(outputs).max(4)) < 1 << 33
        && convolution.weights() < 1 << 33;
    let message = || format!("no kernel for batches of {batch} of {convolution:?}");
    if sizes { Ok(()) } else { Err(Error::new(Kind::Engine, message())) }
}

/// The three products of a layer in a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// y from x and the weight.
    Forward,
    /// dx from dy and the weight.
    InputGradient,
    /// dweight from x and dy.
    WeightGradient,
}

impl Pass {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Forward, Self::InputGradient, Self::WeightGradient];

    /// For labels and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::InputGradient => "input gradient",
            Self::WeightGradient => "weight gradient",
        }
    }
}

/// What is done to the results of a forward pass before they are stored.
#[derive(Clone, Copy, Debug, Default)]
pub enum After<'a> {
    /// Nothing.
    #[default]
    Nothing,
    /// ReLU.
    Relu,
    /// Scale and shift of the saved statistics (see [`batch_norm`](crate::engine::gpu::layers::batch_norm)), then ReLU.
    Normalise(&'a Slice),
    /// Nothing, but the moments of what is stored go to a scratch that [`batch_norm::join`](crate::engine::gpu::layers::batch_norm::join) takes.
    Moments(&'a Slice),
}

/// What a pass reads and writes. All are NHWC, weights [taps][inputs][outputs], channels padded by zeros. x, y, the forward
/// weight and the gradients of x and y have the type of activations; bias and gradients of weights are f32.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// Forward and weight gradient: x [n][height][width][inputs]; input gradient: dy, with outputs.
    pub input: &'a Slice,
    /// Forward and input gradient: the weight; **weight gradient: dy**.
    pub weight: &'a Slice,
    /// Of the forward pass, [outputs]; ignored elsewhere.
    pub bias: Option<&'a Slice>,
    /// Of the forward pass; ignored elsewhere. What is neither nothing nor a ReLU needs a variant that [`fuses`](super::convolution::fuses), and a ReLU
    /// one that is not Winograd's.
    pub after: After<'a>,
    /// Whether the output is f32 in any case: logits.
    pub full: bool,
    /// Forward: y; input gradient: dx; weight gradient: dweight. Overwritten, but that dweight is added to where
    /// `step.accumulate` is 1.
    pub output: &'a Slice,
    /// As large as [`scratch`](super::convolution::scratch) says; may be shared with everything that runs before or after.
    pub scratch: &'a [Slice; 3],
}
