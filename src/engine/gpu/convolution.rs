//! Convolutions and linear layers in all three passes; shaders `convolution.wgsl` and `convolution_weight.wgsl` ahead of a
//! product, twins [`reference::convolution`](crate::engine::cpu::reference::convolution) and
//! [`reference::linear`](crate::engine::cpu::reference::linear).
//!
//! Stride 1, zero padding kernel / 2, kernels 1 and 3. A linear layer is kernel 1 on a 1x1 map. The gradient of the bias
//! is not made here: it is a sum over pixels, and zero ahead of batch normalisation.
//!
//! Long sums are cut by shape alone, never by the device's speed, and added in a fixed order: a variant gives the same bits
//! wherever it runs on the same adapter.

use super::adapter::Capabilities;
use super::device::{Gpu, Slice};
use super::dispatch::Dispatch;
use super::precision::Matrices;
use super::product::{CHUNK, Product, REGISTERS, TILED, grid, ranges};
use super::product_half::{COOPERATIVE, EMULATED, HALF};
use super::program::Access::{Read, Write};
use super::program::{Constant, Source};
use super::reduce;
pub use super::variant::{Pass, Variant, variants};
use super::winograd::Winograd;
use crate::error::{Error, Kind, Result};

pub(super) const FORWARD: &str = include_str!("../../../shaders/convolution.wgsl");
pub(super) const WEIGHT: &str = include_str!("../../../shaders/convolution_weight.wgsl");

/// Most bytes of a weight gradient's partial sums.
const PARTIAL_BYTES: usize = 64 << 20;
/// Most slabs of pixels: what one invocation of the reduction adds up.
const SLABS: usize = 512;
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

