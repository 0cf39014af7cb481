//! The first screen: which network is best, by how much, and whether that can be trusted.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::format;
use super::super::inputs::{Inputs, LoadedRun};
use super::super::reference::{PAPER, Paper, REPLACED_CLASSES, REPLACED_RATE, REPLACED_README, Replaced, replaced};
use super::agreement::Agreement;
use super::identity::{Described, Identity, Runs};
use crate::error::Result;
use crate::training::selection;

/// The verdict on the runs that can be compared.
#[derive(Serialize)]
pub struct Verdict {
    pub headline: String,
    /// Sentences below it.
    pub summary: Vec<String>,
    pub run: Identity,
    pub tiles: Vec<Tile>,
    pub ranking: Vec<Rank>,
    /// Any of them stands beside the replaced PyTorch project's figure.
    pub replaced_shown: bool,
    /// Percentages at the axis of the ranking, with their place in 0..1000.
    pub ticks: Vec<(String, f64)>,
    /// What to keep in mind.
    pub caveats: Vec<String>,
}

/// One figure.
#[derive(Serialize)]
pub struct Tile {
    pub label: &'static str,
    pub value: String,
    pub note: String,
}

/// A run's accuracy with its interval, as places in 0..1000 along the axis.
#[derive(Serialize)]
pub struct Rank {
    pub run: Identity,
    pub value: String,
    pub interval: String,
    pub at: f64,
    pub low: f64,
    pub high: f64,
    /// The replaced PyTorch project's figure for this network.
    pub replaced: Option<(String, f64)>,
    /// The paper's top-1 error on ImageNet for this configuration.
    pub paper: Option<String>,
}

/// The verdict; `None` where no run has a validation accuracy.
/// `agreement` is the comparison image by image, where there is one.
pub fn build(inputs: &Inputs, runs: &Runs, agreement: Option<&Agreement>) -> Result<Option<Verdict>> {
    let ranked = runs.ranked();
    let Some(best) = ranked.first() else { return Ok(None) };
    let Some(top1) = best.figures.val_top1 else { return Ok(None) };
    let axis = axis(&ranked);
    Ok(Some(Verdict {
        headline: headline(&ranked, best, top1),
        summary: summary(inputs, &ranked, best, top1, agreement),
        run: best.identity.clone(),
        tiles: tiles(best, top1),
        replaced_shown: ranked.iter().any(|d| beside(d).is_some()),
        ranking: ranked.iter().filter_map(|d| rank(d, axis)).collect(),
        ticks: (0..=4)
            .map(|i| (format::percent(axis * f64::from(i) / 4.0).replace(".0", ""), 250.0 * f64::from(i)))
            .collect(),
        caveats: caveats(inputs, runs, best),
    }))
}

/// Who leads, or that two do.
fn headline(ranked: &[&Described], best: &Described, top1: f64) -> String {
    let network = &best.identity.network;
    let figure = format::percent(top1);
    match ranked.get(1) {
        None => format!("{network} reaches {figure}"),
        Some(second) if second.figures.val_top1.map(format::percent).as_ref() == Some(&figure) => {
            match &second.identity.network {
                other if other == network => format!("{network} leads, twice, with {figure}"),
                other => format!("{network} and {other} are level at {figure}"),
            }
        }
        Some(_) => format!("{network} leads with {figure}"),
    }
}

/// Whether the run's figures can stand beside the replaced PyTorch project's; the reason where not.
pub fn other_conditions(run: &LoadedRun, inputs: &Inputs) -> Option<String> {
    let settings = &run.run;
    let manifest = inputs.data.as_ref().filter(|d| d.identity.content_sha256 == run.known_as).map(|d| &d.manifest);
    if settings.data.synthetic {
        Some("synthetic images".into())
    } else if settings.data.own_images {
        Some("other images".into())
    } else if settings.network.classes != REPLACED_CLASSES {
        Some(format!("{} classes instead of {REPLACED_CLASSES}", settings.network.classes))
    } else {
        let limit = settings.training.limit_train.map(|n| format!("only {n} train images"));
        limit.or(manifest.and_then(|m| m.settings.per_class).map(|n| format!("only {n} train images a class")))
    }
}

/// The replaced PyTorch project's figure where it may stand in one picture with this run's: not beside drawn or own images.
fn beside(d: &Described) -> Option<&'static Replaced> {
    replaced(&d.run.run.network).filter(|_| is_tiny_imagenet(d))
}

fn is_tiny_imagenet(d: &Described) -> bool {
    !d.identity.synthetic && !d.identity.own_images
}

