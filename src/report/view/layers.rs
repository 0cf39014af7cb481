//! What a trained network is made of, layer by layer, and its picture: every weight layer drawn to scale.
//!
//! Height is the side of a layer's output in pixels, width its channels; both are to the same scale in all pictures.

use serde::Serialize;

use super::super::format;
use super::identity::{Described, Identity, Runs};
use crate::vgg::{Layer, Network, Operation, Plan, Shape};

/// A network and the runs that have it.
#[derive(Serialize)]
pub struct Anatomy {
    /// Anchor.
    pub id: String,
    pub title: String,
    pub colour: usize,
    pub runs: Vec<Identity>,
    pub picture: Picture,
    pub rows: Vec<Row>,
    pub parameters: String,
    pub macs: String,
}

/// The pipeline as rectangles; units are those of its view box.
#[derive(Serialize)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pub boxes: Vec<Block>,
    /// What it shows, in words.
    pub description: String,
}

/// A weight layer.
#[derive(Serialize)]
pub struct Block {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
    /// "conv3", "conv1" or "linear".
    pub class: &'static str,
    pub title: String,
    /// Below the first layer of a size: its side.
    pub label: Option<String>,
}

/// A layer of the table.
#[derive(Serialize)]
pub struct Row {
    pub name: String,
    pub operation: String,
    pub output: String,
    pub parameters: String,
    pub macs: String,
    /// Of all multiply-accumulates, in thousandths: the length of its bar.
    pub share: u64,
}

/// One for each distinct network among the runs, in the order of the page.
pub fn build(runs: &Runs) -> Vec<Anatomy> {
    let mut networks: Vec<(&Network, Vec<&Described>)> = Vec::new();
    for described in runs.iter() {
        let network = &described.run.run.network;
        match networks.iter_mut().find(|(n, _)| same_layers(n, network)) {
            Some((_, of)) => of.push(described),
            None => networks.push((network, vec![described])),
        }
    }
    networks.into_iter().map(|(_, runs)| anatomy(&runs)).collect()
}

/// Dropout changes no layer.
fn same_layers(a: &Network, b: &Network) -> bool {
    Network { dropout: 0.0, ..a.clone() } == Network { dropout: 0.0, ..b.clone() }
}

fn anatomy(runs: &[&Described]) -> Anatomy {
    let first = runs[0];
    let plan = &first.run.plan;
    let Network { classes, image_size, width, batch_norm, .. } = plan.network;
    let mut title =
        format!("{}: {image_size}×{image_size} pixels, {}", first.identity.network, format::counted(classes, "class"));
    if width != 1.0 {
        title += &format!(", width {width}");
    }
    if !batch_norm {
        title += ", without batch normalisation";
    }
    Anatomy {
        id: anchor(first.identity.letter, &plan.network),
        title,
        colour: first.identity.colour,
        runs: runs.iter().map(|d| d.identity.clone()).collect(),
        picture: picture(plan),
        rows: plan.layers.iter().map(|layer| row(layer, plan.macs())).collect(),
        parameters: format::count(plan.parameters()),
        macs: format::short(plan.macs() as f64),
    }
}

/// "layers-d-64-200": of the network alone, so that it stays whatever runs there are.
fn anchor(letter: &str, network: &Network) -> String {
    let Network { image_size, classes, width, batch_norm, .. } = network;
    let width = if *width == 1.0 { String::new() } else { format!("-width-{width}").replace('.', "-") };
    let plain = if *batch_norm { "" } else { "-without-batch-norm" };
    format!("layers-{}-{image_size}-{classes}{width}{plain}", letter.to_lowercase())
}

fn row(layer: &Layer, all: u64) -> Row {
    let number = |n: u64| if n == 0 { String::new() } else { format::count(usize::try_from(n).unwrap_or(usize::MAX)) };
    Row {
        name: layer.name.clone(),
        operation: operation(layer.operation),
        output: shape(layer.output),
        parameters: number(layer.parameters as u64),
        macs: number(layer.macs),
        share: 1000 * layer.macs / all.max(1),
    }
}

