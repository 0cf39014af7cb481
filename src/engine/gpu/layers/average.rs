//! The moving average of weights; shader `average.wgsl`, twin
//! [`reference::average`](crate::engine::cpu::reference::average).

use super::loss_scaling::RECORD;
use super::optimizer::parts;
use crate::engine::gpu::plumbing::device::{Gpu, Slice};
use crate::engine::gpu::plumbing::dispatch::{Dispatch, spread};
use crate::engine::gpu::plumbing::source::Access::{Read, Write};
use crate::engine::gpu::plumbing::source::shader;
use crate::engine::gpu::plumbing::source::{Access, Source};
use crate::error::Result;

const AVERAGE: &str = shader!("layers/average");

#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Dims {
    count: u32,
    least: f32,
    unused: [u32; 2],
}

/// Calls that move `averaged` towards `live`, both of the same length, a multiple of four: by `step.average_share`, or where
/// the loss is scaled by what its record in `scaled` says of the number of this update, and then with this `decay`.
#[expect(clippy::cast_possible_truncation, reason = "rounded once; counts are below 2^32")]
pub fn follow(gpu: &Gpu, decay: f64, live: &Slice, averaged: &Slice, scaled: Option<&Slice>) -> Result<Vec<Dispatch>> {
    let (files, access): (_, &'static [Access]) = match scaled {
        None => (vec![AVERAGE, shader!("layers/average_plain")], &[Read, Write]),
        Some(_) => (vec![AVERAGE, RECORD, shader!("layers/average_scaled")], &[Read, Write, Read]),
    };
    let source = Source { name: "average", files, constants: Vec::new(), entry: "follow", access };
    parts(gpu, &(0..live.floats()))
        .map(|(start, floats)| {
            let dims = Dims { count: (floats / 4) as u32, least: (1.0 - decay) as f32, ..Dims::default() };
            let (live, averaged) = (live.part(start, floats), averaged.part(start, floats));
            let slices: Vec<&Slice> = [&live, &averaged].into_iter().chain(scaled).collect();
            gpu.dispatch("average", &source, &dims, &slices, move |_| spread(floats.div_ceil(256), 1))
        })
        .collect()
}
