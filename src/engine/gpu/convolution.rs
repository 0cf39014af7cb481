//! Convolutions and linear layers in all three passes; shaders `convolution.wgsl` and `convolution_weight.wgsl` ahead of a
//! product, twins [`reference::convolution`](crate::engine::cpu::reference::convolution) and
//! [`reference::linear`](crate::engine::cpu::reference::linear).
//!
//! Stride 1, zero padding kernel / 2, kernels 1 and 3. A linear layer is kernel 1 on a 1x1 map. The gradient of the bias
//! is not made here: it is a sum over pixels, and zero ahead of batch normalisation.
//!
//! Long sums are cut by shape alone, never by the device's speed, and added in a fixed order: a variant gives the same bits
//! wherever it runs on the same adapter.

use super::device::{Gpu, Slice};
use super::dispatch::Dispatch;
use super::product::{CHUNK, Product, REGISTERS, TILED, ranges};
use super::program::Access::{Read, Write};
use super::program::{Constant, Source};
use super::reduce;
use super::winograd::{self, Tile, Winograd};
use crate::error::{Error, Kind, Result};

const FORWARD: &str = include_str!("../../../shaders/convolution.wgsl");
const WEIGHT: &str = include_str!("../../../shaders/convolution_weight.wgsl");

/// Most bytes of a weight gradient's partial sums.
const PARTIAL_BYTES: usize = 64 << 20;
/// Most slabs of pixels: what one invocation of the reduction adds up.
const SLABS: usize = 512;
/// Maps of at most this many pixels give products with few rows, whose depth is worth splitting.
const SMALL_MAP: usize = 16;

/// One convolution; channels as the device has them: multiples of four. A linear layer is kernel 1 on a 1x1 map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// 1 or 3.
    pub kernel: usize,
    /// Rows of the map, in and out.
    pub height: usize,
    /// Columns of the map, in and out.
    pub width: usize,
    /// Channels of x.
    pub inputs: usize,
    /// Channels of y.
    pub outputs: usize,
}

impl Convolution {
    /// Pixels of a map.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Of the kernel: 1 or 9.
    pub fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Floats of its weight, [taps][inputs][outputs].
    pub fn weights(&self) -> usize {
        self.taps() * self.inputs * self.outputs
    }

    /// What the device's 32-bit arithmetic can count. Errors: sizes that no network of ours has.
    fn check(&self, batch: usize) -> Result<()> {
        let widest = self.inputs.max(self.outputs);
        let sizes = matches!(self.kernel, 1 | 3)
            && self.inputs.is_multiple_of(4)
            && self.outputs.is_multiple_of(4)
            && (1..1 << 15).contains(&self.height)
            && (1..1 << 15).contains(&self.width)
            && batch < 1 << 22
            && (batch * self.pixels()).saturating_mul(widest.max(4)) < 1 << 33
            && self.weights() < 1 << 33;
        let message = || format!("no kernel for batches of {batch} of {self:?}");
        if sizes { Ok(()) } else { Err(Error::new(Kind::Engine, message())) }
    }
}

/// The three products of a layer in a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// y from x and the weight.
    Forward,
    /// dx from dy and the weight.
    InputGradient,
    /// dweight from x and dy.
    WeightGradient,
}

impl Pass {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Forward, Self::InputGradient, Self::WeightGradient];

    /// For labels and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::InputGradient => "input gradient",
            Self::WeightGradient => "weight gradient",
        }
    }
}

/// A way to compute a pass. Its [name](Variant::name) goes into checkpoints: a resumed training has the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// As one product in tiles of workgroup memory.
    Tiled {
        /// Rows of a tile.
        rows: u32,
        /// Columns of a tile.
        columns: u32,
        /// Parts that the depth is split into; 1 for weight gradients, whose slabs of pixels follow from the shape.
        slices: u32,
    },
    /// As one product in registers only, for software devices.
    Registers,
    /// By Winograd's minimal filtering: kernels of 3.
    Winograd {
        /// F(2x2, 3x3) or F(4x4, 3x3).
        tile: Tile,
        /// Of its products.
        product: Product,
    },
}

