//! Convolutions and linear layers in all three passes; shaders `convolution.wgsl` and `convolution_weight.wgsl` ahead of a
//! product, twins [`reference::convolution`](crate::engine::cpu::reference::convolution) and
//! [`reference::linear`](crate::engine::cpu::reference::linear).
//!
//! Stride 1, zero padding kernel / 2, kernels 1 and 3. A linear layer is kernel 1 on a 1x1 map. The gradient of the bias
//! is not made here: it is a sum over pixels, and zero ahead of batch normalisation.
//!
//! Long sums are cut by shape alone, never by the device's speed, and added in a fixed order: a variant gives the same bits
//! wherever it runs on the same adapter.

use super::operands::{self, After, Convolution, Operands, Pass};
use super::product::{CHUNK, Product, REGISTERS, TILED, grid, ranges};
use super::product_half::{COOPERATIVE, EMULATED, HALF};
use super::reduce;
use super::reduce::{Sums, WINDOW};
use super::variant::Variant;
use super::winograd::Winograd;
use crate::engine::gpu::plumbing::capabilities::{Capabilities, Matrices};
use crate::engine::gpu::plumbing::device::{Gpu, Slice};
use crate::engine::gpu::plumbing::dispatch::Dispatch;
use crate::engine::gpu::plumbing::source::Access::{Read, Write};
use crate::engine::gpu::plumbing::source::shader;
use crate::engine::gpu::plumbing::source::{Access, Constant, Source};
use crate::error::{Error, Kind, Result};

pub(super) const FORWARD: &str = shader!("products/convolution");
pub(super) const WEIGHT: &str = shader!("products/convolution_weight");
pub(super) const TAPS: &str = shader!("shared/taps");

/// What is done to a result ahead of its store.
pub(super) const PLAIN: &str = shader!("products/convolution_plain");
pub(super) const RELU: &str = shader!("products/convolution_relu");
pub(super) const NORMALISED: &str = shader!("products/convolution_normalised");
pub(super) const MOMENTS: &str = shader!("products/convolution_moments");

/// Most bytes of a weight gradient's partial sums.
const PARTIAL_BYTES: usize = 64 << 20;
/// Most slabs of pixels: what one invocation of the reduction adds up.
const SLABS: usize = 512;
/// Workgroups of 128x128 results that large cards run at once, two to each of some 130 multiprocessors. A weight gradient in
/// f16 is cut into no more: further slabs would only be partial sums to write and to read, and a second round of few.
const WORKGROUPS: usize = 256;

