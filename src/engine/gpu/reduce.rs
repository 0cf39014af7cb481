//! Adds partial sums in a fixed order; shader `reduce.wgsl`.

use super::device::{Gpu, Slice};
use super::dispatch::{Dispatch, spread};
use super::program::Access::{Read, Write};
use super::program::{Constant, Source};
use crate::error::Result;

#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Dims {
    fixed: u32,
    a_sample: u32,
    slices: u32,
    pixels: u32,
    slab: u32,
    columns4: u32,
    unused: [u32; 2],
}

/// sum = the slabs of `partials` one after another, each as long as `sum`; as many as `slab` pixels each make of the
/// samples of a submission with `pixels` pixels each. Adds to what is there where `step.accumulate` says so.
pub fn slabs(
    gpu: &Gpu,
    label: &str,
    partials: &Slice,
    sum: &Slice,
    floats: usize,
    pixels: usize,
    slab: usize,
) -> Result<Dispatch> {
    let dims = Dims { fixed: (floats / 4) as u32, pixels: pixels as u32, slab: slab as u32, ..Dims::default() };
    record(gpu, label, &dims, true, partials, None, sum, move |_| spread(floats.div_ceil(256), 1))
}

/// sum = `slices` partial sums of `a_sample` floats a sample each, one after another, plus `bias` of `outputs` floats.
pub fn slices(
    gpu: &Gpu,
    label: &str,
    partials: &Slice,
    bias: Option<&Slice>,
    sum: &Slice,
    [slices, a_sample, outputs]: [usize; 3],
) -> Result<Dispatch> {
    let dims = Dims {
        a_sample: (a_sample / 4) as u32,
        slices: slices as u32,
        columns4: (outputs / 4) as u32,
        ..Dims::default()
    };
    record(gpu, label, &dims, false, partials, bias, sum, move |samples| spread((samples * a_sample).div_ceil(256), 1))
}

#[expect(clippy::too_many_arguments, reason = "private; what the two above have in common")]
fn record(
    gpu: &Gpu,
    label: &str,
    dims: &Dims,
    accumulate: bool,
    partials: &Slice,
    bias: Option<&Slice>,
    sum: &Slice,
    grid: impl Fn(usize) -> super::dispatch::Groups + Send + Sync + 'static,
) -> Result<Dispatch> {
    let source = Source {
        name: "reduce",
        files: &[include_str!("../../../shaders/reduce.wgsl")],
        constants: vec![("ACCUMULATE", Constant::Bool(accumulate)), ("BIAS", Constant::Bool(bias.is_some()))],
        entry: "reduce",
        access: &[Read, Read, Write],
    };
    gpu.dispatch(format!("{label}, sum"), &source, dims, &[partials, bias.unwrap_or(partials), sum], grid)
}