impl Variant {
    /// For labels and files; [`Variant::parse`] reads it.
    pub fn name(self) -> String {
        match self {
            Self::Tiled { rows, columns, slices: 1 } => format!("tiled {rows}x{columns}"),
            Self::Tiled { rows, columns, slices } => format!("tiled {rows}x{columns}/{slices}"),
            Self::Registers => "registers".into(),
            Self::Winograd { tile, product: Product::Tiled { rows, columns } } => {
                format!("winograd{} {}", tile.outputs(), tiled(rows, columns, 1).name())
            }
            Self::Winograd { tile, product: Product::Registers } => format!("winograd{} registers", tile.outputs()),
        }
    }

    /// What [`Variant::name`] gave, or nothing.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "registers" {
            return Some(Self::Registers);
        }
        for tile in Tile::ALL {
            if let Some(product) = name.strip_prefix(&format!("winograd{} ", tile.outputs())) {
                return match Self::parse(product)? {
                    Self::Registers => Some(Self::Winograd { tile, product: Product::Registers }),
                    Self::Tiled { rows, columns, slices: 1 } => {
                        Some(Self::Winograd { tile, product: Product::Tiled { rows, columns } })
                    }
                    _ => None,
                };
            }
        }
        let (rows, rest) = name.strip_prefix("tiled ")?.split_once('x')?;
        let (columns, slices) = rest.split_once('/').unwrap_or((rest, "1"));
        let tiled =
            Self::Tiled { rows: rows.parse().ok()?, columns: columns.parse().ok()?, slices: slices.parse().ok()? };
        TILES.contains(&tiled).then_some(tiled)
    }
}

const fn tiled(rows: u32, columns: u32, slices: u32) -> Variant {
    Variant::Tiled { rows, columns, slices }
}

/// All that there are, large tiles first.
const TILES: [Variant; 9] = [
    tiled(128, 128, 1),
    tiled(128, 64, 1),
    tiled(64, 64, 1),
    tiled(128, 128, 4),
    tiled(128, 64, 4),
    tiled(64, 64, 4),
    tiled(128, 128, 16),
    tiled(128, 64, 16),
    tiled(64, 64, 16),
];

/// Every variant that this device can run for this pass, a good default first. `precise` forbids those with larger rounding
/// errors than a plain sum.
pub fn variants(gpu: &Gpu, convolution: &Convolution, pass: Pass, precise: bool) -> Vec<Variant> {
    let columns = if pass == Pass::InputGradient { convolution.inputs } else { convolution.outputs };
    let depth = convolution.taps() * if pass == Pass::InputGradient { convolution.outputs } else { convolution.inputs };
    let split = pass != Pass::WeightGradient && convolution.pixels() <= SMALL_MAP && depth >= 512;
    let suits = |variant: &&Variant| match **variant {
        Variant::Tiled { columns: tile, slices, .. } => {
            // A tile twice as wide as C computes nothing in half of it. Sixteen parts are for linear layers.
            (tile == 64 || columns > 64) && (slices == 1 || split && (slices == 4 || convolution.pixels() == 1))
        }
        Variant::Registers | Variant::Winograd { .. } => true,
    };
    let software = (gpu.software() && Product::registers(gpu)).then_some(Variant::Registers);
    let tiles: Vec<Variant> = TILES.iter().filter(suits).copied().collect();
    // A batch of a linear layer is one row of tiles: unsplit it leaves most of a card idle.
    let (fine, coarse): (Vec<_>, Vec<_>) =
        tiles.into_iter().partition(|v| matches!(v, Variant::Tiled { slices: 4, .. }) && convolution.pixels() == 1);
    let winograd = winograd::variants(gpu, convolution, pass, precise);
    let winograd = winograd.into_iter().map(|(tile, product)| Variant::Winograd { tile, product });
    software.into_iter().chain(fine).chain(coarse).chain(winograd).collect()
}

/// The product's form, and the parts of its depth.
fn product(variant: Variant) -> (Product, usize) {
    match variant {
        Variant::Tiled { rows, columns, slices } => (Product::Tiled { rows, columns }, slices as usize),
        Variant::Registers => (Product::Registers, 1),
        Variant::Winograd { product, .. } => (product, 1),
    }
}

