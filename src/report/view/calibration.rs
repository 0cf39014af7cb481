//! Are the networks right as often as they say? A reliability diagram for each evaluated run, and for those fused.

use serde::Serialize;

use super::super::format;
use super::super::inputs::{Inputs, LoadedFusion};
use super::super::reliability::{Spec, draw};
use super::averaged::{Fused, fused};
use super::identity::{Identity, Runs};
use super::mistakes::SHOWN;
use super::parts::{Chart, Table};
use crate::error::Result;
use crate::inference::calibration::{BINS, Bin, Calibration};
use crate::inference::tta::Tta;

/// The section.
#[derive(Serialize)]
pub struct Calibrations {
    /// The best run first, fused ones ahead of all.
    pub diagrams: Vec<Diagram>,
    /// Evaluated runs without confidences: of an older version.
    pub absent: Vec<Identity>,
}

/// The diagram of a run, or of several fused.
#[derive(Serialize)]
pub struct Diagram {
    pub run: Option<Identity>,
    pub fused: Option<Fused>,
    /// Over which views it is averaged, if any.
    pub views: Option<&'static str>,
    /// Expected calibration error.
    pub error: String,
    /// "Says 71.2 % in the mean and is right in 64.0 %."
    pub summary: String,
    pub chart: Chart,
}

/// Of whatever has no network's colour.
const QUIET: usize = 9;

pub fn build(inputs: &Inputs, runs: &Runs) -> Result<Calibrations> {
    let mut diagrams = Vec::new();
    for (index, LoadedFusion { fusion, .. }) in inputs.fusions.iter().enumerate() {
        let Some(calibration) = &fusion.evaluation.calibration else { continue };
        let fused = fused(fusion, runs);
        let title = format!("Reliability of {}", fused.name.to_lowercase());
        let diagram = diagram(&format!("reliability-fused-{}", index + 1), title, QUIET, calibration)?;
        let views = fusion.evaluation.tta.map(Tta::name);
        diagrams.push(Diagram { fused: Some(fused), views, ..diagram });
    }
    let mut absent = Vec::new();
    let evaluated = runs.best_first().into_iter().filter_map(|d| Some((d, d.run.evaluation.as_ref()?)));
    for (d, evaluation) in evaluated.take(SHOWN) {
        let Some(calibration) = &evaluation.calibration else {
            absent.push(d.identity.clone());
            continue;
        };
        let (id, title) = (format!("reliability-{}", d.identity.id), format!("Reliability of {}", d.identity.name));
        let diagram = diagram(&id, title, d.identity.colour, calibration)?;
        diagrams.push(Diagram { run: Some(d.identity.clone()), ..diagram });
    }
    Ok(Calibrations { diagrams, absent })
}

fn diagram(id: &str, title: String, colour: usize, calibration: &Calibration) -> Result<Diagram> {
    let summary = summary(calibration);
    let error = format::percent(calibration.error);
    let description = format!(
        "Share of hits by confidence in {BINS} bins. {summary} Expected calibration error {error}. The numbers are in the \
         table below."
    );
    let svg = draw(&Spec { id, title: &title, description: &description, colour, calibration, column: 3 })?;
    let edge = |bin: usize| format!("{:.1}", 100.0 * bin as f64 / BINS as f64);
    let filled = calibration.bins.iter().enumerate().filter(|(_, bin)| bin.images > 0);
    let row = |(i, bin): (usize, &Bin)| {
        vec![
            format!("{}–{}\u{a0}%", edge(i), edge(i + 1)),
            format::count(bin.images),
            format::percent(bin.confidence),
            format::percent(bin.top1),
        ]
    };
    let columns = ["Confidence", "Images", "Mean confidence", "Right"].map(str::to_owned).to_vec();
    let table = Table { caption: format!("{title} by confidence"), columns, rows: filled.map(row).collect() };
    Ok(Diagram {
        run: None,
        fused: None,
        views: None,
        error,
        summary,
        chart: Chart { title: "Reliability".into(), svg, table },
    })
}

/// What it says of itself in the mean, and how often that is so.
fn summary(calibration: &Calibration) -> String {
    let images: usize = calibration.bins.iter().map(|bin| bin.images).sum();
    let mean = |of: fn(&Bin) -> f64| {
        calibration.bins.iter().map(|bin| bin.images as f64 * of(bin)).sum::<f64>() / images.max(1) as f64
    };
    let (says, is) = (mean(|bin| bin.confidence), mean(|bin| bin.top1));
    let points = format!("{:.1}", 100.0 * (says - is).abs());
    let verdict = match (points.as_str(), says > is) {
        ("0.0", _) => String::new(),
        (points, true) => format!(": {points} points too sure of itself"),
        (points, false) => format!(": {points} points too modest"),
    };
    format!("In the mean it says {} and is right in {}{verdict}.", format::percent(says), format::percent(is))
}
