//! Rates of the GPU engine's convolutions and linear layers: every pass in every variant at the shapes of VGG-11.
//!
//! `cargo bench --bench gpu_kernels -- --adapter llvmpipe [--precision f16] [--batch 8] [--repeats 5] [--layer 256]
//! [--pass weight] [--variant registers]`, where the last three are parts of names. Counted as a direct convolution, taps beyond the border
//! and all; the best of the repeats counts, each of which waits for the device.

use std::time::Instant;

use vggkit::cli::output::line;
use vggkit::engine::Precision;
use vggkit::engine::gpu::plumbing::step::StepUniform;
use vggkit::engine::gpu::products::convolution::{record, scratch};
use vggkit::engine::gpu::products::operands::{After, Convolution, Operands, Pass};
use vggkit::engine::gpu::products::variant::variants;
use vggkit::engine::gpu::{Gpu, Options, Slice};
use vggkit::error::{Error, Result};

struct Arguments {
    adapter: Option<String>,
    precision: Precision,
    batch: usize,
    repeats: usize,
    layer: String,
    pass: String,
    variant: String,
}

fn arguments() -> Result<Arguments> {
    let mut arguments = Arguments {
        adapter: None,
        precision: Precision::F32,
        batch: 8,
        repeats: 5,
        layer: String::new(),
        pass: String::new(),
        variant: String::new(),
    };
    let mut given = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(name) = given.next() {
        let value = given.next().unwrap_or_default();
        let number = || value.parse().map_err(|_| Error::usage(format!("{name} needs a number, not '{value}'")));
        match name.as_str() {
            "--adapter" => arguments.adapter = Some(value),
            "--precision" if value == "f16" => arguments.precision = Precision::F16,
            "--precision" if value == "f32" => arguments.precision = Precision::F32,
            "--batch" => arguments.batch = number()?,
            "--repeats" => arguments.repeats = number()?,
            "--layer" => arguments.layer = value,
            "--pass" => arguments.pass = value,
            "--variant" => arguments.variant = value,
            _ => return Err(Error::usage(format!("'{name}' is no option of this benchmark"))),
        }
    }
    Ok(arguments)
}

fn main() -> Result<()> {
    let arguments = arguments()?;
    let (adapter, precision) = (arguments.adapter.clone(), arguments.precision);
    let gpu = Gpu::open(&Options { adapter, precision, ..Options::default() })?;
    let batch = arguments.batch;
    line(&format!(
        "{} ({}), batch {batch}: GF/s, best of {}",
        gpu.found.info.name,
        gpu.found.driver(),
        arguments.repeats
    ));
    let layer = |kernel, size, inputs, outputs| Convolution { kernel, height: size, width: size, inputs, outputs };
    let layers = [
        layer(3, 64, 4, 64),
        layer(3, 32, 64, 128),
        layer(3, 16, 128, 256),
        layer(3, 16, 256, 256),
        layer(3, 8, 256, 512),
        layer(3, 8, 512, 512),
        layer(3, 4, 512, 512),
        layer(1, 1, 2048, 4096),
        layer(1, 1, 4096, 4096),
        layer(1, 1, 4096, 200),
    ];
    for convolution in layers {
        let Convolution { kernel, height, width, inputs, outputs } = convolution;
        let name = format!("{inputs}->{outputs} @{height}x{width} k{kernel}");
        for pass in Pass::ALL {
            // The gradient of the pictures is never needed.
            if inputs == 4 && pass == Pass::InputGradient
                || !name.contains(&arguments.layer)
                || !pass.name().contains(&arguments.pass)
            {
                continue;
            }
            for variant in variants(&gpu.capabilities(), &convolution, pass, false) {
                if variant.name().contains(&arguments.variant) {
                    let seconds = time(&gpu, &convolution, pass, variant, &arguments)?;
                    let flop = 2.0 * (batch * convolution.pixels() * convolution.weights()) as f64;
                    let rate = flop / seconds / 1e9;
                    let (pass, variant) = (pass.name(), variant.name());
                    line(&format!("{name:<24} {pass:<15} {variant:<16} {rate:>9.2}  {:>9.3} ms", seconds * 1e3));
                }
            }
        }
    }
    Ok(())
}

/// Seconds of the fastest repeat.
fn time(
    gpu: &Gpu,
    convolution: &Convolution,
    pass: Pass,
    variant: vggkit::engine::gpu::products::variant::Variant,
    arguments: &Arguments,
) -> Result<f64> {
    let batch = arguments.batch;
    let fill = |floats: usize| -> Vec<f32> { (0..floats).map(|i| (i as f32 * 0.618).fract() - 0.5).collect() };
    let pixels = batch * convolution.pixels();
    let (x, y, w) = (pixels * convolution.inputs, pixels * convolution.outputs, convolution.weights());
    let [input, weight, output] = match pass {
        Pass::Forward => [x, w, y],
        Pass::InputGradient => [y, w, x],
        Pass::WeightGradient => [x, y, w],
    };
    // As activations are in memory; gradients of weights are f32.
    let upload = |label, values: Vec<f32>| match gpu.half() {
        true => gpu.upload(label, &values.iter().map(|v| half::f16::from_f32(*v).to_bits()).collect::<Vec<u16>>()),
        false => gpu.upload(label, &values),
    };
    let (input, weight) = (upload("input", fill(input))?, upload("weight", fill(weight))?);
    let (bias, output) = (gpu.upload("bias", &fill(convolution.outputs))?, gpu.buffer("output", output)?);
    let [a, b, c] = scratch(&gpu.capabilities(), convolution, pass, variant, batch);
    let scratch: [Slice; 3] = [gpu.buffer("scratch", a)?, gpu.buffer("scratch", b)?, gpu.buffer("scratch", c)?];
    let operands = Operands {
        input: &input,
        weight: &weight,
        bias: Some(&bias),
        after: After::Nothing,
        full: false,
        output: &output,
        scratch: &scratch,
    };
    let calls = record(gpu, "bench", convolution, pass, variant, batch, &operands)?;
    gpu.write_step(StepUniform { samples: batch as u32, batch: batch as u32, ..StepUniform::default() });
    let mut best = f64::INFINITY;
    // The first run compiles and touches memory.
    for repeat in 0..=arguments.repeats {
        gpu.wait(None)?;
        let start = Instant::now();
        let submission = gpu.submit([&calls[..]], batch, &[]);
        gpu.wait(Some(submission))?;
        if repeat > 0 {
            best = best.min(start.elapsed().as_secs_f64());
        }
    }
    Ok(best)
}
