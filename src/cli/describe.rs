//! `vggkit describe`: a network layer by layer, with what it costs. Computes nothing and reads no file.

use std::process::ExitCode;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::network_arguments::NetworkArguments;
use super::{Shared, output, values};
use crate::error::Result;
use crate::vgg::{Layer, Network, Operation, Plan};

/// The value of `schema`.
const SCHEMA: &str = "vggkit/describe/1";

/// Bytes of an f32.
const F32: u64 = 4;

/// Print a network layer by layer
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    network: NetworkArguments,
    /// Output classes
    #[arg(long, value_name = "N", default_value = "200", value_parser = values::whole(1usize), allow_negative_numbers = true)]
    classes: usize,
    /// Images a step, for the memory of training
    #[arg(short, long, value_name = "N", default_value = "64", visible_aliases = ["batchsize", "batch"],
          value_parser = values::whole(1usize), allow_negative_numbers = true)]
    batch_size: usize,
    #[command(flatten)]
    shared: Shared,
}

const EXAMPLES: &str = "\
Examples:
  vggkit describe -d 16                       VGG-16 (configuration D) for the 200 classes of Tiny ImageNet
  vggkit describe -d 16 -c11 -i 224           with 1x1 convolutions, on larger images
  vggkit describe -d 19 -b 256                what a step of 256 images needs in memory
  vggkit describe -d 11 --json | jq .totals   for other programs";

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Description<'a> {
    schema: &'static str,
    /// The paper's letter.
    configuration: &'static str,
    network: &'a Network,
    layers: Vec<DescribedLayer<'a>>,
    totals: Totals,
    training: TrainingMemory,
}

/// A layer of the plan and the bytes of its output for one image.
#[derive(Debug, Serialize)]
struct DescribedLayer<'a> {
    #[serde(flatten)]
    layer: &'a Layer,
    activation_bytes: u64,
}

/// Sums over the layers; activations of one image.
#[derive(Debug, Serialize)]
struct Totals {
    parameters: usize,
    macs: u64,
    activation_bytes: u64,
}

/// What a training with Adam holds in memory, in bytes.
#[derive(Debug, Serialize)]
struct TrainingMemory {
    batch_size: usize,
    parameters: u64,
    gradients: u64,
    moments: u64,
    activations: u64,
    total: u64,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let network = arguments.network.network(arguments.classes)?;
    let plan = network.plan()?;
    let description = describe(&plan, network.configuration()?.letter, arguments.batch_size);
    if arguments.shared.json {
        output::json(&description)?;
    } else {
        output::print(&table(&description));
    }
    Ok(ExitCode::SUCCESS)
}

fn describe<'a>(plan: &'a Plan, configuration: &'static str, batch_size: usize) -> Description<'a> {
    let bytes_of = |layer: &Layer| layer.output.elements() as u64 * F32;
    let layers = plan.layers.iter().map(|layer| DescribedLayer { layer, activation_bytes: bytes_of(layer) });
    let activation_bytes = plan.layers.iter().map(bytes_of).sum();
    Description {
        schema: SCHEMA,
        configuration,
        network: &plan.network,
        layers: layers.collect(),
        totals: Totals { parameters: plan.parameters(), macs: plan.macs(), activation_bytes },
        training: training_memory(plan.parameters() as u64 * F32, activation_bytes, batch_size),
    }
}

/// Parameters, a gradient and Adam's two moments for each, and every layer's output for every image of the batch.
fn training_memory(parameters: u64, activation_bytes: u64, batch_size: usize) -> TrainingMemory {
    let activations = activation_bytes.saturating_mul(batch_size as u64);
    let total = activations.saturating_add(4 * parameters);
    TrainingMemory { batch_size, parameters, gradients: parameters, moments: 2 * parameters, activations, total }
}

/// The description as text.
fn table(description: &Description<'_>) -> String {
    let network = description.network;
    let normalised = if network.batch_norm { "batch normalisation" } else { "no batch normalisation" };
    let mut text = format!(
        "VGG-{}, configuration {} of the paper: {} classes, {size}x{size} pixels, width {}, dropout {}, {normalised}\n\n",
        network.depth,
        description.configuration,
        HumanCount(network.classes as u64),
        network.width,
        network.dropout,
        size = network.image_size,
    );
    text += &row("layer", "operation", "kernel", "output", ["parameters", "MACs", "activation"].map(String::from));
    for DescribedLayer { layer, activation_bytes } in &description.layers {
        let (operation, kernel) = operation(layer.operation);
        let shape = match layer.output {
            output if output.pixels() == 1 => output.channels.to_string(),
            output => format!("{}x{}x{}", output.height, output.width, output.channels),
        };
        let figures = figures(layer.parameters, layer.macs, *activation_bytes);
        text += &row(&layer.name, operation, &kernel, &shape, figures);
    }
    let Totals { parameters, macs, activation_bytes } = description.totals;
    text += &row("total", "", "", "", figures(parameters, macs, activation_bytes));
    let memory = &description.training;
    text += &format!(
        "\nShapes are height x width x channels; MACs and activations are those of one image.\n\
         Training with Adam, {} images a step: {} (parameters {}, gradients {}, moments {}, activations {})\n",
        HumanCount(memory.batch_size as u64),
        HumanBytes(memory.total),
        HumanBytes(memory.parameters),
        HumanBytes(memory.gradients),
        HumanBytes(memory.moments),
        HumanBytes(memory.activations),
    );
    text
}

fn figures(parameters: usize, macs: u64, activation_bytes: u64) -> [String; 3] {
    let count = |number: u64| if number == 0 { String::new() } else { HumanCount(number).to_string() };
    [count(parameters as u64), count(macs), HumanBytes(activation_bytes).to_string()]
}

fn row(name: &str, operation: &str, kernel: &str, shape: &str, [parameters, macs, bytes]: [String; 3]) -> String {
    format!("{name:<13} {operation:<20} {kernel:<6} {shape:<13} {parameters:>13} {macs:>15} {bytes:>11}\n")
}

/// Name and kernel for people.
fn operation(operation: Operation) -> (&'static str, String) {
    match operation {
        Operation::Conv2d { kernel } => ("convolution", format!("{kernel}x{kernel}")),
        Operation::BatchNorm2d => ("batch normalisation", String::new()),
        Operation::Relu => ("ReLU", String::new()),
        Operation::LocalResponseNorm => ("local response norm.", String::new()),
        Operation::MaxPool2d => ("max pooling", "2x2".into()),
        Operation::AdaptiveAvgPool2d { size } => ("average pooling", format!("to {size}x{size}")),
        Operation::Linear => ("linear", String::new()),
        Operation::Dropout { probability } => ("dropout", format!("{probability}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_sums_of_the_rows() -> Result<()> {
        let plan = Network { depth: 16, ..Network::default() }.plan()?;
        let description = describe(&plan, "D", 50);
        let bytes: u64 = description.layers.iter().map(|l| l.activation_bytes).sum();
        assert_eq!(description.totals.activation_bytes, bytes);
        assert_eq!(description.layers[0].activation_bytes, 64 * 64 * 64 * 4);
        let memory = &description.training;
        assert_eq!(memory.total, 4 * 4 * 40_716_552 + 50 * bytes);
        Ok(())
    }

    #[test]
    fn absurd_batches_do_not_overflow() {
        assert_eq!(training_memory(4, 1 << 40, usize::MAX).total, u64::MAX);
    }
}
