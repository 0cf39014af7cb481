//! Winograd's convolutions in all passes against
//! [`reference::convolution`](crate::engine::cpu::reference::convolution): maps smaller than a tile and not a multiple of
//! one, channels that need padding, tails of batches, several slabs, sums over many tiles.

use super::comparison::{Check, distance, execute, padded, unpadded, unwritten, values};
use crate::engine::cpu::reference::convolution::{Sizes, backward_input, backward_weight, forward};
use crate::engine::gpu::plumbing::device::Gpu;
use crate::engine::gpu::plumbing::step::StepUniform;
use crate::engine::gpu::products::operands::{After, Convolution, Operands, Pass};
use crate::engine::gpu::products::product::Product;
use crate::engine::gpu::products::variant::Variant;
use crate::engine::gpu::products::winograd::{Tile, Winograd};
use crate::error::Result;

/// A convolution to check: its sizes, how many samples run, how many a slab has at most, and what is added to x.
struct Case {
    sizes: Sizes,
    samples: usize,
    slab: usize,
    offset: f32,
}

/// [o][i][r][s] as the device has it: [tap][inputs, padded][outputs, padded].
fn packed(sizes: Sizes, weights: &[f32]) -> Vec<f32> {
    let (inputs, outputs) = (sizes.inputs.next_multiple_of(4), sizes.outputs.next_multiple_of(4));
    let mut to = vec![0.0; 9 * inputs * outputs];
    for (index, value) in weights.iter().enumerate() {
        let (tap, i, o) = (index % 9, index / 9 % sizes.inputs, index / 9 / sizes.inputs);
        to[(tap * inputs + i) * outputs + o] = *value;
    }
    to
}

/// The other way round; what is not zero in the padding becomes NaN.
fn unpacked(sizes: Sizes, values: &[f32]) -> Vec<f32> {
    let (inputs, outputs) = (sizes.inputs.next_multiple_of(4), sizes.outputs.next_multiple_of(4));
    let mut to = vec![0.0; 9 * sizes.inputs * sizes.outputs];
    let mut clean = true;
    for (index, value) in values.iter().enumerate() {
        let (tap, i, o) = (index / outputs / inputs, index / outputs % inputs, index % outputs);
        if i < sizes.inputs && o < sizes.outputs {
            to[(o * sizes.inputs + i) * 9 + tap] = *value;
        } else {
            clean &= *value == 0.0;
        }
    }
    if !clean {
        to.fill(f32::NAN);
    }
    to
}

