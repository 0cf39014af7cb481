//! The moving average of all weights in one parallel pass; twin `reference::average`.

use rayon::prelude::*;

use crate::engine::cpu::plumbing::simd::{InstructionSet, vectorised};

/// Weights of one task.
const CHUNK: usize = 16 * 1024;

/// averaged += share * (live - averaged); both have the same length.
pub fn follow(set: InstructionSet, averaged: &mut [f32], live: &[f32], share: f32) {
    let chunks = averaged.par_chunks_mut(CHUNK).zip(live.par_chunks(CHUNK));
    chunks.for_each(|(averaged, live)| chunk(set, averaged, live, share));
}

vectorised! {
    fn chunk(averaged: &mut [f32], live: &[f32], share: f32) {
        for (a, l) in averaged.iter_mut().zip(live) {
            *a += share * (*l - *a);
        }
    }
}
