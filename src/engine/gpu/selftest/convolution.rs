//! Convolutions and linear layers in all three passes and variants against
//! [`reference::convolution`](crate::engine::cpu::reference::convolution) in f64.

use super::{Check, Gpu, Step, distance, execute, padded, unpadded, unwritten, values};
use crate::engine::cpu::reference::convolution::{Sizes, backward_input, backward_weight, forward};
use crate::engine::cpu::reference::to_half;
use crate::engine::gpu::Slice;
use crate::engine::gpu::convolution::{Convolution, Operands, Pass, Variant, record, scratch, variants};
use crate::engine::gpu::precision::Matrices;
use crate::error::Result;

/// A layer as a network has it, and a batch that is smaller than what buffers are made for.
struct Layer {
    name: &'static str,
    sizes: Sizes,
    most: usize,
    /// Added to x and dy, whose mean is zero otherwise.
    mean: f32,
}

const fn layer(
    name: &'static str,
    kernel: usize,
    [height, width]: [usize; 2],
    [inputs, outputs]: [usize; 2],
    [batch, most]: [usize; 2],
) -> Layer {
    Layer { name, sizes: Sizes { batch, height, width, inputs, outputs, kernel }, most, mean: 0.0 }
}

fn is_half(variant: Variant) -> bool {
    matches!(variant, Variant::Half { .. })
}

/// What the twin says of the factors as they are, and of those rounded to f16 where the device multiplies such.
struct Both {
    plain: Expected,
    half: Option<Expected>,
}

impl Both {
    fn of(gpu: &Gpu, layer: &Layer) -> Self {
        let half = gpu.matrices.map(|_| expected(layer, to_half::<f32>));
        Self { plain: expected(layer, <[f32]>::to_vec), half }
    }

    fn of_variant(&self, variant: Variant) -> &Expected {
        self.half.as_ref().filter(|_| is_half(variant)).unwrap_or(&self.plain)
    }
}

/// At most this far from the twin. Sums in f32 are as exact over f16 factors as over others: only roundings of the factors
/// themselves, at 1e-4 to 4e-4, would show. Matrix units may cut off what they align to the largest of four terms and the
/// sum so far (measured on NVIDIA's by Fasi et al. 2021, doi 10.7717/peerj-cs.330): at most an ulp, 2^-23, for each four of
/// the up to 1024 depths here.
fn allowed(gpu: &Gpu, variant: Variant) -> f64 {
    let cut = is_half(variant) && gpu.matrices == Some(Matrices::Cooperative);
    if cut { 256.0 / f64::from(1 << 23) } else { 2e-6 }
}

/// What the twin says, computed once in f64 for all variants; x, weight and dy as the device gets them.
struct Expected {
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
    y: Vec<f32>,
    dx: Vec<f32>,
    dweight: Vec<f32>,
}

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    let layers = [
        layer("one pixel of one channel", 3, [1, 1], [1, 1], [1, 1]),
        layer("padded channels", 3, [5, 7], [3, 6], [3, 5]),
        layer("beyond a tile", 3, [9, 8], [17, 134], [2, 2]),
        layer("1x1", 1, [4, 9], [37, 70], [5, 6]),
        layer("few rows, deep", 3, [2, 3], [58, 66], [3, 3]),
        layer("linear", 1, [1, 1], [550, 70], [37, 40]),
        layer("linear, one sample", 1, [1, 1], [6, 5], [1, 3]),
    ];
    for layer in &layers {
        let expected = Both::of(gpu, layer);
        for pass in Pass::ALL {
            for variant in direct(gpu, layer, pass) {
                check(gpu, layer, pass, variant, &expected, tell)?;
            }
        }
    }
    // One f32 accumulator over all these pixels would be off by 1e-5 and more.
    let layer = Layer { mean: 0.5, ..layer("many pixels, their mean not zero", 3, [50, 80], [4, 4], [10, 10]) };
    let many = Both::of(gpu, &layer);
    for variant in direct(gpu, &layer, Pass::WeightGradient) {
        check(gpu, &layer, Pass::WeightGradient, variant, &many, tell)?;
    }
    // Slabs of more than one chunk; more than 65,535 workgroups of 32 rows, or 16,384 of 128.
    let sizes = Sizes { batch: 2, height: 1024, width: 1025, inputs: 4, outputs: 4, kernel: 1 };
    let layer = Layer { name: "two million pixels", sizes, most: 2, mean: 0.5 };
    let million = Both::of(gpu, &layer);
    for pass in [Pass::Forward, Pass::WeightGradient] {
        let mut all = variants(&gpu.capabilities(), &convolution(&layer), pass, false);
        // Emulated, it would take half a minute; the grid and the slabs are those of the other forms.
        all.retain(|v| !is_half(*v) || gpu.matrices == Some(Matrices::Cooperative));
        for half in [true, false] {
            if let Some(variant) = all.iter().find(|v| is_half(**v) == half) {
                check(gpu, &layer, pass, *variant, &million, tell)?;
            }
        }
    }
    Ok(())
}

/// All variants but Winograd's, which `winograd` checks at sizes of its own.
fn direct(gpu: &Gpu, layer: &Layer, pass: Pass) -> impl Iterator<Item = Variant> {
    let all = variants(&gpu.capabilities(), &convolution(layer), pass, false).into_iter();
    all.filter(|variant| !matches!(variant, Variant::Winograd { .. }))
}

