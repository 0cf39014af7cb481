//! What clipping multiplies all gradients by, wholly on the device; shader `gradient_norm.wgsl`, twin
//! [`reference::gradient_norm`](crate::engine::cpu::reference::gradient_norm).

use super::loss_scaling::RECORD;
use super::optimizer::parts;
use crate::engine::gpu::plumbing::device::{Gpu, Slice};
use crate::engine::gpu::plumbing::dispatch::{Dispatch, spread};
use crate::engine::gpu::plumbing::source::Access::{Read, Write};
use crate::engine::gpu::plumbing::source::shader;
use crate::engine::gpu::plumbing::source::{Access, Constant, Source};
use crate::error::Result;

/// Vectors of four that a workgroup adds up: 16 an invocation.
const PART: usize = 4096;

#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Dims {
    count: u32,
    first: u32,
    most: f32,
    unused: u32,
}

/// How many partial sums so many gradients need, where a shader sees at most `binding_floats` of them at once.
pub fn partials(gradients: usize, binding_floats: usize) -> usize {
    gradients.div_ceil(4 * PART) + gradients / (binding_floats / 128 * 128)
}

/// Calls that put into `record` ([`loss_scaling`](super::loss_scaling), whose `inverse` is that of this step) what brings
/// the L2 norm of `gradients` down to `most`. `sums` has room for [`partials`].
#[expect(clippy::cast_possible_truncation, reason = "rounded once; counts are below 2^32")]
pub fn record(gpu: &Gpu, most: f64, gradients: &Slice, record: &Slice, sums: &Slice) -> Result<Vec<Dispatch>> {
    let squares = source("squares", "gradient_norm squares", &[Read, Read, Write]);
    let mut calls = Vec::new();
    let mut first = 0;
    for (start, floats) in parts(gpu, &(0..gradients.floats())) {
        let dims = Dims { count: (floats / 4) as u32, first: first as u32, ..Dims::default() };
        let groups = floats.div_ceil(4 * PART);
        let part = gradients.part(start, floats);
        calls.push(gpu.dispatch("norm", &squares, &dims, &[record, &part, sums], move |_| spread(groups, 1))?);
        first += groups;
    }
    let dims = Dims { count: first as u32, most: most as f32, ..Dims::default() };
    let factor = source("factor", "gradient_norm factor", &[Write, Read]);
    calls.push(gpu.dispatch("norm", &factor, &dims, &[record, sums], |_| [1, 1, 1])?);
    Ok(calls)
}

fn source(entry: &'static str, name: &'static str, access: &'static [Access]) -> Source {
    let files = vec![RECORD, shader!("layers/gradient_norm")];
    Source { name, files, constants: vec![("PART", Constant::U32(PART as u32))], entry, access }
}