/// How Winograd's minimal filtering does a pass, where that is what `variant` says and what suits the layer; elsewhere the
/// variant's product runs over the pixels.
fn winograd(gpu: &Gpu, convolution: &Convolution, pass: Pass, variant: Variant, batch: usize) -> Option<Winograd> {
    let Variant::Winograd { tile, .. } = variant else { return None };
    Winograd::new(gpu, tile, convolution, pass, batch)
}

/// Slabs of pixels at most, and pixels of each: as many as keep their partial sums in bounds, of whole chunks. Where it
/// takes longer slabs for that, the product adds up chunks of [`CHUNK`] pixels itself.
fn slabs(gpu: &Gpu, convolution: &Convolution, batch: usize) -> (usize, usize) {
    let pixels = batch * convolution.pixels();
    let most = (PARTIAL_BYTES / 4).min(gpu.binding_floats()) / convolution.weights();
    let slab = pixels.div_ceil(most.clamp(1, SLABS)).next_multiple_of(CHUNK);
    (pixels.div_ceil(slab), slab)
}

/// Floats of each of three scratch buffers that [`record`] takes for batches of up to `batch` samples.
pub fn scratch(gpu: &Gpu, convolution: &Convolution, pass: Pass, variant: Variant, batch: usize) -> [usize; 3] {
    if let Some(winograd) = winograd(gpu, convolution, pass, variant, batch) {
        return winograd.scratch();
    }
    let floats = match (pass, product(variant).1) {
        (Pass::WeightGradient, _) => match slabs(gpu, convolution, batch).0 {
            0 | 1 => 0,
            count => count * convolution.weights(),
        },
        (_, 1) => 0,
        (Pass::Forward, slices) => slices * batch * convolution.pixels() * convolution.outputs,
        (Pass::InputGradient, slices) => slices * batch * convolution.pixels() * convolution.inputs,
    };
    [floats, 0, 0]
}

/// What a pass reads and writes. All are NHWC, weights [taps][inputs][outputs], channels padded by zeros.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// Forward and weight gradient: x [n][height][width][inputs]; input gradient: dy, with outputs.
    pub input: &'a Slice,
    /// Forward and input gradient: the weight; **weight gradient: dy**.
    pub weight: &'a Slice,
    /// Of the forward pass, [outputs]; ignored elsewhere.
    pub bias: Option<&'a Slice>,
    /// Forward: y; input gradient: dx; weight gradient: dweight. Overwritten, but that dweight is added to where
    /// `step.accumulate` is 1.
    pub output: &'a Slice,
    /// As large as [`scratch`] says; may be shared with everything that runs before or after.
    pub scratch: &'a [Slice; 3],
}

/// `struct Dims` of both shaders.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Dims {
    height: u32,
    width: u32,
    inputs4: u32,
    outputs4: u32,
    kernel: u32,
    first_row: u32,
    most_rows: u32,
    depth: u32,
    plane_inverse: f32,
    width_inverse: f32,
    inputs_inverse: f32,
    split: u32,
    biased: u32,
    unused: [u32; 3],
}

impl Dims {
    fn new(convolution: &Convolution, inputs: usize, outputs: usize, depth: usize) -> Self {
        let inverse = |n: usize| 1.0 / n as f32;
        Self {
            height: convolution.height as u32,
            width: convolution.width as u32,
            inputs4: (inputs / 4) as u32,
            outputs4: (outputs / 4) as u32,
            kernel: convolution.kernel as u32,
            first_row: 0,
            most_rows: 0,
            depth: depth as u32,
            plane_inverse: inverse(convolution.pixels()),
            width_inverse: inverse(convolution.width),
            inputs_inverse: inverse(inputs / 4),
            split: 0,
            biased: 0,
            unused: [0; 3],
        }
    }
}

