//! Every kernel variant against its plain CPU twin, on the adapter at hand: what `vggkit selftest` prints and what the
//! tests of this crate run on a software adapter. One file an operation.
//!
//! Sizes are awkward on purpose: 1, odd, not a multiple of any tile, batch tails, not square. Outputs are filled with NaN
//! beforehand, so that a number that was never written shows. On a device that is opened for f16, activations are f16 in
//! memory, and so are those that the twin gets.
//!
//! **To add the comparison of a kernel X**: `X.rs` with its cases, and a line in `OPERATIONS`.

mod average;
mod average_pool;
mod batch_norm;
mod comparison;
mod convolution;
mod cross_entropy;
mod dropout;
pub(crate) mod gather;
mod gradient_norm;
mod local_response_normalisation;
mod loss_scaling;
mod max_pool;
mod optimizer;
mod relu;
mod winograd;

pub use comparison::Check;

use super::plumbing::device::Gpu;
use crate::error::Result;

/// Makes the comparisons of one operation, telling each result as it comes.
type Checks = fn(&Gpu, &mut dyn FnMut(Check)) -> Result<()>;

/// What is checked, in this order.
const OPERATIONS: [(&str, Checks); 14] = [
    ("convolution", convolution::checks),
    ("winograd", winograd::checks),
    ("batch_norm", batch_norm::checks),
    ("relu", relu::checks),
    ("max_pool", max_pool::checks),
    ("average_pool", average_pool::checks),
    ("local_response_normalisation", local_response_normalisation::checks),
    ("dropout", dropout::checks),
    ("cross_entropy", cross_entropy::checks),
    ("optimizer", optimizer::checks),
    ("loss_scaling", loss_scaling::checks),
    ("gradient_norm", gradient_norm::checks),
    ("average", average::checks),
    ("gather", gather::checks),
];

/// Names of all operations.
pub fn operations() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|(name, _)| *name)
}

/// Runs everything, telling each result as it comes. Errors: the device fails.
pub fn run(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    operations().try_for_each(|operation| run_only(gpu, operation, tell))
}

/// The same for one of [`operations`].
pub fn run_only(gpu: &Gpu, operation: &str, tell: &mut dyn FnMut(Check)) -> Result<()> {
    let mut told = |mut check: Check| {
        if gpu.half() {
            check.variant.push_str(", f16 in memory");
        }
        tell(check);
    };
    let mut named = OPERATIONS.iter().filter(|(name, _)| *name == operation);
    named.try_for_each(|(_, checks)| checks(gpu, &mut told))
}
