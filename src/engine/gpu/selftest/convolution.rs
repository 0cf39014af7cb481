//! Convolutions and linear layers in all three passes and variants against
//! [`reference::convolution`](crate::engine::cpu::reference::convolution) in f64.

use super::comparison::{
    Check, activations, distance, execute, narrow, padded, read_activations, rounding, stored, unpadded, unwritten,
    unwritten_activations, values, wide, worst,
};
use crate::engine::cpu::reference::convolution::{Sizes, backward_input, backward_weight, forward};
use crate::engine::cpu::reference::{batch_norm as twin, to_half};
use crate::engine::gpu::Slice;
use crate::engine::gpu::layers::batch_norm;
use crate::engine::gpu::plumbing::capabilities::Matrices;
use crate::engine::gpu::plumbing::device::Gpu;
use crate::engine::gpu::plumbing::step::StepUniform;
use crate::engine::gpu::products::convolution::{fuses, record, scratch};
use crate::engine::gpu::products::operands::{After, Convolution, Operands, Pass};
use crate::engine::gpu::products::product_half::Half;
use crate::engine::gpu::products::variant::{Variant, variants};
use crate::error::Result;
use crate::vgg::Shape;

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

/// All variants but Winograd's, which `winograd` checks at sizes of its own. Where matrix units are emulated, without a tile
/// whose parts others have: a processor takes seconds to compile each.
fn direct(gpu: &Gpu, layer: &Layer, pass: Pass) -> impl Iterator<Item = Variant> {
    let all = variants(&gpu.capabilities(), &convolution(layer), pass, false).into_iter();
    let emulated = gpu.matrices == Some(Matrices::Emulated);
    let again = move |variant: &Variant| {
        matches!(variant, Variant::Half { tile: Half { rows: 64, columns: 64, depth: 32 }, .. })
    };
    all.filter(move |variant| !(matches!(variant, Variant::Winograd { .. }) || emulated && again(variant)))
}

/// Whether what may follow a result is checked with `variant`: with every one on hardware, with the smallest tiles where
/// matrix units are emulated.
fn finishes(gpu: &Gpu, variant: Variant) -> bool {
    let smallest = matches!(variant, Variant::Half { tile: Half { rows: 64, columns: 64, depth: 16 }, .. });
    smallest || gpu.matrices != Some(Matrices::Emulated)
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
    let (input, weight) = (activations(gpu, "input", &input)?, activations(gpu, "weight", &weight)?);
    let bias = gpu.upload("bias", &padded(&expected.bias, sizes.outputs))?;
    let full = pass == Pass::WeightGradient;
    let output = if full { unwritten(gpu, output)? } else { unwritten_activations(gpu, output)? };
    let scratch: Vec<Slice> = scratch(&gpu.capabilities(), &convolution, pass, variant, most)
        .iter()
        .map(|n| unwritten(gpu, *n))
        .collect::<Result<_>>()?;
    let [a, b, c] = &scratch[..] else { unreachable!("three") };
    let scratch = [a.clone(), b.clone(), c.clone()];
    let operands = Operands {
        input: &input,
        weight: &weight,
        bias: Some(&bias),
        after: After::Nothing,
        full: false,
        output: &output,
        scratch: &scratch,
    };
    let calls = record(gpu, "selftest", &convolution, pass, variant, most, &operands)?;
    execute(gpu, &calls, sizes.batch, StepUniform::default())?;
    let ours = if full { gpu.read::<f32>(&output)? } else { read_activations(gpu, &output)? };
    let mut error = match pass {
        Pass::Forward => distance(&unpadded(&ours, sizes.outputs), &stored(gpu, expected.y.clone())),
        Pass::InputGradient => distance(&unpadded(&ours, sizes.inputs), &stored(gpu, expected.dx.clone())),
        Pass::WeightGradient => distance(&ours, &to_device(&expected.dweight, sizes)),
    };
    if pass == Pass::WeightGradient {
        execute(gpu, &calls, sizes.batch, StepUniform { accumulate: 1, ..StepUniform::default() })?;
        let twice: Vec<f32> = to_device(&expected.dweight, sizes).iter().map(|v| 2.0 * v).collect();
        error = error.max(distance(&gpu.read::<f32>(&output)?, &twice));
    }
    let Sizes { batch, height, width, inputs, outputs, kernel } = sizes;
    let told = format!("{name}: {batch}x{height}x{width}, {inputs} to {outputs} channels, kernel {kernel}");
    let (sums, stores) = (allowed(gpu, variant), rounding(gpu, allowed(gpu, variant)));
    let mut report = |what: &str, error, allowed| {
        let variant = format!("{}{what}, {}", pass.name(), variant.name());
        tell(Check { operation: "convolution", variant, sizes: told.clone(), error, allowed });
    };
    report("", error, if full { sums } else { stores });
    if pass != Pass::Forward || !finishes(gpu, variant) {
        return Ok(());
    }

    // Logits, and what may be done to a result ahead of its store.
    let run = |after: After<'_>, full: bool, output: &Slice| -> Result<()> {
        let calls =
            record(gpu, "selftest", &convolution, pass, variant, most, &Operands { after, full, output, ..operands })?;
        execute(gpu, &calls, batch, StepUniform::default())
    };
    let logits = unwritten(gpu, padded(&expected.y, outputs).len())?;
    run(After::Nothing, true, &logits)?;
    report(", in f32", distance(&unpadded(&gpu.read::<f32>(&logits)?, outputs), &expected.y), sums);
    run(After::Relu, false, &output)?;
    let relu = stored(gpu, expected.y.iter().map(|v| v.max(0.0)).collect());
    report(", ReLU", distance(&unpadded(&read_activations(gpu, &output)?, outputs), &relu), stores);
    if !fuses(&gpu.capabilities(), &convolution, variant, most) {
        return Ok(());
    }
    let [scale, shift] = [5, 6].map(|seed| values(seed, outputs));
    let saved = gpu.upload("saved", &[padded(&scale, outputs), padded(&shift, outputs)].concat())?;
    run(After::Normalise(&saved), false, &output)?;
    let affine = |(i, v): (usize, &f32)| v.mul_add(scale[i % outputs], shift[i % outputs]).max(0.0);
    let expected_y = stored(gpu, expected.y.iter().enumerate().map(affine).collect());
    report(", normalised", distance(&unpadded(&read_activations(gpu, &output)?, outputs), &expected_y), stores);
    let error = moments(gpu, layer, &output, |moments| run(After::Moments(moments), false, &output))?;
    report(", moments", error, 3e-6);
    Ok(())
}

