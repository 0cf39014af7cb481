//! `vggkit describe`: a network layer by layer, with what it costs; of a run also where its weights came from. Computes nothing and
//! reads no file but `run.toml`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::arguments::network::NetworkArguments;
use super::arguments::recipe::OptimizerName;
use super::arguments::shared::Shared;
use super::arguments::values;
use super::output;
use crate::engine::cpu;
use crate::engine::gpu;
use crate::engine::gpu::plumbing::capabilities::Capabilities;
use crate::engine::{Memory, Settings};
use crate::error::Result;
use crate::inference::model;
use crate::training::lineage::Lineage;
use crate::training::run::{Data, Recipe, Run};
use crate::training::settings;
use crate::vgg::{Layer, Network, Plan};

/// The value of `schema`.
const SCHEMA: &str = "vggkit/describe/1";

/// The training and validation images of Tiny ImageNet, which live on a GPU while they fit.
const RESIDENT_IMAGES: u64 = 110_000;

/// Bytes of each of them: 64x64 pixels of three channels.
const IMAGE_BYTES: u64 = 64 * 64 * 3;

/// Bytes of an f32.
const F32: u64 = 4;

/// Print a network layer by layer
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// A run, by its folder or its name below --runs: its network, and where its weights came from
    #[arg(value_name = "RUN", conflicts_with_all = ["depth", "conv1x1", "lrn", "no_batch_norm", "width", "dropout", "head", "image_size",
          "classes", "batch_size"])]
    run: Option<PathBuf>,
    #[command(flatten)]
    network: NetworkArguments,
    /// Output classes
    #[arg(long, value_name = "N", default_value_t = Network::default().classes, value_parser = values::whole(1usize), allow_negative_numbers = true)]
    classes: usize,
    /// Images a step, for the memory of training
    #[arg(short, long, value_name = "N", default_value_t = Recipe::default().batch_size, visible_aliases = ["batchsize", "batch"],
          value_parser = values::whole(1usize), allow_negative_numbers = true)]
    batch_size: usize,
    #[command(flatten)]
    shared: Shared,
}

const EXAMPLES: &str = "\
Examples:
  vggkit describe -d 16                       VGG-16 (configuration D) for the 200 classes of Tiny ImageNet
  vggkit describe -d 16 -c11 -i 224           with 1x1 convolutions, on larger images
  vggkit describe -d 19 -b 128                what a step of 128 images needs in memory, on the CPU and on a GPU
  vggkit describe vgg16-tuned                 a run: its network, and which weights it took from where
  vggkit describe -d 11 --json | jq .totals   for other programs";

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Description<'a> {
    schema: &'static str,
    /// The paper's letter.
    configuration: &'static str,
    network: &'a Network,
    /// Of a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<DescribedRun>,
    /// Its settings in words, without those that the configuration says.
    #[serde(skip)]
    settings: Vec<String>,
    #[serde(skip)]
    optimizer: OptimizerName,
    layers: Vec<DescribedLayer<'a>>,
    totals: Totals,
    training: TrainingMemory,
    /// `None` where no such card can train it.
    training_gpu: Option<CardMemory>,
}

/// Which run it is, and where its weights came from.
#[derive(Debug, Serialize)]
struct DescribedRun {
    folder: String,
    weights: Lineage,
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

/// What a training with Adam, or with a run's optimiser, on the CPU engine allocates, in bytes.
#[derive(Debug, Serialize)]
struct TrainingMemory {
    batch_size: usize,
    #[serde(flatten)]
    memory: Memory,
    total: u64,
}

/// What such a training on a card allocates, in bytes; the card binds 2 GiB, as those of the GTX 1070's kind.
#[derive(Debug, Serialize)]
struct CardMemory {
    /// Images that are computed at once.
    micro_batch: usize,
    #[serde(flatten)]
    memory: Memory,
    total: u64,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let described = match &arguments.run {
        Some(given) => {
            let folder = model::find(&arguments.shared.runs, given)?;
            Some((model::load_run(&folder)?, folder))
        }
        None => None,
    };
    let run = match &described {
        Some((run, _)) => run.clone(),
        None => {
            let recipe = Recipe { batch_size: arguments.batch_size, ..Recipe::default() };
            Run::new(arguments.network.network(arguments.classes)?, recipe, Data::default())
        }
    };
    let (network, recipe) = (&run.network, &run.training);
    let plan = recipe.plan(network)?;
    let settings = arguments.shared.settings(recipe.batch_size, Some(recipe.optimizer));
    let settings = Settings { update: recipe.update(), ..settings };
    let memory = cpu::memory_of(&plan, &settings)?;
    let training = TrainingMemory { batch_size: settings.batch_size, memory, total: memory.total() };
    let card = gpu::memory_of(&plan, &settings, &Capabilities::CARD).ok().map(|(memory, micro_batch)| {
        let memory = Memory { images: RESIDENT_IMAGES * IMAGE_BYTES, ..memory };
        CardMemory { micro_batch, memory, total: memory.total() }
    });
    let mut description = describe(&plan, network.configuration()?.letter, training, card);
    if let Some((run, folder)) = &described {
        description.run = Some(DescribedRun { folder: folder.display().to_string(), weights: Lineage::of(run)? });
    }
    description.optimizer = OptimizerName::of(&recipe.optimizer);
    let listed = settings::listed(&run, |setting| setting.key.starts_with("network.") && !setting.names_the_network())?;
    description.settings =
        listed.into_iter().map(|(title, value)| format!("{} {value}", title.to_lowercase())).collect();
    if arguments.shared.json {
        output::json(&description)?;
    } else {
        output::print(&table(&description));
    }
    Ok(ExitCode::SUCCESS)
}

fn describe<'a>(
    plan: &'a Plan,
    configuration: &'static str,
    training: TrainingMemory,
    training_gpu: Option<CardMemory>,
) -> Description<'a> {
    let bytes_of = |layer: &Layer| layer.output.elements() as u64 * F32;
    let layers = plan.layers.iter().map(|layer| DescribedLayer { layer, activation_bytes: bytes_of(layer) });
    let activation_bytes = plan.layers.iter().map(bytes_of).sum();
    Description {
        schema: SCHEMA,
        configuration,
        network: &plan.network,
        run: None,
        settings: Vec::new(),
        optimizer: OptimizerName::Adam,
        layers: layers.collect(),
        totals: Totals { parameters: plan.parameters(), macs: plan.macs(), activation_bytes },
        training,
        training_gpu,
    }
}

