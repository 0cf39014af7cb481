//! From picks to activations: crop or warp, mirror, resize, colour, normalise and mix u8 pixels where they lie; shader
//! `gather.wgsl`, twin
//! [`reference::gather`](crate::engine::cpu::reference::gather).
//!
//! The images of a split lie on the device, in shards no larger than what a shader can see, or stay with the host, and
//! those of each batch travel with it; so do images that are enhanced, which the host does. It trusts that picks lie within the
//! images.

use std::ops::Range;

use wgpu::{BufferSize, BufferUsages};

use crate::engine::enhancement::Enhancement;
use crate::engine::gpu::plumbing::device::{Gpu, Slice};
use crate::engine::gpu::plumbing::dispatch::{Dispatch, spread};
use crate::engine::gpu::plumbing::source::Access;
use crate::engine::gpu::plumbing::source::Access::{Read, Write};
use crate::engine::gpu::plumbing::source::{Source, shader};
use crate::engine::resample::{Window, windows};
use crate::engine::sample::Packed;
use crate::engine::{Images, Normalisation, Pick, View};
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
    /// All of them on the device, with room for those of a batch that are enhanced.
    Device {
        /// The most of them.
        enhanced: usize,
    },
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
        Residence::Device { enhanced } => images.count + enhanced,
        Residence::Streamed { batch } => 2 * batch, // each may be mixed of two
    }
}

/// How many of these places belong to one image for good: the first.
fn kept(images: &Images, resident: Residence) -> usize {
    match resident {
        Residence::Device { .. } => images.count,
        Residence::Streamed { .. } => 0,
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
        if let Residence::Device { .. } = resident {
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
        let of = |shard: &Shard| shard.count.min(self.images.count.saturating_sub(shard.first));
        let pieces =
            self.shards.iter().flat_map(|shard| (0..of(shard)).step_by(piece).map(move |start| (shard, start)));
        for (turn, (shard, start)) in pieces.enumerate() {
            let (staging, under_way) = (&staging[turn % 2], &mut under_way[turn % 2]);
            if let Some(before) = under_way.take() {
                gpu.wait(Some(before))?; // by when it is mapped again
            }
            let count = piece.min(of(shard) - start);
            let bytes = (count * place) as u64;
            let mut view = staging.slice(..bytes).get_mapped_range_mut().map_err(failed)?;
            for at in 0..count {
                let image = self.image(shard.first + start + at);
                view.slice(at * place..at * place + image.len()).copy_from_slice(image);
            }
            drop(view);
            staging.unmap();
            let to = Slice { offset: shard.pixels.offset + (start * place) as u64, bytes, ..shard.pixels.clone() };
            *under_way = Some(gpu.scoped("uploading images", || gpu.copy(staging, &to))?);
            staging.slice(..).map_async(wgpu::MapMode::Write, |_| ());
        }
        gpu.wait(None)
    }

    fn image(&self, index: usize) -> &[u8] {
        let (bytes, _) = image_bytes(&self.images);
        (*self.images.pixels).as_ref().get(index * bytes..(index + 1) * bytes).unwrap_or(&[])
    }

    /// Writes images, each as it is or enhanced, to the places of `shard` from `at` on.
    fn send(&self, gpu: &Gpu, shard: &Shard, at: usize, images: &[(u32, Option<Enhancement>)]) {
        let (_, place) = image_bytes(&self.images);
        let Some(size) = BufferSize::new((images.len() * place) as u64) else { return };
        let offset = shard.pixels.offset + (at * place) as u64;
        // What fails here is told by an error scope or by the next check.
        let Some(mut view) = gpu.queue.write_buffer_with(&shard.pixels.buffer, offset, size) else { return };
        let mut enhanced = Vec::new();
        for (turn, (index, enhancement)) in images.iter().enumerate() {
            let mut image = self.image(*index as usize);
            if let Some(enhancement) = enhancement {
                enhanced.resize(image.len(), 0);
                enhancement.apply(image, self.images.width, &mut enhanced);
                image = &enhanced;
            }
            view.slice(turn * place..turn * place + image.len()).copy_from_slice(image);
        }
    }

    /// Writes what the next submissions are to gather: `picks` to `slice` ([`PICK`] numbers each, for a whole batch), and
    /// the pixels of images that are streamed or enhanced, of the `share` of it that is gathered here.
    pub fn load(&self, gpu: &Gpu, picks: &[Pick], share: &Range<usize>, slice: &Slice) {
        let streamed = matches!(self.resident, Residence::Streamed { .. });
        let kept = kept(&self.images, self.resident);
        let mut sent = Vec::new();
        let mut place = |view: &View| {
            if !streamed && view.enhancement.is_none() {
                return view.index;
            }
            sent.push((view.index, view.enhancement));
            (kept + sent.len() - 1) as u32
        };
        let pack = |(position, pick): (usize, &Pick)| {
            if !share.contains(&position) {
                return pick.packed([pick.view.index; 2], self.size); // nobody asks for it
            }
            let first = place(&pick.view);
            pick.packed([first, pick.mix.map_or(first, |mix| place(&mix.view))], self.size)
        };
        gpu.write(slice, &picks.iter().enumerate().map(pack).collect::<Vec<[Packed; 2]>>());
        for shard in &self.shards {
            let (first, end) = (shard.first.max(kept), (shard.first + shard.count).min(kept + sent.len()));
            if first < end {
                self.send(gpu, shard, first - shard.first, &sent[first - kept..end - kept]);
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