/// What a direct pass runs: a product behind one of the two operand files.
struct Multiplier {
    /// Rows and columns of C that one workgroup computes.
    tile: (usize, usize),
    /// Of [outputs, weight gradients].
    names: [&'static str; 2],
    files: [&'static [&'static str]; 2],
    constants: Vec<(&'static str, Constant)>,
}

impl Multiplier {
    /// That of `variant`, with accumulators of `chunk` depths. Errors: f16 on a device that was not opened for it.
    fn new(gpu: &Gpu, variant: Variant, chunk: usize) -> Result<Self> {
        let product = match variant {
            Variant::Tiled { rows, columns, .. } => Product::Tiled { rows, columns },
            Variant::Registers => Product::Registers,
            Variant::Winograd { product, .. } => product,
            Variant::Half { tile, .. } => {
                let missing = || Error::new(Kind::Engine, "the device was not opened for f16");
                let matrices = gpu.matrices.ok_or_else(missing)?;
                let cooperative: [&[&str]; 2] = [&[FORWARD, COOPERATIVE, HALF], &[WEIGHT, COOPERATIVE, HALF]];
                let emulated: [&[&str]; 2] = [&[FORWARD, EMULATED, HALF], &[WEIGHT, EMULATED, HALF]];
                return Ok(Self {
                    tile: tile.tile(),
                    names: ["convolution half", "convolution_weight half"],
                    files: if matrices == Matrices::Cooperative { cooperative } else { emulated },
                    constants: tile.constants(chunk),
                });
            }
        };
        Ok(Self {
            tile: product.tile(),
            names: product.pick(
                ["convolution tiled", "convolution_weight tiled"],
                ["convolution registers", "convolution_weight registers"],
            ),
            files: product.pick([&[FORWARD, TILED], &[WEIGHT, TILED]], [&[FORWARD, REGISTERS], &[WEIGHT, REGISTERS]]),
            constants: product.constants(chunk),
        })
    }
}

/// Parts of the depth of a product with `results` floats; one where their partial sums would be too large.
fn slices(capabilities: &Capabilities, variant: Variant, results: usize) -> usize {
    match variant {
        Variant::Tiled { slices, .. } | Variant::Half { slices, .. }
            if slices as usize * results <= partial_floats(capabilities) =>
        {
            slices as usize
        }
        _ => 1,
    }
}

/// Most floats of partial sums.
fn partial_floats(capabilities: &Capabilities) -> usize {
    (PARTIAL_BYTES / 4).min(capabilities.binding_floats)
}

/// How Winograd's minimal filtering does a pass, where that is what `variant` says and what suits the layer; elsewhere the
/// variant's product runs over the pixels.
fn winograd(
    capabilities: &Capabilities,
    convolution: &Convolution,
    pass: Pass,
    variant: Variant,
    batch: usize,
) -> Option<Winograd> {
    let Variant::Winograd { tile, .. } = variant else { return None };
    Winograd::new(capabilities, tile, convolution, pass, batch)
}

/// Slabs of pixels at most, and pixels of each: as many as keep their partial sums in bounds, of whole chunks. Where it
/// takes longer slabs for that, the product adds up chunks of [`CHUNK`] pixels itself.
fn slabs(capabilities: &Capabilities, convolution: &Convolution, batch: usize) -> (usize, usize) {
    let pixels = batch * convolution.pixels();
    let most = partial_floats(capabilities) / convolution.weights();
    let slab = pixels.div_ceil(most.clamp(1, SLABS)).next_multiple_of(CHUNK);
    (pixels.div_ceil(slab), slab)
}

/// Floats of each of three scratch buffers that [`record`] takes for batches of up to `batch` samples.
pub fn scratch(
    capabilities: &Capabilities,
    convolution: &Convolution,
    pass: Pass,
    variant: Variant,
    batch: usize,
) -> [usize; 3] {
    if let Some(winograd) = winograd(capabilities, convolution, pass, variant, batch) {
        return winograd.scratch();
    }
    let pixels = batch * convolution.pixels();
    let (parts, results) = match pass {
        Pass::WeightGradient => (slabs(capabilities, convolution, batch).0, convolution.weights()),
        Pass::Forward => (slices(capabilities, variant, pixels * convolution.outputs), pixels * convolution.outputs),
        Pass::InputGradient => {
            (slices(capabilities, variant, pixels * convolution.inputs), pixels * convolution.inputs)
        }
    };
    [if parts > 1 { parts * results } else { 0 }, 0, 0]
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
    if let Variant::Winograd { product, .. } = variant
        && let Some(winograd) = winograd(&gpu.capabilities(), convolution, pass, variant, batch)
    {
        return winograd.record(gpu, &label, product, operands);
    }
    match pass {
        Pass::WeightGradient => weight_gradient(gpu, &label, convolution, variant, batch, operands),
        _ => output(gpu, &label, convolution, pass == Pass::InputGradient, variant, batch, operands),
    }
}

/// Forward, or `transposed` the input gradient: the same with dy for x and the weight read the other way round.
fn output(
    gpu: &Gpu,
    label: &str,
    convolution: &Convolution,
    transposed: bool,
    variant: Variant,
    batch: usize,
    operands: &Operands<'_>,
) -> Result<Vec<Dispatch>> {
    let Operands { input, weight, output, scratch, .. } = *operands;
    let bias = operands.bias.filter(|_| !transposed);
    let Convolution { inputs, outputs, .. } = *convolution;
    let (inputs, outputs) = if transposed { (outputs, inputs) } else { (inputs, outputs) };
    let (pixels, depth) = (convolution.pixels(), convolution.taps() * inputs);
    let slices = slices(&gpu.capabilities(), variant, batch * pixels * outputs);
    let Multiplier { tile, names, files, mut constants } = Multiplier::new(gpu, variant, 1 << 20)?;
    constants.push(("TRANSPOSED", Constant::Bool(transposed)));
    let source =
        Source { name: names[0], files: files[0], constants, entry: "main", access: &[Read, Read, Read, Write] };
    let mut dims = Dims::new(convolution, inputs, outputs, depth.div_ceil(slices).next_multiple_of(16));
    dims.split = (slices > 1).into();
    dims.biased = (slices == 1 && bias.is_some()).into();
    let target = if slices > 1 { &scratch[0] } else { output };
    let storages = [input, weight, bias.unwrap_or(weight), target];
    let mut calls = Vec::new();
    for (first, most) in ranges(batch * pixels, outputs, depth) {
        (dims.first_row, dims.most_rows) = (first as u32, most as u32);
        let groups =
            move |samples: usize| grid(tile, (samples * pixels).saturating_sub(first).min(most), outputs, slices);
        calls.push(gpu.dispatch(label, &source, &dims, &storages, groups)?);
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
    variant: Variant,
    batch: usize,
    operands: &Operands<'_>,
) -> Result<Vec<Dispatch>> {
    let Operands { input, weight: dy, output, scratch, .. } = *operands;
    let Convolution { inputs, outputs, .. } = *convolution;
    let (pixels, rows) = (convolution.pixels(), convolution.taps() * inputs);
    let (count, slab) = slabs(&gpu.capabilities(), convolution, batch);
    let Multiplier { tile, names, files, constants } = Multiplier::new(gpu, variant, CHUNK)?;
    let source = Source { name: names[1], files: files[1], constants, entry: "main", access: &[Read, Read, Write] };
    let mut dims = Dims::new(convolution, inputs, outputs, slab);
    dims.split = (count > 1).into();
    let storages = [input, dy, if count > 1 { &scratch[0] } else { output }];
    let mut calls = Vec::new();
    for (first, most) in ranges(rows, outputs, batch * pixels) {
        (dims.first_row, dims.most_rows) = (first as u32, most as u32);
        let groups = move |samples: usize| grid(tile, most, outputs, (samples * pixels).div_ceil(slab));
        calls.push(gpu.dispatch(label, &source, &dims, &storages, groups)?);
    }
    if count > 1 {
        calls.push(reduce::slabs(gpu, label, &scratch[0], output, convolution.weights(), pixels, slab)?);
    }
    Ok(calls)
}