/// The calls of one pass for batches of up to `batch` samples; how many there are comes with each submission.
/// Errors: a shader that the driver rejects, sizes beyond 32 bits.
pub fn record(
    gpu: &Gpu,
    label: &str,
    convolution: &Convolution,
    pass: Pass,
    variant: Variant,
    batch: usize,
    operands: &Operands<'_>,
) -> Result<Vec<Dispatch>> {
    convolution.check(batch)?;
    let label = format!("{label} {}, {}", pass.name(), variant.name());
    let (product, slices) = product(variant);
    if let Some(winograd) = winograd(gpu, convolution, pass, variant, batch) {
        return winograd.record(gpu, &label, product, operands);
    }
    match pass {
        Pass::WeightGradient => weight_gradient(gpu, &label, convolution, product, batch, operands),
        _ => output(gpu, &label, convolution, pass == Pass::InputGradient, (product, slices), batch, operands),
    }
}

/// Forward, or `transposed` the input gradient: the same with dy for x and the weight read the other way round.
fn output(
    gpu: &Gpu,
    label: &str,
    convolution: &Convolution,
    transposed: bool,
    (product, slices): (Product, usize),
    batch: usize,
    operands: &Operands<'_>,
) -> Result<Vec<Dispatch>> {
    let Operands { input, weight, output, scratch, .. } = *operands;
    let bias = operands.bias.filter(|_| !transposed);
    let Convolution { inputs, outputs, .. } = *convolution;
    let (inputs, outputs) = if transposed { (outputs, inputs) } else { (inputs, outputs) };
    let (pixels, depth) = (convolution.pixels(), convolution.taps() * inputs);
    let mut constants = product.constants(1 << 20);
    constants.push(("TRANSPOSED", Constant::Bool(transposed)));
    let source = Source {
        name: product.pick("convolution tiled", "convolution registers"),
        files: product.pick(&[FORWARD, TILED], &[FORWARD, REGISTERS]),
        constants,
        entry: "main",
        access: &[Read, Read, Read, Write],
    };
    let mut dims = Dims::new(convolution, inputs, outputs, depth.div_ceil(slices).next_multiple_of(16));
    dims.split = (slices > 1).into();
    dims.biased = (slices == 1 && bias.is_some()).into();
    let target = if slices > 1 { &scratch[0] } else { output };
    let storages = [input, weight, bias.unwrap_or(weight), target];
    let mut calls = Vec::new();
    for (first, most) in ranges(batch * pixels, outputs, depth) {
        (dims.first_row, dims.most_rows) = (first as u32, most as u32);
        let grid =
            move |samples: usize| product.grid((samples * pixels).saturating_sub(first).min(most), outputs, slices);
        calls.push(gpu.dispatch(label, &source, &dims, &storages, grid)?);
    }
    if slices > 1 {
        calls.push(reduce::slices(gpu, label, &scratch[0], bias, output, [slices, pixels * outputs, outputs])?);
    }
    Ok(calls)
}

fn weight_gradient(
    gpu: &Gpu,
    label: &str,
    convolution: &Convolution,
    product: Product,
    batch: usize,
    operands: &Operands<'_>,
) -> Result<Vec<Dispatch>> {
    let Operands { input, weight: dy, output, scratch, .. } = *operands;
    let Convolution { inputs, outputs, .. } = *convolution;
    let (pixels, rows) = (convolution.pixels(), convolution.taps() * inputs);
    let (count, slab) = slabs(gpu, convolution, batch);
    let source = Source {
        name: product.pick("convolution_weight tiled", "convolution_weight registers"),
        files: product.pick(&[WEIGHT, TILED], &[WEIGHT, REGISTERS]),
        constants: product.constants(CHUNK),
        entry: "main",
        access: &[Read, Read, Write],
    };
    let mut dims = Dims::new(convolution, inputs, outputs, slab);
    dims.split = (count > 1).into();
    let storages = [input, dy, if count > 1 { &scratch[0] } else { output }];
    let mut calls = Vec::new();
    for (first, most) in ranges(rows, outputs, batch * pixels) {
        (dims.first_row, dims.most_rows) = (first as u32, most as u32);
        let grid = move |samples: usize| product.grid(most, outputs, (samples * pixels).div_ceil(slab));
        calls.push(gpu.dispatch(label, &source, &dims, &storages, grid)?);
    }
    if count > 1 {
        calls.push(reduce::slabs(gpu, label, &scratch[0], output, convolution.weights(), pixels, slab)?);
    }
    Ok(calls)
}
