//! From picks to activations: crop or warp, mirror, resize, colour, normalise and mix u8 pixels where they lie; shader
//! `gather.wgsl`, twin
//! [`reference::gather`](crate::engine::cpu::reference::gather).
//!
//! The images of a split lie on the device, in shards no larger than what a shader can see, or stay with the host, and
//! those of each batch travel with it. It trusts that picks lie within the images.

use crate::engine::gpu::plumbing::source::shader;
use std::ops::Range;

use wgpu::{BufferSize, BufferUsages};

use crate::engine::gpu::plumbing::device::{Gpu, Slice};
use crate::engine::gpu::plumbing::dispatch::{Dispatch, spread};
use crate::engine::gpu::plumbing::source::Access;
use crate::engine::gpu::plumbing::source::Access::{Read, Write};
use crate::engine::gpu::plumbing::source::Source;
use crate::engine::resample::{Window, windows};
use crate::engine::sample::Packed;
use crate::engine::{Images, Normalisation, Pick};
use crate::error::{Error, Kind, Result};

/// Four-byte numbers of a pick on the device.
pub const PICK: usize = 2 * size_of::<Packed>() / 4;

/// Bytes that are uploaded at once; twice that is held for it.
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
        Residence::Streamed { batch } => 2 * batch, // each may be mixed of two
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
    pub(in crate::engine::gpu) fn sharded(
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

    /// Sends all pixels, a piece at a time so that little memory is taken for the way: that of two pieces, used again and
    /// again, because new memory costs more than the copy. One is filled while the other travels.
    fn upload(&self, gpu: &Gpu) -> Result<()> {
        let (_, place) = image_bytes(&self.images);
        let piece = (PIECE / place).clamp(1, self.images.count.max(1));
        let failed = |e| match gpu.check() {
            Err(lost) => lost,
            Ok(()) => Error::new(Kind::DeviceLost, "the device was lost while images were uploaded").with_source(e),
        };
        let staging = gpu.scoped("uploading images", || {
            [(); 2].map(|()| {
                gpu.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("images on their way"),
                    size: (piece * place) as u64,
                    usage: BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC,
                    mapped_at_creation: true,
                })
            })
        })?;
        let mut under_way = [None, None];
        let pieces =
            self.shards.iter().flat_map(|shard| (0..shard.count).step_by(piece).map(move |start| (shard, start)));
        for (turn, (shard, start)) in pieces.enumerate() {
            let (staging, under_way) = (&staging[turn % 2], &mut under_way[turn % 2]);
            if let Some(before) = under_way.take() {
                gpu.wait(Some(before))?; // by when it is mapped again
            }
            let count = piece.min(shard.count - start);
            let bytes = (count * place) as u64;
            let mut view = staging.slice(..bytes).get_mapped_range_mut().map_err(failed)?;
            let images = (start..start + count).map(|at| shard.first + at);
            self.fill(images, |range, image| view.slice(range).copy_from_slice(image));
            drop(view);
            staging.unmap();
            let to = Slice { offset: shard.pixels.offset + (start * place) as u64, bytes, ..shard.pixels.clone() };
            *under_way = Some(gpu.scoped("uploading images", || gpu.copy(staging, &to))?);
            staging.slice(..).map_async(wgpu::MapMode::Write, |_| ());
        }
        gpu.wait(None)
    }

    /// Hands `put` the pixels of `images` and the bytes that are their place.
    fn fill(&self, images: impl Iterator<Item = usize>, mut put: impl FnMut(Range<usize>, &[u8])) {
        let (bytes, place) = image_bytes(&self.images);
        let pixels: &[u8] = (*self.images.pixels).as_ref();
        for (at, index) in images.enumerate() {
            let image = pixels.get(index * bytes..(index + 1) * bytes).unwrap_or(&[]);
            put(at * place..at * place + image.len(), image);
        }
    }

    /// Writes `images` to the first places of `shard`.
    fn send(&self, gpu: &Gpu, shard: &Shard, images: impl ExactSizeIterator<Item = usize>) {
        let (_, place) = image_bytes(&self.images);
        let Some(size) = BufferSize::new((images.len() * place) as u64) else { return };
        // What fails here is told by an error scope or by the next check.
        let Some(mut view) = gpu.queue.write_buffer_with(&shard.pixels.buffer, shard.pixels.offset, size) else {
            return;
        };
        self.fill(images, |range, image| view.slice(range).copy_from_slice(image));
    }

    /// Writes what the next submissions are to gather: `picks` to `slice` ([`PICK`] numbers each, for a whole batch), and
    /// the pixels of streamed images.
    pub fn load(&self, gpu: &Gpu, picks: &[Pick], slice: &Slice) {
        let streamed = matches!(self.resident, Residence::Streamed { .. });
        let second = |pick: &Pick| pick.mix.map_or(pick.view.index, |mix| mix.view.index);
        let pack = |(position, pick): (usize, &Pick)| {
            let sent = [position, picks.len() + position].map(|place| place as u32);
            pick.packed(if streamed { sent } else { [pick.view.index, second(pick)] }, self.size)
        };
        gpu.write(slice, &picks.iter().enumerate().map(pack).collect::<Vec<[Packed; 2]>>());
        if streamed {
            // The first of all samples, then, where there are any, the second of all.
            let mixed = picks.iter().filter(|_| picks.iter().any(|pick| pick.mix.is_some()));
            let images: Vec<u32> = picks.iter().map(|pick| pick.view.index).chain(mixed.map(second)).collect();
            for shard in &self.shards {
                self.send(gpu, shard, images.iter().skip(shard.first).take(shard.count).map(|image| *image as usize));
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
        let (name, file, access) = match self.windows {
            None => ("gather", shader!("layers/gather_same_size"), SAME),
            Some(_) => ("gather, resized", shader!("layers/gather_resized"), RESIZED),
        };
        let files = vec![shader!("layers/gather"), file];
        let source = Source { name, files, constants: Vec::new(), entry: "gather", access };
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
