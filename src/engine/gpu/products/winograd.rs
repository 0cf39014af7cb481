//! 3x3 convolutions by Winograd's minimal filtering F(2x2, 3x3) and F(4x4, 3x3): 16 or 36 matrix products take the place
//! of 36 or 144 multiplications a tile and pair of channels. Shaders `winograd_*.wgsl`, twin
//! [`reference::convolution`](crate::engine::cpu::reference::convolution), source Lavin & Gray 2016 (arXiv 1509.09308).
//!
//! Nothing is fused: inputs become planes V[point][tile][i], filters U[point][i][o], products M = V U one plane a point,
//! and those become outputs. The weight gradient is dU = sum over tiles of V^T (A dY A^T), dW = G^T dU G. Where V or M would
//! be too large, the work is done in slabs of samples, one after the other in the same memory. Kernels of 3 only.

use super::operands::{Convolution, Operands, Pass};
use super::product::{Product, REGISTERS, TILED};
use crate::engine::gpu::plumbing::capabilities::Capabilities;
use crate::engine::gpu::plumbing::device::{Gpu, Slice};
use crate::engine::gpu::plumbing::dispatch::{Dispatch, spread};
use crate::engine::gpu::plumbing::source::Access::{Read, Write};
use crate::engine::gpu::plumbing::source::shader;
use crate::engine::gpu::plumbing::source::{Access, Constant, Source};
use crate::error::Result;

const LINES: &str = shader!("shared/winograd_lines");
const TILES: &str = shader!("shared/winograd_tiles");
const PLANES: &str = shader!("shared/winograd_planes");
const INPUT: &str = shader!("products/winograd_input");
const GRADIENT: &str = shader!("products/winograd_gradient");
const OUTPUT: &str = shader!("products/winograd_output");
const FILTER: &str = shader!("products/winograd_filter");
const PRODUCT: &str = shader!("products/winograd_product");
const PRODUCT_WEIGHT: &str = shader!("products/winograd_product_weight");
const WEIGHT: &str = shader!("products/winograd_weight");

/// Floats of V or M in one slab: 128 MiB on hardware, where more would only take memory; on software devices what stays in
/// a processor's cache.
const SLAB_FLOATS: usize = 32 << 20;
const SOFTWARE_SLAB_FLOATS: usize = 1 << 20;
/// Least tiles of a part of dU, and workgroups of 64x64 results that are enough to keep hardware busy: more parts would only
/// have to be added up.
const PART: usize = 768;
const WORKGROUPS: usize = 512;
/// Pixels of a batch for which a weight gradient is summed directly. Few samples of small maps leave many of its elements
/// exactly zero, where Winograd's differences leave rounding noise, and Adam makes whole steps of that (LOG.md).
const FEW: usize = 1024;
/// Floats between the planes of two points, so that not all of a tile's points fall into the same sets of a cache.
const SPARE: usize = 16;

/// The size of the output tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// F(2x2, 3x3): as accurate as the direct sum.
    Two,
    /// F(4x4, 3x3): rounding errors some ten times as large.
    Four,
}

impl Tile {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Two, Self::Four];

    /// Rows or columns of outputs.
    pub const fn outputs(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Products that take the place of a tile's direct sums.
    pub const fn points(self) -> usize {
        (self.outputs() + 2) * (self.outputs() + 2)
    }

    /// Tiles whose products one f32 accumulator of the weight gradient sums. F(4x4) multiplies by up to 64 what cancels
    /// later, and would lose two digits in a long sum.
    const fn chunk(self) -> usize {
        match self {
            Self::Two => 768,
            Self::Four => 96,
        }
    }
}

/// `struct Dims` of `winograd_tiles.wgsl`.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct TileDims {
    height: u32,
    width: u32,
    channels: u32,
    down: u32,
    across: u32,
    first: u32,
    samples: u32,
    plane: u32,
}

/// `struct Dims` of `winograd_filter.wgsl`.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct FilterDims {
    taps: u32,
    plane: u32,
    unused: [u32; 2],
}

/// `struct Dims` of the others.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct ProductDims {
    inputs: u32,
    outputs: u32,
    tiles: u32,
    first: u32,
    samples: u32,
    part: u32,
    plane_inputs: u32,
    plane_outputs: u32,
    filters: u32,
    unused: [u32; 3],
}

/// One pass of one layer, cut into slabs.
#[derive(Clone, Copy, Debug)]
pub struct Winograd {
    tile: Tile,
    pass: Pass,
    /// As the products see it: for the input gradient, inputs are the layer's outputs.
    layer: Convolution,
    /// Most samples.
    batch: usize,
    /// Samples of a slab.
    slab: usize,
}