/// The description as text.
fn table(description: &Description<'_>) -> String {
    let network = description.network;
    let settings = description.settings.join(", ");
    let mut text = String::new();
    if let Some(DescribedRun { folder, .. }) = &description.run {
        text += &format!("{folder}: ");
    }
    text += &format!("VGG-{}, configuration {} of the paper: {settings}\n\n", network.depth, description.configuration);
    let widest = description.layers.iter().map(|l| l.layer.operation.name().len()).max().unwrap_or_default();
    let row = |name: &str, operation: &str, kernel: &str, shape: &str, [parameters, macs, bytes]: [String; 3]| {
        format!("{name:<13} {operation:<widest$} {kernel:<6} {shape:<13} {parameters:>13} {macs:>15} {bytes:>11}\n")
    };
    text += &row("layer", "operation", "kernel", "output", ["parameters", "MACs", "activation"].map(String::from));
    for DescribedLayer { layer, activation_bytes } in &description.layers {
        let shape = match layer.output {
            output if output.pixels() == 1 => output.channels.to_string(),
            output => format!("{}x{}x{}", output.height, output.width, output.channels),
        };
        let figures = figures(layer.parameters, layer.macs, *activation_bytes);
        text += &row(&layer.name, layer.operation.name(), &layer.operation.size(), &shape, figures);
    }
    let Totals { parameters, macs, activation_bytes } = description.totals;
    text += &row("total", "", "", "", figures(parameters, macs, activation_bytes));
    text += "\nShapes are height x width x channels. MACs and activation (an f32 a number) are those of one image.\n";
    if let Some(DescribedRun { weights, .. }) = &description.run {
        let from =
            weights.file.as_ref().map_or_else(|| "drawn from the seed".to_owned(), |file| format!("from {file}"));
        text += &format!("\nFirst weights: {from}\n");
        weights.lines().iter().for_each(|(title, value)| text += &format!("  {title}: {value}\n"));
    }
    let (processor, card) = (&description.training, description.training_gpu.as_ref());
    let of = |part: fn(&CardMemory) -> u64| card.map_or_else(String::new, |card| HumanBytes(part(card)).to_string());
    let (optimizer, images) = (description.optimizer.title(), HumanCount(processor.batch_size as u64));
    text += &format!("\nMemory of training with {optimizer}, {images} images a step:\n");
    let mut row = |name: &str, of_processor: &str, of_card: &str| {
        text += format!("  {name:<14}{of_processor:>12}{of_card:>12}").trim_end();
        text += "\n";
    };
    row("", "CPU", if card.is_some() { "GPU" } else { "" });
    let bytes = |bytes: u64| HumanBytes(bytes).to_string();
    for (name, of_processor, of_card) in [
        ("parameters", bytes(processor.memory.parameters), of(|card| card.memory.parameters)),
        ("gradients", bytes(processor.memory.gradients), of(|card| card.memory.gradients)),
        ("moments", bytes(processor.memory.moments), of(|card| card.memory.moments)),
        ("activations", bytes(processor.memory.activations), of(|card| card.memory.activations)),
        ("scratch", bytes(processor.memory.scratch), of(|card| card.memory.scratch)),
        ("images", String::new(), of(|card| card.memory.images)),
        ("total", bytes(processor.total), of(|card| card.total)),
    ] {
        if !of_processor.is_empty() || !of_card.is_empty() {
            row(name, &of_processor, &of_card);
        }
    }
    let Some(card) = card else {
        text += "\nA GPU that binds 2 GiB cannot train it: one of its tensors is larger.\n";
        return text;
    };
    text += "\nThe GPU is one that binds 2 GiB; images are those of Tiny ImageNet, which travel with their batch where they do \
             not fit.\n";
    if card.micro_batch < processor.batch_size {
        text += &format!("Its activations are beyond that: {} images are computed at once.\n", card.micro_batch);
    }
    text
}

fn figures(parameters: usize, macs: u64, activation_bytes: u64) -> [String; 3] {
    let count = |number: u64| if number == 0 { String::new() } else { HumanCount(number).to_string() };
    [count(parameters as u64), count(macs), HumanBytes(activation_bytes).to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_sums_of_the_rows() -> Result<()> {
        let plan = Network { depth: 16, ..Network::default() }.plan()?;
        let training = TrainingMemory { batch_size: 1, memory: Memory::default(), total: 0 };
        let card = CardMemory { micro_batch: 1, memory: Memory::default(), total: 0 };
        let description = describe(&plan, "D", training, Some(card));
        let bytes: u64 = description.layers.iter().map(|l| l.activation_bytes).sum();
        assert_eq!(description.totals.activation_bytes, bytes);
        assert_eq!(description.layers[0].activation_bytes, 64 * 64 * 64 * 4);
        let text = table(&description);
        assert_eq!(text.lines().filter(|line| line.contains("convolution ")).count(), 13);
        let total = text.lines().find(|line| line.starts_with("total")).expect("a total");
        assert!(total.contains("40,716,552"), "{total}");
        Ok(())
    }
}
