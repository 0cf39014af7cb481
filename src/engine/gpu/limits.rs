//! The adapter's limits as measured here and now: multiply-adds and memory traffic. Shader `limits.wgsl`.

use super::plumbing::source::shader;
use std::time::Instant;

use super::plumbing::device::Gpu;
use super::plumbing::dispatch::{Dispatch, spread};
use super::plumbing::source::Access::{Read, Write};
use super::plumbing::source::{Constant, Source};
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

/// How long a limit is measured, in seconds of work: a card that was idle, or hot from other work, takes a while to find
/// its clock, and a moment of it says nothing.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// At least.
    least: f64,
    /// Until nothing has been faster by a hundredth for so long.
    steady: f64,
    /// At most.
    most: f64,
}

const HARDWARE: Patience = Patience { least: 0.5, steady: 0.3, most: 3.0 };

/// Its clock is the processor's, which works already.
const SOFTWARE: Patience = Patience { least: 0.1, steady: 0.1, most: 0.5 };

/// Measures both, each until the rate no longer rises: one to six seconds on hardware, one at most on a software device.
pub fn measure(gpu: &Gpu) -> Result<Limits> {
    // Large enough that no cache holds it; a software device has no memory of its own to be slow.
    let floats = (if gpu.software() { 8 << 20 } else { 64 << 20 }).min(gpu.binding_floats() / 64 * 64);
    let (from, to) = (gpu.buffer("bandwidth source", floats)?, gpu.buffer("bandwidth target", floats)?);
    let source = |entry, name| Source {
        name,
        files: vec![shader!("limits")],
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
    let repeats = if gpu.software() { 1 } else { 8 };
    let seconds = |call: &Dispatch| {
        let calls = std::slice::from_ref(call);
        best(if gpu.software() { SOFTWARE } else { HARDWARE }, || {
            gpu.wait(None)?;
            let started = Instant::now();
            let submission = gpu.submit((0..repeats).map(|_| calls), 1, &[]);
            gpu.wait(Some(submission))?;
            Ok(started.elapsed().as_secs_f64())
        })
        .map(|seconds| seconds / f64::from(repeats))
    };
    let limits = Limits { flops: operations / seconds(&multiply)?, bytes: floats as f64 * 8.0 / seconds(&copy)? };
    drop((multiply, copy));
    let bytes = from.bytes + to.bytes;
    drop((from, to));
    gpu.released(bytes);
    Ok(limits)
}

/// Seconds of the fastest `run`, each of which tells how long it took.
fn best(patience: Patience, mut run: impl FnMut() -> Result<f64>) -> Result<f64> {
    let (mut best, mut spent) = (f64::INFINITY, 0.0);
    let (mut mark, mut marked) = (f64::INFINITY, 0.0); // what has to be beaten by a hundredth, and when it was set
    loop {
        let seconds = run()?.max(1e-9);
        spent += seconds;
        best = best.min(seconds);
        if best < 0.99 * mark {
            (mark, marked) = (best, spent);
        }
        if spent >= patience.most || (spent >= patience.least && spent - marked >= patience.steady) {
            return Ok(best);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of the best run on a device whose runs take what `seconds` says after so many seconds of work, and how
    /// long it was measured.
    fn measured(seconds: impl Fn(f64) -> f64) -> (f64, f64) {
        let mut spent = 0.0;
        let best = best(HARDWARE, || {
            let run = seconds(spent);
            spent += run;
            Ok(run)
        });
        (best.expect("it measures"), spent)
    }

    #[test]
    fn a_clock_is_given_time_to_rise() {
        // Cold for longer than the least time, as slow as a fourth; in steps; hot again after a peak.
        let (best, spent) = measured(|at| if at < 0.28 { 4e-3 } else { 1e-3 });
        assert!(best == 1e-3 && spent < 0.7, "{best} {spent}");
        let (best, spent) = measured(|at| 8e-3 / (1.0 + (at / 0.2).floor().min(7.0)));
        assert!(best == 1e-3 && (1.6..1.9).contains(&spent), "{best} {spent}");
        let (best, _) = measured(|at| if (0.1..0.2).contains(&at) { 1e-3 } else { 3e-3 });
        assert_eq!(best, 1e-3);
    }

    #[test]
    fn a_clock_that_never_rests_ends_the_measurement_in_time() {
        let (best, spent) = measured(|at| 0.01 * (1.0 - at / 4.0));
        assert!(best < 0.003 && spent < HARDWARE.most + 0.01, "{best} {spent}");
        let (best, spent) = measured(|_| 10.0);
        assert!(best == 10.0 && spent == 10.0, "one run of a very slow device is enough: {best} {spent}");
    }
}