/// What a direct pass runs: a product behind one of the two operand files.
struct Multiplier {
    /// Rows and columns of C that one workgroup computes.
    tile: (usize, usize),
    /// Of [outputs, weight gradients].
    names: [&'static str; 2],
    /// The product's; those of the operands go ahead of them.
    files: Vec<&'static str>,
    constants: Vec<(&'static str, Constant)>,
}

impl Multiplier {
    /// That of `variant`, with accumulators of `chunk` depths, for a kernel of that size. Errors: f16 on a device that was
    /// not opened for it.
    fn new(gpu: &Gpu, variant: Variant, chunk: usize, kernel: usize) -> Result<Self> {
        let product = match variant {
            Variant::Tiled { rows, columns, .. } => Product::Tiled { rows, columns },
            Variant::Registers => Product::Registers,
            Variant::Winograd { product, .. } => product,
            Variant::Half { tile, .. } => {
                let missing = || Error::new(Kind::Engine, "the device was not opened for f16");
                let form = match gpu.matrices.ok_or_else(missing)? {
                    Matrices::Cooperative => COOPERATIVE,
                    Matrices::Emulated => EMULATED,
                };
                let names = ["convolution half", "convolution_weight half"];
                return Ok(Self {
                    tile: tile.tile(),
                    names,
                    files: vec![form, HALF],
                    constants: tile.constants(chunk),
                }
                .with_kernel(kernel));
            }
        };
        let names = product.pick(
            ["convolution tiled", "convolution_weight tiled"],
            ["convolution registers", "convolution_weight registers"],
        );
        let files = vec![product.pick(TILED, REGISTERS)];
        Ok(Self { tile: product.tile(), names, files, constants: product.constants(chunk) }.with_kernel(kernel))
    }

    fn with_kernel(mut self, kernel: usize) -> Self {
        self.constants.push(("KERNEL", Constant::U32(kernel as u32)));
        self
    }

    /// The whole program's files, behind those of the operands.
    fn files(&self, operands: &[&'static str]) -> Vec<&'static str> {
        [operands, &self.files].concat()
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
    let mut most = partial_floats(capabilities) / convolution.weights();
    if capabilities.half() {
        let tiles = (convolution.taps() * convolution.inputs).div_ceil(128) * convolution.outputs.div_ceil(128);
        most = most.min(WORKGROUPS / tiles);
    }
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

/// Whether `variant` can do more to a result than a ReLU: only products in f16 whose depth is in one part.
pub fn fuses(capabilities: &Capabilities, convolution: &Convolution, variant: Variant, batch: usize) -> bool {
    let results = batch * convolution.pixels() * convolution.outputs;
    matches!(variant, Variant::Half { .. }) && slices(capabilities, variant, results) == 1
}

/// `struct Dims` of both shaders.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Dims {
    height: u32,
    width: u32,
    inputs4: u32,
    outputs4: u32,
    first_row: u32,
    most_rows: u32,
    depth: u32,
    split: u32,
    plane_inverse: f32,
    width_inverse: f32,
    inputs_inverse: f32,
    biased: u32,
}

impl Dims {
    fn new(convolution: &Convolution, inputs: usize, outputs: usize, depth: usize) -> Self {
        let inverse = |n: usize| 1.0 / n as f32;
        Self {
            height: convolution.height as u32,
            width: convolution.width as u32,
            inputs4: (inputs / 4) as u32,
            outputs4: (outputs / 4) as u32,
            first_row: 0,
            most_rows: 0,
            depth: depth as u32,
            split: 0,
            plane_inverse: inverse(convolution.pixels()),
            width_inverse: inverse(convolution.width),
            inputs_inverse: inverse(inputs / 4),
            biased: 0,
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
    operands::check(convolution, batch)?;
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
    let after = if transposed { After::Nothing } else { operands.after };
    let Convolution { inputs, outputs, .. } = *convolution;
    let (inputs, outputs) = if transposed { (outputs, inputs) } else { (inputs, outputs) };
    let (pixels, depth) = (convolution.pixels(), convolution.taps() * inputs);
    let slices = slices(&gpu.capabilities(), variant, batch * pixels * outputs);
    let multiplier = Multiplier::new(gpu, variant, 1 << 20, convolution.kernel)?;
    let relu = matches!(after, After::Relu);
    let (finish, more, access): (_, _, &'static [Access]) = match after {
        After::Relu if slices == 1 => (RELU, None, &[Read, Read, Read, Write]),
        After::Nothing | After::Relu => (PLAIN, None, &[Read, Read, Read, Write]),
        After::Normalise(saved) => (NORMALISED, Some(saved), &[Read, Read, Read, Write, Read]),
        After::Moments(moments) => (MOMENTS, Some(moments), &[Read, Read, Read, Write, Write]),
    };
    let full = slices > 1 || operands.full;
    let files = multiplier.files(&[TAPS, WINDOW, FORWARD, finish]);
    let Multiplier { tile, names, mut constants, .. } = multiplier;
    constants.extend([
        ("TRANSPOSED", Constant::Bool(transposed)),
        ("Output", Constant::Type(if full { "vec4<f32>" } else { "Quad" })),
    ]);
    let source = Source { name: names[0], files, constants, entry: "main", access };
    let mut dims = Dims::new(convolution, inputs, outputs, depth.div_ceil(slices).next_multiple_of(16));
    dims.split = (slices > 1).into();
    dims.biased = (slices == 1 && bias.is_some()).into();
    let partials = scratch[0].part(0, if slices > 1 { slices * batch * pixels * outputs } else { 0 });
    let target = if slices > 1 { &partials } else { output };
    let storages: Vec<&Slice> = [input, weight, bias.unwrap_or(weight), target].into_iter().chain(more).collect();
    let mut calls = Vec::new();
    for (first, most) in ranges(batch * pixels, outputs, depth) {
        (dims.first_row, dims.most_rows) = (first as u32, most as u32);
        let groups =
            move |samples: usize| grid(tile, (samples * pixels).saturating_sub(first).min(most), outputs, slices);
        calls.push(gpu.dispatch(label, &source, &dims, &storages, groups)?);
    }
    if slices > 1 {
        let sums = Sums { bias, relu, full: operands.full };
        calls.push(reduce::slices(gpu, label, &partials, output, sums, [slices, pixels * outputs, outputs])?);
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
    let multiplier = Multiplier::new(gpu, variant, CHUNK, convolution.kernel)?;
    let files = multiplier.files(&[TAPS, WEIGHT]);
    let Multiplier { tile, names, constants, .. } = multiplier;
    let source = Source { name: names[1], files, constants, entry: "main", access: &[Read, Read, Write] };
    let mut dims = Dims::new(convolution, inputs, outputs, slab);
    dims.split = (count > 1).into();
    let partials = scratch[0].part(0, if count > 1 { count * convolution.weights() } else { 0 });
    let storages = [input, dy, if count > 1 { &partials } else { output }];
    let mut calls = Vec::new();
    for (first, most) in ranges(rows, outputs, batch * pixels) {
        (dims.first_row, dims.most_rows) = (first as u32, most as u32);
        let groups = move |samples: usize| grid(tile, most, outputs, (samples * pixels).div_ceil(slab));
        calls.push(gpu.dispatch(label, &source, &dims, &storages, groups)?);
    }
    if count > 1 {
        calls.push(reduce::slabs(gpu, label, &partials, output, convolution.weights(), pixels, slab)?);
    }
    Ok(calls)
}