/// Runs a product that keeps the moments of what it stores in `output`, joins them, and tells how far mean and variance are
/// from those of what is there.
fn moments(gpu: &Gpu, layer: &Layer, output: &Slice, run: impl FnOnce(&Slice) -> Result<()>) -> Result<f64> {
    let Sizes { batch, height, width, outputs, .. } = layer.sizes;
    let shape = Shape::new(height, width, outputs);
    let scratch = unwritten(gpu, batch_norm::scratch(shape, layer.most, gpu.half()))?;
    run(&scratch)?;
    let tensor = |value| gpu.upload("tensor", &padded(&vec![value; outputs], outputs));
    let (gamma, beta, mean, variance) = (tensor(1.0)?, tensor(0.0)?, tensor(0.0)?, tensor(0.0)?);
    let saved = unwritten(gpu, batch_norm::saved_statistics(outputs))?;
    let tensors = batch_norm::Tensors {
        gamma: &gamma,
        beta: &beta,
        running_mean: &mean,
        running_variance: &variance,
        saved: &saved,
    };
    let join = batch_norm::join(gpu, "join", shape, &tensors, &scratch)?;
    execute(gpu, &[join], batch, StepUniform::default())?;
    let y = wide(&unpadded(&read_activations(gpu, output)?, outputs));
    let ones = vec![1.0; outputs];
    let (mut twin_mean, mut twin_variance, mut unused) = (vec![0.0; outputs], vec![0.0; outputs], vec![0.0; y.len()]);
    twin::forward_train(&y, &ones, &vec![0.0; outputs], &mut twin_mean, &mut twin_variance, &mut unused);
    let read = |slice: &Slice| Ok::<_, crate::error::Error>(unpadded(&gpu.read::<f32>(slice)?, outputs));
    let errors = [distance(&read(&mean)?, &narrow(&twin_mean)), distance(&read(&variance)?, &narrow(&twin_variance))];
    Ok(worst(&errors))
}
