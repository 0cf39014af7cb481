//! From picks to activations: crop, mirror, resize and normalise u8 pixels where they lie; shader `gather.wgsl`, twin
//! [`reference::gather`](crate::engine::cpu::reference::gather).
//!
//! The images of a split lie on the device, in shards no larger than what a shader can see, or stay with the host, and
//! those of each batch travel with it. It trusts that picks lie within the images.

use wgpu::BufferSize;

use super::device::{Gpu, Slice};
use super::dispatch::{Dispatch, spread};
use super::program::Access::{self, Read, Write};
use super::program::Source;
use crate::engine::resample::{Window, windows};
use crate::engine::{Images, Normalisation, Pick};
use crate::error::{Error, Kind, Result};

/// Four-byte numbers of a pick on the device.
pub const PICK: usize = 2;

/// Bytes that are uploaded at once: what the driver holds twice.
const PIECE: usize = 32 << 20;

/// Pixels under an output's window at most: an invocation visits them all, and lavapipe ends an invocation's loops after
/// 65,535 rounds, whatever is left to do.
const MOST_TAPS: usize = 60_000;

/// Where pixels lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residence {
    /// All of them on the device.
    Device,
    /// With the host; a batch's images are sent with it.
    Streamed {
        /// The largest batch.
        batch: usize,
    },
}

/// Images in one buffer.
struct Shard {
    first: usize,
    count: usize,
    pixels: Slice,
}

/// See the module.
pub struct Gallery {
    images: Images,
    /// Height and width of the output.
    size: usize,
    resident: Residence,
    shards: Vec<Shard>,
    /// For each row and column of the output its first input and the weights; `None` where the size stays.
    windows: Option<Slice>,
    /// Weights of a row's window, and of a column's.
    taps: [usize; 2],
    normalisation: Normalisation,
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Dims {
    height: u32,
    width: u32,
    size: u32,
    words: u32,
    first: u32,
    images: u32,
    taps: [u32; 2],
    factor: [f32; 4],
    offset: [f32; 4],
}

/// Bytes of one image's pixels, and of its place on the device.
fn image_bytes(images: &Images) -> (usize, usize) {
    let bytes = images.height * images.width * 3;
    (bytes, bytes.next_multiple_of(4))
}

/// Images that have a place on the device.
fn places(images: &Images, resident: Residence) -> usize {
    match resident {
        Residence::Device => images.count,
        Residence::Streamed { batch } => batch,
    }
}

fn most_taps(windows: &[Window]) -> usize {
    windows.iter().map(|w| w.weights.len()).max().unwrap_or(0)
}

/// Bytes on the device that [`Gallery::new`] takes.
pub fn device_bytes(images: &Images, size: usize, resident: Residence) -> u64 {
    let pixels = image_bytes(images).1 * places(images, resident);
    let taps = |inputs| most_taps(&windows(inputs, size)) + 1;
    let resize = if same_size(images, size) { 0 } else { 4 * size * (taps(images.height) + taps(images.width)) };
    (pixels + resize) as u64
}

fn same_size(images: &Images, size: usize) -> bool {
    images.height == size && images.width == size
}

impl Gallery {
    /// Allocates, and uploads pixels that are to live on the device. Errors: no memory there, an image larger than a
    /// binding, one that is shrunk some hundredfold.
    pub fn new(
        gpu: &Gpu,
        images: &Images,
        size: usize,
        normalisation: &Normalisation,
        resident: Residence,
    ) -> Result<Self> {
        Self::sharded(gpu, images, size, normalisation, resident, gpu.binding_floats() * 4)
    }

    /// [`Self::new`] with shards of at most `limit` bytes.
    pub(super) fn sharded(
        gpu: &Gpu,
        images: &Images,
        size: usize,
        normalisation: &Normalisation,
        resident: Residence,
        limit: usize,
    ) -> Result<Self> {
        let (_, place) = image_bytes(images);
        let most = limit / place.max(1);
        if most == 0 {
            let mib = place >> 20;
            return Err(Error::new(
                Kind::Engine,
                format!("{}: an image of {mib} MiB is too large", gpu.found.info.name),
            )
            .with_help("train with --engine cpu, or prepare smaller images"));
        }
        let places = places(images, resident);
        let mut shards = Vec::new();
        for first in (0..places).step_by(most) {
            let count = most.min(places - first);
            shards.push(Shard { first, count, pixels: gpu.buffer("images", count * place / 4)? });
        }
        let mut gallery = Self {
            images: images.clone(),
            size,
            resident,
            shards,
            windows: None,
            taps: [0; 2],
            normalisation: *normalisation,
        };
        if !same_size(images, size) {
            let (rows, columns) = (windows(images.height, size), windows(images.width, size));
            gallery.taps = [most_taps(&rows), most_taps(&columns)];
            if gallery.taps[0] * gallery.taps[1] > MOST_TAPS {
                let (height, width) = (images.height, images.width);
                let message = format!("the GPU engine cannot shrink images of {width} x {height} to {size} x {size}");
                return Err(Error::new(Kind::Engine, message)
                    .with_help("train with --engine cpu, choose a larger image size (-i) or prepare smaller images"));
            }
            let mut table = Vec::new();
            for (windows, taps) in [&rows, &columns].into_iter().zip(gallery.taps) {
                for Window { start, weights } in windows {
                    table.push(*start as f32); // exact: no image has 2^24 rows
                    table.extend(weights.iter().map(|w| *w as f32));
                    table.resize(table.len() + taps - weights.len(), 0.0);
                }
            }
            gallery.windows = Some(gpu.upload("resize windows", &table)?);
        }
        if resident == Residence::Device {
            gallery.upload(gpu)?;
        }
        Ok(gallery)
    }