fn summary(
    inputs: &Inputs,
    ranked: &[&Described],
    best: &Described,
    top1: f64,
    agreement: Option<&Agreement>,
) -> Vec<String> {
    let classes = format::counted(best.run.run.network.classes, "class");
    let data = match (best.identity.synthetic, best.identity.own_images) {
        (true, _) => "the synthetic demo set",
        (_, true) => "own images",
        _ => "Tiny ImageNet",
    };
    let measured = best.figures.val_images.map_or(String::new(), |n| format!(", on {}", format::counted(n, "image")));
    let mut list = vec![match ranked.len() {
        1 => format!("Top-1 accuracy on the validation split of {data}, {classes}{measured}."),
        n => format!("The best of {n} runs by top-1 accuracy on the validation split of {data}, {classes}{measured}."),
    }];
    if let Some(second) = ranked.get(1)
        && let Some(other) = second.figures.val_top1
    {
        // Image by image says more than two intervals that know nothing of each other.
        let pair = agreement.and_then(|a| a.between(&best.identity, &second.identity));
        let chance = match (pair, best.figures.val_interval, second.figures.val_interval) {
            (Some(pair), ..) if pair.more_than_chance => " Image by image, that is more than chance.",
            (Some(_), ..) => " Image by image, this much can be chance.",
            (None, Some(a), Some(b)) if a.0 <= b.1 => " Their 95\u{a0}% intervals overlap: this much can be chance.",
            (None, Some(_), Some(_)) => " Their 95\u{a0}% intervals do not overlap.",
            _ => "",
        };
        let name = if second.identity.network == best.identity.network {
            &second.identity.name
        } else {
            &second.identity.network
        };
        list.push(match format!("{:.1}", 100.0 * (top1 - other)).as_str() {
            "0.0" => chance.trim_start().to_owned(), // the headline says that they are level
            lead => format!("{lead} points ahead of {name}.{chance}"),
        });
    }
    if let Some(theirs) = beside(best) {
        let their_text = format::percent(theirs.val_top1);
        list.push(match other_conditions(best.run, inputs) {
            None => {
                let points = 100.0 * (top1 - theirs.val_top1);
                let network = &best.identity.network;
                match format!("{:.1}", points.abs()).as_str() {
                    "0.0" => format!("Level with the {their_text} of the replaced PyTorch project's {network}."),
                    off => {
                        let side = if points < 0.0 { "below" } else { "above" };
                        format!("{off} points {side} the {their_text} of the replaced PyTorch project's {network}.")
                    }
                }
            }
            Some(reason) => format!(
                "The replaced PyTorch project's {} reached {their_text} on all of Tiny ImageNet; this run has {reason}, so the two \
                 cannot be compared.",
                best.identity.network
            ),
        });
    }
    list
}

fn tiles(best: &Described, top1: f64) -> Vec<Tile> {
    let figures = &best.figures;
    let device = &best.run.run.origin.device;
    let optional = |value: Option<f64>, show: fn(f64) -> String| value.map_or_else(|| "–".into(), show);
    let epochs = match figures.best_epoch {
        Some(epoch) => format!("best after epoch {epoch} of {}", figures.epochs),
        None => "no history".into(),
    };
    let mut tiles = vec![
        Tile {
            label: "Validation top-1",
            value: format::percent(top1),
            note: figures
                .val_interval
                .map_or_else(String::new, |i| format!("95\u{a0}% interval {}", format::percent_range(i))),
        },
        Tile {
            label: "Validation top-5",
            value: optional(figures.val_top5, format::percent),
            note: "label among the first five".into(),
        },
        Tile { label: "Training time", value: optional(figures.seconds, format::duration), note: epochs },
        Tile {
            label: "Images per second",
            value: optional(figures.images_per_s, format::rate),
            note: if is_tiny_imagenet(best) {
                format!("{} engine; the replaced PyTorch project {REPLACED_RATE}", device.engine)
            } else {
                format!("{} engine", device.engine)
            },
        },
    ];
    if let Some(theirs) = beside(best) {
        tiles.push(Tile {
            label: "Replaced PyTorch project",
            value: format::percent(theirs.val_top1),
            note: format!("{} by its log, 200 classes; its README: {REPLACED_README}", best.identity.network),
        });
    }
    tiles
}

/// The right end of the ranking's axis: a round fraction above everything on it.
fn axis(ranked: &[&Described]) -> f64 {
    let ours = ranked.iter().filter_map(|d| d.figures.val_interval.map(|i| i.1).or(d.figures.val_top1));
    let theirs = ranked.iter().filter_map(|d| beside(d)).map(|r| r.val_top1);
    let highest = ours.chain(theirs).fold(0.0, f64::max);
    [0.04, 0.08, 0.2, 0.4, 0.6, 0.8, 1.0].into_iter().find(|a| *a >= highest).unwrap_or(1.0)
}

fn rank(described: &Described, axis: f64) -> Option<Rank> {
    let place = |fraction: f64| (1e4 * fraction / axis).round() / 10.0;
    let top1 = described.figures.val_top1?;
    let (low, high) = described.figures.val_interval.unwrap_or((top1, top1));
    Some(Rank {
        run: described.identity.clone(),
        value: format::percent(top1),
        interval: described.figures.val_interval.map_or_else(String::new, format::percent_range),
        at: place(top1),
        low: place(low),
        high: place(high),
        replaced: beside(described).map(|r| (format::percent(r.val_top1), place(r.val_top1))),
        paper: paper(described).map(|p| format!("{:.1}\u{a0}%", p.top1_error)),
    })
}

