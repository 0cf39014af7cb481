//! Picks to activations against [`reference::gather`](crate::engine::cpu::reference::gather) in f64, with pixels on the
//! device, in one shard or in several, and streamed.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::comparison::{
    Check, distance, execute_part, narrow, read_activations, rounding, stored, unpadded, unwritten,
    unwritten_activations,
};
use crate::engine::cpu::reference::gather as twin;
use crate::engine::enhancement::Enhancement;
use crate::engine::gpu::layers::gather::{Gallery, PICK, Residence};
use crate::engine::gpu::plumbing::device::Gpu;
use crate::engine::gpu::plumbing::step::StepUniform;
use crate::engine::sample::{Area, Blend, Colour, Geometry, Mix, Warp};
use crate::engine::{Images, Normalisation, Pick, View};
use crate::error::Result;

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    for (height, width, size) in [(8, 8, 8), (5, 5, 5), (7, 5, 6), (6, 9, 13), (40, 33, 5), (1, 1, 3), (3, 2, 1)] {
        // All images in one buffer, and in shards of three.
        for limit in [1 << 20, (height * width * 3 + 3) * 7 / 2] {
            for resident in [Residence::Device { enhanced: 18 }, Residence::Streamed { batch: 9 }] {
                for kind in [Kind::Plain, Kind::Mixed, Kind::Warped] {
                    compare(gpu, tell, &images(11, height, width), kind, size, (resident, limit))?;
                }
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

/// What picks are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Moved and mirrored.
    Plain,
    /// Also enhanced, coloured, erased, and mixed of two.
    Mixed,
    /// Also cropped, turned and sheared.
    Warped,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "moved",
            Self::Mixed => "mixed",
            Self::Warped => "warped",
        }
    }
}

/// Nine picks of `kind` that reach every corner of what there is.
pub fn picks(images: &Images, kind: Kind) -> Vec<Pick> {
    let view = |i: u32| {
        let at = i as usize;
        let index = (i * 7 + 10) % images.count as u32;
        let (width, height) = (images.width as u16, images.height as u16);
        let crop = Warp::crop(width / 3, height / 4, width - width / 3, height.div_ceil(2));
        let geometry = match kind {
            Kind::Plain | Kind::Mixed => Geometry::Moved { x: [0, 3, -3, 127, 1][at % 5], y: [0, -2, 2, -128][at % 4] },
            Kind::Warped => Geometry::Warped(
                [
                    crop,
                    crop.after([[0.8, 0.35, -0.1], [-0.3, 0.9, 0.2]]),
                    Warp::crop(0, 0, width, height).after([[1.0, 0.3, 0.11], [0.0, 1.0, -0.33]]),
                    Warp::crop(width - 1, height - 1, 1, 1),
                ][at % 4],
            ),
        };
        let (mut enhancement, mut colour, mut erased) = (None, None, None);
        if kind != Kind::Plain {
            enhancement = [
                Some(Enhancement::Contrast(1.6)),
                None,
                Some(Enhancement::Sharpness(0.25)),
                Some(Enhancement::Equalize),
                Some(Enhancement::AutoContrast),
            ][at % 5];
            let matrix = [[0.5, 0.3, 0.2, 3.0], [-0.1, 1.4, 0.0, -20.0], [0.0, 0.0, 1.0, 60.5]];
            colour = [None, Some(Colour { matrix, shift: [3.0, -40.5, 0.25], ..Colour::default() })][at % 2];
            erased = [Some(Area([0.2, 0.0, 0.7, 1.0])), None, Some(Area([0.5; 4]))][at % 3];
        }
        // Steps, exact where the values are.
        if kind == Kind::Mixed && (images.height, images.width) == (8, 8) {
            colour = [None, Some(Colour { solarize: 100.0, posterize: 3, ..Colour::default() })][at % 2];
        }
        View { index, enhancement, geometry, flip: i % 3 == 1, colour, erased }
    };
    let mix = |i: u32| {
        let blend = match i % 4 {
            0 => Blend::Share(0.3),
            1 => Blend::Area(Area([0.3, 0.1, 0.8, 0.6])),
            2 => Blend::Area(Area([0.0, 0.0, 1.0, 0.5])),
            _ => return None,
        };
        (kind != Kind::Plain).then(|| Mix { view: view(i * 3 + 2), blend })
    };
    (0..9).map(|i| Pick { view: view(i), mix: mix(i) }).collect()
}

fn compare(
    gpu: &Gpu,
    tell: &mut dyn FnMut(Check),
    images: &Images,
    kind: Kind,
    size: usize,
    (resident, limit): (Residence, usize),
) -> Result<()> {
    let normalisation = Normalisation { mean: [0.48, 0.45, 0.4], std: [0.28, 0.27, 0.25] };
    let picks = picks(images, kind);
    let gallery = Gallery::sharded(gpu, images, size, &normalisation, resident, limit)?;
    let on_device = unwritten(gpu, PICK * picks.len())?;
    let samples = 4;
    let output = unwritten_activations(gpu, samples * size * size * 4)?;
    let calls = gallery.record(gpu, &on_device, &output)?;
    gallery.load(gpu, &picks, &(0..picks.len()), &on_device);
    let mut error = 0.0;
    // The whole of the batch in micro-batches, the last one short.
    for first in (0..picks.len()).step_by(samples) {
        let part = &picks[first..picks.len().min(first + samples)];
        let step = StepUniform { samples: part.len() as u32, batch: 9, first: first as u32, ..StepUniform::default() };
        execute_part(gpu, &calls, step)?;
        let expected: Vec<f64> = twin::gather(images, part, size, &normalisation);
        let ours = unpadded(&read_activations(gpu, &output)?, 3);
        error = f64::max(error, distance(&ours[..expected.len()], &stored(gpu, narrow(&expected))));
    }
    let place = match resident {
        Residence::Device { .. } => "on the device",
        Residence::Streamed { .. } => "streamed",
    };
    let variant = format!("{}, {place}", kind.name());
    // Of two images that lie in two shards, the share of the first is rounded to f16 before the other is added.
    let twice = calls.len() > 1 && kind != Kind::Plain && gpu.half();
    let allowed = if twice { 2f64.powi(-11) } else { rounding(gpu, 1e-6) };
    let sizes = format!("{} x {} to {size}, {} shards", images.height, images.width, calls.len());
    tell(Check { operation: "gather", variant, sizes, error, allowed });
    Ok(())
}