/// What a layer's pass can be done with, larger tiles first; F(4x4, 3x3) is not `precise`.
pub(in crate::engine::gpu) fn variants(
    capabilities: &Capabilities,
    layer: &Convolution,
    pass: Pass,
    precise: bool,
) -> Vec<(Tile, Product)> {
    let (rows, columns) = match pass {
        Pass::Forward => (usize::MAX, layer.outputs),
        Pass::InputGradient => (usize::MAX, layer.inputs),
        Pass::WeightGradient => (layer.inputs, layer.outputs),
    };
    // A product's tile twice as large as its result computes nothing in half of it.
    let tiled = [(64, 64), (128, 64), (128, 128)]
        .into_iter()
        .filter(|(r, c)| (*r == 64 || rows > 64) && (*c == 64 || columns > 64))
        .map(|(rows, columns)| Product::Tiled { rows, columns });
    let registers = capabilities.software && capabilities.subgroups_of_eight;
    let products: Vec<Product> = if registers { vec![Product::Registers] } else { tiled.collect() };
    let tiles = [Tile::Four, Tile::Two].into_iter().filter(|tile| {
        let suits = Winograd::new(capabilities, *tile, layer, pass, FEW + 1).is_some();
        suits && !(precise && *tile == Tile::Four)
    });
    tiles.flat_map(|tile| products.iter().map(move |product| (tile, *product))).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "counts of vectors in a buffer that exists are below 2^32")]
const fn count(n: usize) -> u32 {
    n as u32
}

impl Winograd {
    /// For batches of up to `batch` samples. `None` for other kernels, for weight gradients over few pixels, and where the
    /// planes of a single sample or the filters are more than a shader can see.
    pub fn new(capabilities: &Capabilities, tile: Tile, layer: &Convolution, pass: Pass, batch: usize) -> Option<Self> {
        if pass == Pass::WeightGradient && batch * layer.pixels() <= FEW {
            return None;
        }
        let slab = if capabilities.software { SOFTWARE_SLAB_FLOATS } else { SLAB_FLOATS };
        Self::with_slabs(capabilities, tile, layer, pass, batch, slab)
    }

    /// With slabs whose V and M have at most `target` floats, or one sample.
    pub(in crate::engine::gpu) fn with_slabs(
        capabilities: &Capabilities,
        tile: Tile,
        layer: &Convolution,
        pass: Pass,
        batch: usize,
        target: usize,
    ) -> Option<Self> {
        let turned = Convolution { inputs: layer.outputs, outputs: layer.inputs, ..*layer };
        let layer = if pass == Pass::InputGradient { turned } else { *layer };
        let one = Self { tile, pass, layer, batch, slab: 1 };
        let binding = capabilities.binding_floats;
        let widest = layer.inputs.max(layer.outputs);
        let spare = one.planes(widest) - tile.points() * one.tiles() * widest;
        let slabs = batch.div_ceil(((target.min(binding) - spare) / (one.planes(widest) - spare)).max(1));
        let winograd = Self { slab: batch.div_ceil(slabs.max(1)), ..one };
        let fits = winograd.scratch().iter().all(|floats| *floats <= binding);
        (layer.kernel == 3 && batch > 0 && fits).then_some(winograd)
    }

    fn down(&self) -> usize {
        self.layer.height.div_ceil(self.tile.outputs())
    }

    fn across(&self) -> usize {
        self.layer.width.div_ceil(self.tile.outputs())
    }

    /// Tiles of a sample.
    fn tiles(&self) -> usize {
        self.down() * self.across()
    }

    /// Floats from one point of U or dU to the next.
    fn filter_plane(&self) -> usize {
        self.layer.inputs * self.layer.outputs + SPARE
    }

    /// Floats of U or dU.
    fn filters(&self) -> usize {
        self.tile.points() * self.filter_plane()
    }

    /// Floats from one point's plane of a slab to the next.
    fn plane(&self, channels: usize) -> usize {
        self.slab * self.tiles() * channels + SPARE
    }

    /// Floats of all planes of a slab.
    fn planes(&self, channels: usize) -> usize {
        self.tile.points() * self.plane(channels)
    }

    /// Tiles of a part of dU.
    fn part(&self) -> usize {
        let Convolution { inputs, outputs, .. } = self.layer;
        let workgroups = self.tile.points() * inputs.div_ceil(64) * outputs.div_ceil(64);
        let parts = (WORKGROUPS / workgroups).max(1);
        (self.slab * self.tiles()).div_ceil(parts).max(PART).next_multiple_of(self.tile.chunk())
    }

