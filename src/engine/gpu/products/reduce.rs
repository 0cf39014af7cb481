//! Adds partial sums in a fixed order; shader `reduce.wgsl`.

use crate::engine::gpu::plumbing::device::{Gpu, Slice};
use crate::engine::gpu::plumbing::dispatch::{Dispatch, spread};
use crate::engine::gpu::plumbing::source::Access::{Read, Write};
use crate::engine::gpu::plumbing::source::shader;
use crate::engine::gpu::plumbing::source::{Constant, Source};
use crate::error::Result;

pub(super) const WINDOW: &str = shader!("shared/window");

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
    let sums = Sums { bias: None, relu: false, full: true };
    record(gpu, label, &dims, (true, sums), [partials, sum], move |_| spread(floats.div_ceil(256), 1))
}

/// What becomes of the sums of an output.
pub struct Sums<'a> {
    /// Added to them.
    pub bias: Option<&'a Slice>,
    /// Whether a ReLU follows.
    pub relu: bool,
    /// Whether they are f32 in any case, not what activations are.
    pub full: bool,
}

/// sum = `slices` partial sums of `a_sample` floats a sample each, one after another, plus a bias of `outputs` floats.
pub fn slices(
    gpu: &Gpu,
    label: &str,
    partials: &Slice,
    sum: &Slice,
    sums: Sums<'_>,
    [slices, a_sample, outputs]: [usize; 3],
) -> Result<Dispatch> {
    let dims = Dims {
        a_sample: (a_sample / 4) as u32,
        slices: slices as u32,
        columns4: (outputs / 4) as u32,
        ..Dims::default()
    };
    let grid = move |samples: usize| spread((samples * a_sample).div_ceil(256), 1);
    record(gpu, label, &dims, (false, sums), [partials, sum], grid)
}

fn record(
    gpu: &Gpu,
    label: &str,
    dims: &Dims,
    (accumulate, sums): (bool, Sums<'_>),
    [partials, sum]: [&Slice; 2],
    grid: impl Fn(usize) -> crate::engine::gpu::plumbing::dispatch::Groups + Send + Sync + 'static,
) -> Result<Dispatch> {
    let Sums { bias, relu, full } = sums;
    let source = Source {
        name: "reduce",
        files: vec![WINDOW, shader!("products/reduce")],
        constants: vec![
            ("ACCUMULATE", Constant::Bool(accumulate)),
            ("BIAS", Constant::Bool(bias.is_some())),
            ("RELU", Constant::Bool(relu)),
            ("Output", Constant::Type(if full { "vec4<f32>" } else { "Quad" })),
        ],
        entry: "reduce",
        access: &[Read, Read, Write],
    };
    gpu.dispatch(format!("{label}, sum"), &source, dims, &[partials, bias.unwrap_or(partials), sum], grid)
}