fn check(gpu: &Gpu, tile: Tile, product: Product, pass: Pass, case: &Case) -> Result<f64> {
    let Case { sizes, samples, slab, offset } = *case;
    let Sizes { batch, height, width, inputs, outputs, kernel } = sizes;
    let (wide_inputs, wide_outputs) = (inputs.next_multiple_of(4), outputs.next_multiple_of(4));
    let layer = Convolution { kernel, height, width, inputs: wide_inputs, outputs: wide_outputs };
    let tiles = height.div_ceil(tile.outputs()) * width.div_ceil(tile.outputs());
    let floats = (slab * tiles * wide_inputs.max(wide_outputs) + 16) * tile.points();
    let Some(winograd) = Winograd::with_slabs(&gpu.capabilities(), tile, &layer, pass, batch, floats) else {
        return Ok(f64::INFINITY);
    };
    let pixels = height * width;
    let x: Vec<f32> = values(1, batch * pixels * inputs).iter().map(|v| v + offset).collect();
    let dy = values(2, batch * pixels * outputs);
    let (weights, bias) = (values(3, 9 * inputs * outputs), values(4, outputs));
    let (xs, dys) = (&x[..samples * pixels * inputs], &dy[..samples * pixels * outputs]);

    let (input, weight, output) = match pass {
        Pass::Forward => (padded(&x, inputs), packed(sizes, &weights), batch * pixels * wide_outputs),
        Pass::InputGradient => (padded(&dy, outputs), packed(sizes, &weights), batch * pixels * wide_inputs),
        Pass::WeightGradient => (padded(&x, inputs), padded(&dy, outputs), 9 * wide_inputs * wide_outputs),
    };
    let (input, weight) = (gpu.upload("input", &input)?, gpu.upload("weight", &weight)?);
    let bias = (gpu.upload("bias", &padded(&bias, outputs))?, bias);
    let output = unwritten(gpu, output)?;
    let [a, b, c] = winograd.scratch();
    let scratch = [unwritten(gpu, a)?, unwritten(gpu, b)?, unwritten(gpu, c)?];
    let (bias_of, after, full) = (Some(&bias.0), After::Nothing, false);
    let operands =
        Operands { input: &input, weight: &weight, bias: bias_of, after, full, output: &output, scratch: &scratch };
    let calls = winograd.record(gpu, "selftest", product, &operands)?;
    execute(gpu, &calls, samples, StepUniform::default())?;
    let ours = gpu.read::<f32>(&output)?;

    let run = Sizes { batch: samples, ..sizes };
    // Samples beyond the batch's tail are left alone.
    let compare = |channels: usize, twin: &[f32]| {
        let (written, rest) = ours.split_at(samples * pixels * channels.next_multiple_of(4));
        let untouched = rest.iter().all(|v| v.is_nan());
        if untouched { distance(&unpadded(written, channels), twin) } else { f64::INFINITY }
    };
    match pass {
        Pass::Forward => {
            let mut twin = vec![0.0; dys.len()];
            forward(run, xs, &weights, &bias.1, &mut twin);
            Ok(compare(outputs, &twin))
        }
        Pass::InputGradient => {
            let mut twin = vec![0.0; xs.len()];
            backward_input(run, &weights, dys, &mut twin);
            Ok(compare(inputs, &twin))
        }
        Pass::WeightGradient => {
            let (mut twin, mut unused) = (vec![0.0; weights.len()], vec![0.0; outputs]);
            backward_weight(run, xs, dys, &mut twin, &mut unused);
            let once = distance(&unpacked(sizes, &ours), &twin);
            execute(gpu, &calls, samples, StepUniform { accumulate: 1, ..StepUniform::default() })?;
            twin.iter_mut().for_each(|v| *v *= 2.0);
            Ok(once.max(distance(&unpacked(sizes, &gpu.read(&output)?), &twin)))
        }
    }
}

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    if gpu.half() {
        return Ok(()); // no activations in f16 (product_half.rs says why)
    }
    let sizes = |batch, height, width, inputs, outputs| Sizes { batch, height, width, inputs, outputs, kernel: 3 };
    let case = |sizes: Sizes, samples, slab| Case { sizes, samples, slab, offset: 0.0 };
    let cases = [
        case(sizes(1, 1, 1, 1, 1), 1, 1),
        case(sizes(2, 2, 3, 3, 5), 2, 2),
        // A tail that ends the second slab early and leaves out the third.
        case(sizes(5, 4, 4, 8, 12), 3, 2),
        case(sizes(3, 5, 7, 6, 70), 3, 1),
        case(sizes(4, 9, 6, 33, 20), 3, 4),
    ];
    // Many tiles of an input whose mean is not zero, as after ReLU, in several chunks and parts. One sum over all of them
    // is off by 1.5e-6 with F(2x2), by 2.5e-6 with F(4x4).
    let many = Case { sizes: sizes(8, 126, 127, 4, 4), samples: 8, slab: 8, offset: 1.0 };
    for (tile, allowed, allowed_many) in [(Tile::Two, 3e-6, 1.2e-6), (Tile::Four, 2e-5, 2e-6)] {
        for product in [Product::Registers, Product::Tiled { rows: 64, columns: 64 }] {
            if product == Product::Registers && !gpu.capabilities().subgroups_of_eight {
                continue;
            }
            let mut tell = |pass: Pass, case: &Case, allowed: f64| {
                let error = check(gpu, tile, product, pass, case)?;
                let variant = format!("{}, {}", pass.name(), Variant::Winograd { tile, product }.name());
                let Case { sizes: Sizes { batch, height, width, inputs, outputs, .. }, samples, slab, .. } = *case;
                let slabs = format!("slabs of {slab}");
                let sizes = format!("{samples} of {batch} x {height}x{width}, {inputs} to {outputs} channels, {slabs}");
                tell(Check { operation: "winograd", variant, sizes, error, allowed });
                Ok(())
            };
            for case in &cases {
                for pass in Pass::ALL {
                    tell(pass, case, allowed)?;
                }
            }
            // In tiles it takes seconds on a software device, where `convolution` checks the chunks of that product.
            if product == Product::Registers || !gpu.software() {
                tell(Pass::WeightGradient, &many, allowed_many)?;
            }
        }
    }
    Ok(())
}
