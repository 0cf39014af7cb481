//! The processor's limits as measured here and now by all threads at once: multiply-adds in registers, and memory traffic.

use std::hint::black_box;
use std::time::Instant;

use super::plumbing::lanes::kernel;
use super::plumbing::simd::InstructionSet;
use crate::engine::Limits;
use crate::error::{Error, Result};

/// Multiply-adds of a call, one after another in each of [`CHAINS`] registers.
const ROUNDS: usize = 1 << 21;

/// Enough independent sums to hide the latency of a multiply-add: 4 or 5 cycles, two of them begun in each.
const CHAINS: usize = 12;

/// Floats that a thread copies: beyond what caches hold.
const FLOATS: usize = 16 << 20;

/// Measurements, the best of which counts.
const REPEATS: usize = 5;

kernel! {
    /// `CHAINS` registers of multiply-adds; writes their sum and the lanes of a register.
    unsafe fn multiply_add<L>(factor: f32, sum: &mut f32, lanes: &mut usize) {
        let (a, b) = (L::splat(factor), L::splat(1.0 - factor));
        let mut chains: [L; CHAINS] = std::array::from_fn(|i| L::splat(i as f32));
        for _ in 0..ROUNDS {
            for chain in &mut chains {
                *chain = chain.mul_add(a, b);
            }
        }
        let mut total = chains[0];
        for chain in &chains[1..] {
            total = total.add(*chain);
        }
        let mut values = [0.0f32; 16];
        // SAFETY: no register has more than 16 lanes.
        unsafe { total.store(values.as_mut_ptr()) };
        *sum = values.iter().sum();
        *lanes = L::COUNT;
    }
}

/// Measures both on `threads` threads. Takes about a second. Errors: no threads.
pub fn measure(threads: usize) -> Result<Limits> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|e| Error::threads(threads, e))?;
    let set = InstructionSet::detect();
    let flops = best(|| {
        let lanes = pool.broadcast(|_| {
            let (mut sum, mut lanes) = (0.0, 0);
            // SAFETY: the kernel touches nothing but its two results.
            unsafe { multiply_add(set, black_box(0.999), &mut sum, &mut lanes) };
            black_box(sum);
            lanes
        });
        lanes.iter().map(|lanes| (2 * lanes * CHAINS * ROUNDS) as f64).sum()
    });
    let mut buffers: Vec<(Vec<f32>, Vec<f32>)> = (0..threads).map(|_| (vec![1.0; FLOATS], vec![0.0; FLOATS])).collect();
    let bytes = best(|| {
        pool.scope(|scope| {
            for (from, to) in &mut buffers {
                scope.spawn(|_| to.copy_from_slice(black_box(from)));
            }
        });
        (threads * FLOATS * 8) as f64
    });
    Ok(Limits { flops, bytes })
}

/// Most of what `run` says it did, a second.
fn best(mut run: impl FnMut() -> f64) -> f64 {
    let rate = |_| {
        let started = Instant::now();
        run() / started.elapsed().as_secs_f64()
    };
    (0..REPEATS).map(rate).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_a_processor() -> Result<()> {
        let limits = measure(1)?;
        // From a slow core without vectors to one with two units of 16 lanes at 6 GHz; one channel to eight.
        assert!((1e8..1e12).contains(&limits.flops), "{limits:?}");
        assert!((1e8..1e12).contains(&limits.bytes), "{limits:?}");
        Ok(())
    }
}