    /// Parts of dU with `samples` from a slab's first on.
    fn parts(&self, samples: usize) -> usize {
        (samples.min(self.slab) * self.tiles()).div_ceil(self.part())
    }

    /// Floats of each of three scratch buffers: V, U and M, or V, A dY A^T and the parts of dU.
    pub fn scratch(&self) -> [usize; 3] {
        let Convolution { inputs, outputs, .. } = self.layer;
        if self.pass == Pass::WeightGradient {
            [self.planes(inputs), self.planes(outputs), self.parts(self.batch) * self.filters()]
        } else {
            [self.planes(inputs), self.filters(), self.planes(outputs)]
        }
    }

    /// The pass's calls. Errors: a shader that the driver rejects.
    pub fn record(&self, gpu: &Gpu, label: &str, product: Product, operands: &Operands<'_>) -> Result<Vec<Dispatch>> {
        let call = Call { winograd: self, gpu, label, product };
        let mut calls = Vec::new();
        if self.pass != Pass::WeightGradient {
            calls.push(call.filter(operands)?);
        }
        for first in (0..self.batch).step_by(self.slab) {
            calls.push(call.input(first, operands)?);
            if self.pass == Pass::WeightGradient {
                calls.push(call.gradient(first, operands)?);
                calls.push(call.product_weight(first, operands)?);
                calls.push(call.sum(first, operands)?);
                calls.push(call.weight(first, operands)?);
            } else {
                calls.push(call.product(first, operands)?);
                calls.push(call.output(first, operands)?);
            }
        }
        Ok(calls)
    }
}

/// What all calls of a pass share.
struct Call<'a> {
    winograd: &'a Winograd,
    gpu: &'a Gpu,
    label: &'a str,
    product: Product,
}