/// The paper's results for this run's configuration.
fn paper(d: &Described) -> Option<&'static Paper> {
    PAPER.iter().find(|p| p.letter == d.identity.letter)
}

/// How the networks lie here and in the paper, where at least three of them can be put in order.
fn order(ranked: &[&Described]) -> Option<String> {
    let mut seen = BTreeSet::new();
    let here: Vec<&Described> = ranked.iter().copied().filter(|d| seen.insert(d.identity.letter)).collect();
    let mut there = here.clone();
    let error = |d: &Described| paper(d).map_or(f64::INFINITY, |p| p.top1_error);
    there.sort_by(|a, b| error(a).total_cmp(&error(b)));
    let names = |list: &[&Described]| list.iter().map(|d| d.identity.network.as_str()).collect::<Vec<_>>().join(", ");
    let (ours, theirs) = (names(&here), names(&there));
    (here.len() > 2).then(|| match ours == theirs {
        true => format!("The order of the networks, {ours}, is the paper's on ImageNet."),
        false => format!("From best to worst the order is {ours} here, and {theirs} in the paper, on ImageNet."),
    })
}

fn caveats(inputs: &Inputs, runs: &Runs, best: &Described) -> Vec<String> {
    let by_validation = |d: &&Described| selection::by_validation(&d.run.run.training);
    let (kind, others): (Vec<_>, Vec<_>) = runs.ranked().into_iter().partition(by_validation);
    let mut list = Vec::new();
    if !kind.is_empty() {
        let who = if others.is_empty() { "every network" } else { "those networks" };
        let of = if others.is_empty() { "" } else { " of some runs" };
        let no_labels = if best.identity.own_images { "" } else { "; the test split has no labels" };
        list.push(format!(
            "The weights kept{of} are those of the epoch with the best figure on the validation split, so validation figures are \
             slightly kind to {who}{no_labels}."
        ));
    }
    if !others.is_empty() {
        let whose = if kind.is_empty() { "The weights kept" } else { "Those of the others" };
        list.push(format!(
            "{whose} were chosen by held-out train images or are the last: validation figures chose nothing."
        ));
    }
    if let Some(reason) = other_conditions(best.run, inputs).filter(|_| is_tiny_imagenet(best)) {
        list.push(format!(
            "Figures of the replaced PyTorch project are shown for orientation only: these runs have {reason}."
        ));
    }
    if !runs.shared.is_empty() {
        let who = if runs.iter().count() == 1 { "This run" } else { "All runs here" };
        list.push(format!("{who}: {}.", runs.shared.join(", ")));
    }
    if runs.iter().any(|d| d.identity.variations.iter().any(|v| v.starts_with("recipe "))) {
        list.push(
            "Recipe NAME stands for all that `vggkit train --recipe NAME` sets; the settings of each run are listed at the end."
                .into(),
        );
    }
    list.extend(order(&runs.ranked()));
    list.extend(budgets(&runs.ranked()));
    list.extend(spreads(&runs.ranked()));
    let others = runs.iter().filter(|d| !d.identity.comparable).count();
    if others > 0 {
        list.push(format!(
            "{} trained on other data and {} left out of this comparison.",
            format::counted(others, "run"),
            if others == 1 { "is" } else { "are" }
        ));
    }
    list
}

/// Runs that were allowed different numbers of epochs are not on equal terms.
fn budgets(ranked: &[&Described]) -> Option<String> {
    let epochs = || ranked.iter().map(|d| d.run.run.training.epochs);
    let (least, most) = (epochs().min()?, epochs().max()?);
    (least < most).then(|| {
        format!(
            "The runs were given from {least} to {most} epochs: one that trained less may be behind for that alone."
        )
    })
}

/// How far the runs of one network lie apart, for each network with several.
fn spreads(ranked: &[&Described]) -> Vec<String> {
    let mut by_network: BTreeMap<(usize, &str), Vec<f64>> = BTreeMap::new();
    for d in ranked {
        let network = (d.identity.colour, d.identity.network.as_str());
        by_network.entry(network).or_default().extend(d.figures.val_top1);
    }
    let several = by_network.into_iter().filter(|(_, top1)| top1.len() > 1);
    several
        .map(|((_, network), top1)| {
            let (low, high) = top1.iter().fold((1.0_f64, 0.0_f64), |(l, h), v| (l.min(*v), h.max(*v)));
            let mean = format::percent(top1.iter().sum::<f64>() / top1.len() as f64);
            let range = format::percent_range((low, high));
            format!("The {} runs of {network} lie at {range}, {mean} in the mean.", top1.len())
        })
        .collect()
}
