//! Table 1 of the paper, with what each column adds, its size here and in the paper, and which were trained.

use serde::Serialize;

use super::super::format;
use super::super::inputs::Inputs;
use super::super::reference::PAPER;
use super::identity::{Identity, Runs};
use crate::error::Result;
use crate::vgg::table::{HIDDEN, TABLE_1};
use crate::vgg::{Configuration, Convolution, Head, Network};

/// The table, column by column.
#[derive(Serialize)]
pub struct Architectures {
    pub columns: Vec<Column>,
    /// Five stages; for each, the layers of each column.
    pub stages: Vec<Vec<Vec<Layer>>>,
    pub hidden: Vec<usize>,
    /// Rows and columns that the last activations are averaged to.
    pub averages: usize,
    pub classes: usize,
    pub image_size: usize,
}

/// A configuration.
#[derive(Serialize)]
pub struct Column {
    pub letter: &'static str,
    pub depth: usize,
    /// Rank from 0: the colour.
    pub colour: usize,
    /// With batch normalisation, at this page's image size and classes.
    pub parameters: String,
    pub macs: String,
    /// Millions, at 224x224 pixels and 1000 classes.
    pub paper_parameters: u32,
    pub paper_top1_error: String,
    pub paper_top5_error: String,
    pub trained: Vec<Trained>,
}

/// A run of a configuration.
#[derive(Serialize)]
pub struct Trained {
    pub run: Identity,
    pub top1: Option<String>,
}

/// A line of a stage.
#[derive(Serialize)]
pub struct Layer {
    pub text: String,
    /// Not in the column to the left.
    pub added: bool,
}

pub fn build(inputs: &Inputs, runs: &Runs) -> Result<Architectures> {
    let common = runs.ranked().first().map(|d| d.run.run.network.clone());
    let of_data =
        inputs.data.as_ref().map(|d| Network { classes: d.manifest.classes.len().max(1), ..Network::default() });
    let base = common.or(of_data).unwrap_or_default();
    let columns =
        TABLE_1.iter().enumerate().map(|(colour, c)| column(colour, c, &base, runs)).collect::<Result<_>>()?;
    let stages = (0..5)
        .map(|stage| {
            let before = |i: usize| i.checked_sub(1).map(|left| &TABLE_1[left]);
            TABLE_1.iter().enumerate().map(|(i, c)| layers(stage, c, before(i))).collect()
        })
        .collect();
    let averages = base.head.averages();
    let hidden = if base.head == Head::Classic { vec![HIDDEN; 2] } else { Vec::new() };
    Ok(Architectures { columns, stages, averages, hidden, classes: base.classes, image_size: base.image_size })
}

fn column(colour: usize, configuration: &Configuration, base: &Network, runs: &Runs) -> Result<Column> {
    let network = Network {
        depth: configuration.depth,
        conv1x1: configuration.has_1x1(),
        lrn: configuration.lrn,
        classes: base.classes,
        image_size: base.image_size,
        head: base.head,
        ..Network::default()
    };
    let plan = network.plan()?;
    let paper = PAPER.iter().find(|p| p.letter == configuration.letter);
    let error = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.1}"));
    let trained = runs
        .iter()
        .filter(|d| d.identity.colour == colour)
        .map(|d| Trained { run: d.identity.clone(), top1: d.figures.val_top1.map(format::percent) })
        .collect();
    Ok(Column {
        letter: configuration.letter,
        depth: configuration.depth,
        colour,
        parameters: format::short(plan.parameters() as f64),
        macs: format::short(plan.macs() as f64),
        paper_parameters: paper.map_or(0, |p| p.parameters),
        paper_top1_error: error(paper.map(|p| p.top1_error)),
        paper_top5_error: error(paper.map(|p| p.top5_error)),
        trained,
    })
}

/// The lines of a stage; each is compared with the line at its place in the column to the left.
fn layers(stage: usize, configuration: &Configuration, before: Option<&Configuration>) -> Vec<Layer> {
    let left = before.map(|b| b.stages[stage]);
    let text = |c: &Convolution| format!("conv{}-{}", c.kernel, c.channels);
    let mut lines: Vec<Layer> = configuration.stages[stage]
        .iter()
        .enumerate()
        .map(|(i, c)| Layer { text: text(c), added: left.is_some_and(|l| l.get(i) != Some(c)) })
        .collect();
    if stage == 0 && configuration.lrn {
        lines.push(Layer { text: "LRN".into(), added: true });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_adds_what_the_paper_prints_in_bold() {
        let added: Vec<usize> = (1..TABLE_1.len())
            .map(|i| (0..5).flat_map(|s| layers(s, &TABLE_1[i], Some(&TABLE_1[i - 1]))).filter(|l| l.added).count())
            .collect();
        assert_eq!(added, [1, 2, 3, 3, 3]);
    }
}