fn convolution(layer: &Layer) -> Convolution {
    let Sizes { height, width, inputs, outputs, kernel, .. } = layer.sizes;
    let (inputs, outputs) = (inputs.next_multiple_of(4), outputs.next_multiple_of(4));
    Convolution { kernel, height, width, inputs, outputs }
}

#[expect(clippy::cast_possible_truncation, reason = "f64 is for the sums; results are compared as f32")]
fn expected(layer: &Layer, factors: fn(&[f32]) -> Vec<f32>) -> Expected {
    let sizes = layer.sizes;
    let pixels = sizes.batch * sizes.height * sizes.width;
    let shifted = |seed, count| -> Vec<f32> { values(seed, count).iter().map(|v| v + layer.mean).collect() };
    let x = shifted(1, pixels * sizes.inputs);
    let weight = values(2, sizes.outputs * sizes.inputs * sizes.kernel * sizes.kernel);
    let bias = values(3, sizes.outputs);
    let dy = shifted(4, pixels * sizes.outputs);
    let wide = |v: &[f32]| -> Vec<f64> { v.iter().map(|v| f64::from(*v)).collect() };
    let narrow = |v: Vec<f64>| -> Vec<f32> { v.iter().map(|v| *v as f32).collect() };
    let (mut y, mut dx) = (vec![0.0f64; dy.len()], vec![0.0; x.len()]);
    let (mut dweight, mut dbias) = (vec![0.0; weight.len()], vec![0.0; bias.len()]);
    let wides = [&factors(&x), &factors(&weight), &bias, &factors(&dy)].map(|v| wide(v));
    forward(sizes, &wides[0], &wides[1], &wides[2], &mut y);
    backward_input(sizes, &wides[1], &wides[3], &mut dx);
    backward_weight(sizes, &wides[0], &wides[3], &mut dweight, &mut dbias);
    Expected { x, weight, bias, dy, y: narrow(y), dx: narrow(dx), dweight: narrow(dweight) }
}

/// [outputs][inputs][taps] as the device has it: [taps][inputs][outputs], both channels padded by zeros.
fn to_device(weight: &[f32], sizes: Sizes) -> Vec<f32> {
    let taps = sizes.kernel * sizes.kernel;
    let (inputs, outputs) = (sizes.inputs.next_multiple_of(4), sizes.outputs.next_multiple_of(4));
    let mut to = vec![0.0; taps * inputs * outputs];
    for (o, weight) in weight.chunks_exact(sizes.inputs * taps).enumerate() {
        for (i, weight) in weight.chunks_exact(taps).enumerate() {
            for (tap, v) in weight.iter().enumerate() {
                to[(tap * inputs + i) * outputs + o] = *v;
            }
        }
    }
    to
}

fn check(
    gpu: &Gpu,
    layer: &Layer,
    pass: Pass,
    variant: Variant,
    expected: &Both,
    tell: &mut dyn FnMut(Check),
) -> Result<()> {
    let Layer { name, sizes, most, .. } = *layer;
    let expected = expected.of_variant(variant);
    let convolution = convolution(layer);
    let [x, dy] = [(&expected.x, sizes.inputs), (&expected.dy, sizes.outputs)].map(|(v, channels)| padded(v, channels));
    let weight = to_device(&expected.weight, sizes);
    let (input, weight, output) = match pass {
        Pass::Forward => (x, weight, dy.len()),
        Pass::InputGradient => (dy, weight, x.len()),
        Pass::WeightGradient => (x, dy, weight.len()),
    };
    let (input, weight) = (gpu.upload("input", &input)?, gpu.upload("weight", &weight)?);
    let bias = gpu.upload("bias", &padded(&expected.bias, sizes.outputs))?;
    let output = unwritten(gpu, output)?;
    let scratch: Vec<Slice> = scratch(&gpu.capabilities(), &convolution, pass, variant, most)
        .iter()
        .map(|n| unwritten(gpu, *n))
        .collect::<Result<_>>()?;
    let [a, b, c] = &scratch[..] else { unreachable!("three") };
    let scratch = [a.clone(), b.clone(), c.clone()];
    let operands = Operands { input: &input, weight: &weight, bias: Some(&bias), output: &output, scratch: &scratch };
    let calls = record(gpu, "selftest", &convolution, pass, variant, most, &operands)?;
    execute(gpu, &calls, sizes.batch, Step::default())?;
    let ours = gpu.read::<f32>(&output)?;
    let mut error = match pass {
        Pass::Forward => distance(&unpadded(&ours, sizes.outputs), &expected.y),
        Pass::InputGradient => distance(&unpadded(&ours, sizes.inputs), &expected.dx),
        Pass::WeightGradient => distance(&ours, &to_device(&expected.dweight, sizes)),
    };
    if pass == Pass::WeightGradient {
        execute(gpu, &calls, sizes.batch, Step { accumulate: 1, ..Step::default() })?;
        let twice: Vec<f32> = to_device(&expected.dweight, sizes).iter().map(|v| 2.0 * v).collect();
        error = error.max(distance(&gpu.read::<f32>(&output)?, &twice));
    }
    let Sizes { batch, height, width, inputs, outputs, kernel } = sizes;
    let sizes = format!("{name}: {batch}x{height}x{width}, {inputs} to {outputs} channels, kernel {kernel}");
    let allowed = allowed(gpu, variant);
    let variant = format!("{}, {}", pass.name(), variant.name());
    tell(Check { operation: "convolution", variant, sizes, error, allowed });
    Ok(())
}
