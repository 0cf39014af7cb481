//! The adapter's limits as measured here and now: multiply-adds and memory traffic. Shader `limits.wgsl`.

use std::time::Instant;

use super::device::Gpu;
use super::dispatch::{Dispatch, spread};
use super::program::Access::{Read, Write};
use super::program::{Constant, Source};
use crate::engine::Limits;
use crate::error::Result;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Dims {
    count: u32,
    factor: f32,
    unused: [u32; 2],
}

/// Multiply-adds of an invocation: rounds x 16 vectors of four.
const ROUNDS: u32 = 256;

/// Measures both, the best of several runs. Takes about a second.
pub fn measure(gpu: &Gpu) -> Result<Limits> {
    // Large enough that no cache holds it; a software device has no memory of its own to be slow.
    let floats = (if gpu.software() { 8 << 20 } else { 64 << 20 }).min(gpu.binding_floats() / 64 * 64);
    let (from, to) = (gpu.buffer("bandwidth source", floats)?, gpu.buffer("bandwidth target", floats)?);
    let source = |entry, name| Source {
        name,
        files: &[include_str!("../../../shaders/limits.wgsl")],
        constants: vec![("ROUNDS", Constant::U32(ROUNDS))],
        entry,
        access: &[Read, Write],
    };
    let dims = Dims { count: (floats / 4) as u32, factor: 0.5, unused: [0; 2] };
    let groups = if gpu.software() { 256 } else { 1 << 14 };
    let storages = [&from, &to];
    let multiply =
        gpu.dispatch("multiply", &source("multiply", "limits multiply"), &dims, &storages, move |_| spread(groups, 1))?;
    let copy = gpu
        .dispatch("copy", &source("copy", "limits copy"), &dims, &storages, move |_| spread(floats.div_ceil(256), 1))?;
    let operations = groups as f64 * 64.0 * f64::from(ROUNDS) * 16.0 * 4.0 * 2.0;
    Ok(Limits {
        flops: operations / best(gpu, std::slice::from_ref(&multiply))?,
        bytes: floats as f64 * 8.0 / best(gpu, std::slice::from_ref(&copy))?,
    })
}

/// Seconds of one call, the best of several.
fn best(gpu: &Gpu, calls: &[Dispatch]) -> Result<f64> {
    let repeats = if gpu.software() { 1 } else { 8 };
    let mut best = f64::INFINITY;
    for _ in 0..6 {
        gpu.wait(None)?;
        let started = Instant::now();
        let submission = gpu.submit((0..repeats).map(|_| calls), 1, &[]);
        gpu.wait(Some(submission))?;
        best = best.min(started.elapsed().as_secs_f64() / f64::from(repeats));
    }
    Ok(best)
}
