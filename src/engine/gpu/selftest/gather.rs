//! Picks to activations against [`reference::gather`](crate::engine::cpu::reference::gather) in f64, with pixels on the
//! device, in one shard or in several, and streamed.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Check, Gpu, Step, distance, execute_part, narrow, read_activations, rounding, stored, unpadded, unwritten,
    unwritten_activations,
};
use crate::engine::cpu::reference::gather as twin;
use crate::engine::gpu::gather::{Gallery, PICK, Residence};
use crate::engine::{Images, Normalisation, Pick};
use crate::error::Result;

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    for (height, width, size) in [(8, 8, 8), (5, 5, 5), (7, 5, 6), (6, 9, 13), (40, 33, 5), (1, 1, 3), (3, 2, 1)] {
        // All images in one buffer, and in shards of three.
        for limit in [1 << 20, (height * width * 3 + 3) * 7 / 2] {
            for resident in [Residence::Device, Residence::Streamed { batch: 9 }] {
                compare(gpu, tell, &images(11, height, width), size, resident, limit)?;
            }
        }
    }
    Ok(())
}

fn images(count: usize, height: usize, width: usize) -> Images {
    let mut pixels = vec![0u8; count * height * width * 3];
    ChaCha8Rng::seed_from_u64(1).fill(&mut pixels[..]);
    Images { pixels: Arc::new(pixels), count, height, width, labels: Arc::new([]) }
}

fn compare(
    gpu: &Gpu,
    tell: &mut dyn FnMut(Check),
    images: &Images,
    size: usize,
    resident: Residence,
    limit: usize,
) -> Result<()> {
    let normalisation = Normalisation { mean: [0.48, 0.45, 0.4], std: [0.28, 0.27, 0.25] };
    let picks: Vec<Pick> = (0..9u32)
        .map(|i| Pick {
            index: (i * 7 + 10) % images.count as u32,
            offset_x: [0, 3, -3, 127, 1][i as usize % 5],
            offset_y: [0, -2, 2, -128][i as usize % 4],
            flip: i % 3 == 1,
        })
        .collect();
    let gallery = Gallery::sharded(gpu, images, size, &normalisation, resident, limit)?;
    let on_device = unwritten(gpu, PICK * picks.len())?;
    let samples = 4;
    let output = unwritten_activations(gpu, samples * size * size * 4)?;
    let calls = gallery.record(gpu, &on_device, &output)?;
    gallery.load(gpu, &picks, &on_device);
    let mut error = 0.0;
    // The whole of the batch in micro-batches, the last one short.
    for first in (0..picks.len()).step_by(samples) {
        let part = &picks[first..picks.len().min(first + samples)];
        let step = Step { samples: part.len() as u32, batch: 9, first: first as u32, ..Step::default() };
        execute_part(gpu, &calls, step)?;
        let expected: Vec<f64> = twin::gather(images, part, size, &normalisation);
        let ours = unpadded(&read_activations(gpu, &output)?, 3);
        error = f64::max(error, distance(&ours[..expected.len()], &stored(gpu, narrow(&expected))));
    }
    let variant = if resident == Residence::Device { "on the device" } else { "streamed" }.to_owned();
    let sizes = format!("{} x {} to {size}, {} shards", images.height, images.width, calls.len());
    tell(Check { operation: "gather", variant, sizes, error, allowed: rounding(gpu, 1e-6) });
    Ok(())
}