impl Call<'_> {
    fn source(&self, name: &'static str, files: Vec<&'static str>, access: &'static [Access]) -> Source {
        let tile = ("TILE", Constant::U32(count(self.winograd.tile.outputs())));
        Source { name, files, constants: vec![tile], entry: name.rsplit(' ').next().unwrap_or(name), access }
    }

    fn label(&self, what: &str) -> String {
        format!("{}, {what}", self.label)
    }

    /// Where `channels` of the slab from sample `first` on lie, and as many invocations as there are tiles and vectors.
    fn tiles(&self, source: &Source, first: usize, channels: usize, storages: &[&Slice]) -> Result<Dispatch> {
        let Winograd { layer, slab, .. } = *self.winograd;
        let dims = TileDims {
            height: count(layer.height),
            width: count(layer.width),
            channels: count(channels / 4),
            down: count(self.winograd.down()),
            across: count(self.winograd.across()),
            first: count(first),
            samples: count(slab),
            plane: count(self.winograd.plane(channels) / 4),
        };
        let sample = self.winograd.tiles() * channels / 4;
        let grid = move |samples: usize| spread((samples.saturating_sub(first).min(slab) * sample).div_ceil(64), 1);
        self.gpu.dispatch(self.label(source.entry), source, &dims, storages, grid)
    }

    /// The slab from sample `first` on.
    fn dims(&self, first: usize) -> ProductDims {
        let Convolution { inputs, outputs, .. } = self.winograd.layer;
        ProductDims {
            inputs: count(inputs / 4),
            outputs: count(outputs / 4),
            tiles: count(self.winograd.tiles()),
            first: count(first),
            samples: count(self.winograd.slab),
            part: count(self.winograd.part()),
            plane_inputs: count(self.winograd.plane(inputs) / 4),
            plane_outputs: count(self.winograd.plane(outputs) / 4),
            filters: count(self.winograd.filter_plane() / 4),
            unused: [0; 3],
        }
    }

    /// Weights become U.
    fn filter(&self, operands: &Operands<'_>) -> Result<Dispatch> {
        let mut source = self.source("winograd weight_filter", vec![LINES, PLANES, FILTER], &[Read, Write]);
        source.constants.push(self.turned());
        let Convolution { inputs, outputs, .. } = self.winograd.layer;
        let taps = inputs * outputs / 4;
        let dims = FilterDims { taps: count(taps), plane: count(self.winograd.filter_plane() / 4), unused: [0; 2] };
        let groups = spread(taps.div_ceil(64), 1);
        let storages = [operands.weight, &operands.scratch[1]];
        self.gpu.dispatch(self.label("filter"), &source, &dims, &storages, move |_| groups)
    }

    fn turned(&self) -> (&'static str, Constant) {
        ("TURNED", Constant::Bool(self.winograd.pass == Pass::InputGradient))
    }

    /// x, or dy for the input gradient, becomes V.
    fn input(&self, first: usize, operands: &Operands<'_>) -> Result<Dispatch> {
        let source = self.source("winograd input", vec![LINES, TILES, PLANES, INPUT], &[Read, Write]);
        self.tiles(&source, first, self.winograd.layer.inputs, &[operands.input, &operands.scratch[0]])
    }

    /// dy becomes A dY A^T.
    fn gradient(&self, first: usize, operands: &Operands<'_>) -> Result<Dispatch> {
        let source = self.source("winograd gradient", vec![LINES, TILES, PLANES, GRADIENT], &[Read, Write]);
        self.tiles(&source, first, self.winograd.layer.outputs, &[operands.weight, &operands.scratch[1]])
    }

    /// M = V U.
    fn product(&self, first: usize, operands: &Operands<'_>) -> Result<Dispatch> {
        let Self { product, winograd, .. } = *self;
        let mut source = self.source(
            product.pick("winograd_product tiled", "winograd_product registers"),
            product.pick(vec![PRODUCT, TILED], vec![PRODUCT, REGISTERS]),
            &[Read, Read, Write],
        );
        source.entry = "main";
        source.constants.extend(product.constants(1 << 20));
        source.constants.push(self.turned());
        let [v, u, m] = operands.scratch;
        let Winograd { tile, layer, slab, .. } = *winograd;
        let tiles = winograd.tiles();
        self.gpu.dispatch(self.label("product"), &source, &self.dims(first), &[v, u, m], move |samples| {
            product.grid(samples.saturating_sub(first).min(slab) * tiles, layer.outputs, tile.points())
        })
    }

    /// dU = V^T (A dY A^T), in parts.
    fn product_weight(&self, first: usize, operands: &Operands<'_>) -> Result<Dispatch> {
        let Self { product, winograd, .. } = *self;
        let mut source = self.source(
            product.pick("winograd_product_weight tiled", "winograd_product_weight registers"),
            product.pick(vec![PRODUCT_WEIGHT, TILED], vec![PRODUCT_WEIGHT, REGISTERS]),
            &[Read, Read, Write],
        );
        source.entry = "main";
        source.constants.extend(product.constants(winograd.tile.chunk()));
        let [v, d, sums] = operands.scratch;
        let winograd = *winograd;
        let Winograd { tile, layer, .. } = winograd;
        self.gpu.dispatch(self.label("product"), &source, &self.dims(first), &[v, d, sums], move |samples| {
            match winograd.parts(samples.saturating_sub(first)) {
                0 => [0; 3],
                parts => product.grid(layer.inputs, layer.outputs, parts * tile.points()),
            }
        })
    }

    /// M becomes y, or dx for the input gradient.
    fn output(&self, first: usize, operands: &Operands<'_>) -> Result<Dispatch> {
        let bias = operands.bias.filter(|_| self.winograd.pass == Pass::Forward);
        let mut source = self.source("winograd output", vec![LINES, TILES, OUTPUT], &[Read, Read, Write]);
        source.constants.push(("BIAS", Constant::Bool(bias.is_some())));
        let m = &operands.scratch[2];
        // Without a bias something else that is only read takes its place.
        let storages = [m, bias.unwrap_or(m), operands.output];
        self.tiles(&source, first, self.winograd.layer.outputs, &storages)
    }

    /// The parts of dU are added to the first, where there are several.
    fn sum(&self, first: usize, operands: &Operands<'_>) -> Result<Dispatch> {
        let source = self.source("winograd sum", vec![LINES, WEIGHT], &[Write, Write]);
        let storages = [&operands.scratch[2], operands.output];
        let winograd = *self.winograd;
        let groups = spread((winograd.filters() / 4).div_ceil(64), 1);
        self.gpu.dispatch(self.label("sum"), &source, &self.dims(first), &storages, move |samples| {
            if winograd.parts(samples.saturating_sub(first)) > 1 { groups } else { [0; 3] }
        })
    }

    /// dU becomes dW.
    fn weight(&self, first: usize, operands: &Operands<'_>) -> Result<Dispatch> {
        let source = self.source("winograd weight", vec![LINES, WEIGHT], &[Write, Write]);
        let storages = [&operands.scratch[2], operands.output];
        let Convolution { inputs, outputs, .. } = self.winograd.layer;
        let groups = spread((inputs * outputs / 4).div_ceil(64), 1);
        self.gpu.dispatch(self.label("weight"), &source, &self.dims(first), &storages, move |samples| {
            if samples > first { groups } else { [0; 3] }
        })
    }
}