fn shape(shape: Shape) -> String {
    match shape {
        Shape { height: 1, width: 1, channels } => channels.to_string(),
        Shape { height, width, channels } => format!("{height}×{width}×{channels}"),
    }
}

/// "convolution 3×3".
fn operation(operation: Operation) -> String {
    format!("{} {}", operation.name(), operation.size().replace('x', "×")).trim_end().to_owned()
}

/// Units of the view box for 64 pixels of height, and channels for one unit of width.
const HEIGHT: usize = 128;
const CHANNELS: usize = 16;
/// Between two layers; between two sizes.
const GAP: usize = 3;
const STEP: usize = 14;

/// Of a label, at most: its font is the reader's.
const DIGIT: usize = 8;

fn picture(plan: &Plan) -> Picture {
    let pixels = plan.network.image_size;
    let scaled = |side: usize| (HEIGHT * side / pixels.max(1)).max(2);
    let (mut x, mut boxes, mut before) = (0, Vec::new(), None);
    let mut labelled = 0; // where a further label may begin
    for layer in &plan.layers {
        let class = match layer.operation {
            Operation::Conv2d { kernel: 1 } => "conv1",
            Operation::Conv2d { .. } => "conv3",
            Operation::Linear => "linear",
            _ => continue,
        };
        let side = layer.output.height;
        if before.is_some() {
            x += if before == Some(side) { GAP } else { STEP };
        }
        let label = (before != Some(side)).then(|| side.to_string());
        if let Some(label) = &label {
            // Thin layers stand further apart, so that their labels do.
            x = x.max(labelled);
            labelled = x + DIGIT * label.len() + GAP;
        }
        before = Some(side);
        let (width, height) = ((layer.output.channels / CHANNELS).max(1), scaled(side));
        let title = format!("{}: {}, output {}", layer.name, operation(layer.operation), shape(layer.output));
        boxes.push(Block { x, y: (HEIGHT - height) / 2, width, height, class, title, label });
        x += width;
    }
    let convolutions = boxes.iter().filter(|b| b.class != "linear").count();
    let description = format!(
        "{convolutions} convolutions, from {pixels}×{pixels} pixels to {0}×{0}, and {1} linear layers, drawn to scale",
        plan.layers.iter().rfind(|l| matches!(l.operation, Operation::Conv2d { .. })).map_or(0, |l| l.output.height),
        boxes.len() - convolutions,
    );
    Picture { width: x, height: HEIGHT, boxes, description }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;

    #[test]
    fn blocks_are_to_scale_and_stand_beside_each_other() -> Result<()> {
        let plan = Network { depth: 16, conv1x1: true, ..Network::default() }.plan()?;
        let picture = picture(&plan);
        assert_eq!(picture.boxes.len(), 16);
        let [first, last] = [&picture.boxes[0], &picture.boxes[12]];
        assert_eq!((first.width * 8, first.height), (last.width, last.height * 16), "64x64x64 and 4x4x512");
        assert_eq!(picture.boxes.iter().filter(|b| b.class == "conv1").count(), 3);
        assert!(picture.boxes.windows(2).all(|pair| pair[0].x + pair[0].width < pair[1].x));
        assert!(picture.description.starts_with("13 convolutions, from 64×64 pixels to 4×4, and 3 linear"));
        let end = picture.boxes.last().map(|b| b.x + b.width);
        assert_eq!(end, Some(picture.width));
        Ok(())
    }

    #[test]
    fn labels_of_thin_layers_keep_apart() -> Result<()> {
        for (width, depth) in [(0.05, 11), (0.1, 19), (0.25, 11), (1.0, 16)] {
            let picture = picture(&Network { depth, width, ..Network::default() }.plan()?);
            let labels: Vec<(usize, usize)> =
                picture.boxes.iter().filter_map(|b| Some((b.x, b.label.as_ref()?.len()))).collect();
            assert!(labels.len() >= 5, "{labels:?}");
            let apart = |pair: &[(usize, usize)]| pair[0].0 + DIGIT * pair[0].1 < pair[1].0;
            assert!(labels.windows(2).all(apart), "width {width}: {labels:?}");
        }
        Ok(())
    }
}