    /// Sends all pixels, a piece at a time so that little memory is taken for the way.
    fn upload(&self, gpu: &Gpu) -> Result<()> {
        let (_, place) = image_bytes(&self.images);
        let piece = (PIECE / place).max(1);
        for shard in &self.shards {
            for start in (0..shard.count).step_by(piece) {
                let indices = start..shard.count.min(start + piece);
                gpu.scoped("uploading images", || {
                    let images = indices.clone().map(|i| shard.first + i);
                    self.send(gpu, shard, start, indices.len(), images);
                })?;
                let submission = gpu.queue.submit([]);
                gpu.wait(Some(submission))?;
            }
        }
        Ok(())
    }

    /// Writes `count` images to the places of `shard` from `start` on.
    fn send(&self, gpu: &Gpu, shard: &Shard, start: usize, count: usize, images: impl Iterator<Item = usize>) {
        let (bytes, place) = image_bytes(&self.images);
        let pixels: &[u8] = (*self.images.pixels).as_ref();
        let Some(size) = BufferSize::new((count * place) as u64) else { return };
        let offset = shard.pixels.offset + (start * place) as u64;
        // What fails here is told by an error scope or by the next check.
        let Some(mut view) = gpu.queue.write_buffer_with(&shard.pixels.buffer, offset, size) else { return };
        for (at, index) in images.enumerate() {
            let image = pixels.get(index * bytes..(index + 1) * bytes).unwrap_or(&[]);
            view.slice(at * place..at * place + image.len()).copy_from_slice(image);
        }
    }

    /// Writes what the next submissions are to gather: `picks` to `slice` ([`PICK`] numbers each, for a whole batch), and
    /// the pixels of streamed images.
    pub fn load(&self, gpu: &Gpu, picks: &[Pick], slice: &Slice) {
        let streamed = matches!(self.resident, Residence::Streamed { .. });
        let pack = |(position, pick): (usize, &Pick)| {
            let index = if streamed { position as u32 } else { pick.index };
            let [x, y] = [pick.offset_x, pick.offset_y].map(|v| u32::from(v.cast_unsigned()));
            [index, x | y << 8 | u32::from(pick.flip) << 16]
        };
        gpu.write(slice, &picks.iter().enumerate().map(pack).collect::<Vec<[u32; PICK]>>());
        if streamed {
            for shard in &self.shards {
                let picks = picks.iter().skip(shard.first).take(shard.count);
                self.send(gpu, shard, 0, picks.len(), picks.map(|p| p.index as usize));
            }
        }
    }

    /// Calls that fill `input` [n, size, size, 4] with the samples that `picks` say, from the step's first on.
    pub fn record(&self, gpu: &Gpu, picks: &Slice, input: &Slice) -> Result<Vec<Dispatch>> {
        const SAME: &[Access] = &[Read, Read, Write];
        const RESIZED: &[Access] = &[Read, Read, Write, Read];
        let Images { height, width, .. } = self.images;
        let Normalisation { mean, std } = self.normalisation;
        let channel = |of: &dyn Fn(usize) -> f32| [of(0), of(1), of(2), 0.0];
        let (entry, name, access) = match self.windows {
            None => ("same_size", "gather", SAME),
            Some(_) => ("resized", "gather, resized", RESIZED),
        };
        let files = vec![include_str!("../../../shaders/gather.wgsl")];
        let source = Source { name, files, constants: Vec::new(), entry, access };
        let area = self.size * self.size;
        let record = |shard: &Shard| {
            let dims = Dims {
                height: height as u32,
                width: width as u32,
                size: self.size as u32,
                words: (image_bytes(&self.images).1 / 4) as u32,
                first: shard.first as u32,
                images: shard.count as u32,
                taps: self.taps.map(|t| t as u32),
                factor: channel(&|c| 1.0 / (255.0 * std[c])),
                offset: channel(&|c| -mean[c] / std[c]),
            };
            let mut slices = vec![&shard.pixels, picks, input];
            slices.extend(&self.windows);
            gpu.dispatch("gather", &source, &dims, &slices, move |n| spread((n * area).div_ceil(64), 1))
        };
        self.shards.iter().map(record).collect()
    }
}
