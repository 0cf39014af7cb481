//! Inside the networks: filters of the first layer, and where each looked in the same handful of images.
//!
//! It shows what `evaluate` wrote; pictures of images need the data set that the runs were trained on.

use std::collections::HashMap;

use serde::Serialize;

use super::super::format;
use super::super::images::{DataUri, attention, filters, thumbnail};
use super::super::inputs::Inputs;
use super::identity::{Described, Identity, Runs};
use super::mistakes::SHOWN;
use super::parts::Picture;
use crate::dataset::Pack;
use crate::error::Result;
use crate::inference::inside::{Attention, Inside as Written};

/// Filters in a row of the picture.
const COLUMNS: usize = 8;
/// Filters drawn of a network; wider ones have more.
const FILTERS: usize = 128;

/// A map whose least value is this is said to be even; of 255.
const EVERYWHERE: u8 = 150;

/// The section.
#[derive(Serialize)]
pub struct Inside {
    pub filters: Vec<Filters>,
    pub attention: Option<Looks>,
    /// There is something to draw maps on: the data set of the runs.
    pub has_images: bool,
    /// Runs without `inside.json`.
    pub missing: Vec<Identity>,
}

/// The filters of one run, the strongest first.
#[derive(Serialize)]
pub struct Filters {
    pub run: Identity,
    pub count: usize,
    pub drawn: usize,
    pub kernel: usize,
    pub picture: DataUri,
    /// Pixels of the picture, for the room it takes.
    pub width: usize,
    pub height: usize,
}

/// Rows images, columns runs.
#[derive(Serialize)]
pub struct Looks {
    pub split: String,
    /// "4×4".
    pub cells: String,
    pub runs: Vec<Identity>,
    pub rows: Vec<Row>,
}

/// One image.
#[derive(Serialize)]
pub struct Row {
    pub picture: Picture,
    pub truth: String,
    pub file: String,
    /// For each run.
    pub looks: Vec<Option<Look>>,
}

/// Where one run looked.
#[derive(Serialize)]
pub struct Look {
    pub picture: Picture,
    pub predicted: String,
    pub probability: String,
    pub right: bool,
    /// Nothing in the last layer speaks for the class.
    pub blank: bool,
}

pub fn build(inputs: &Inputs, runs: &Runs) -> Result<Inside> {
    let (with, without): (Vec<_>, Vec<_>) = runs.best_first().into_iter().partition(|d| d.run.inside.is_some());
    let shown: Vec<(&Described, &Written)> =
        with.into_iter().take(SHOWN).filter_map(|d| Some((d, d.run.inside.as_ref()?))).collect();
    let drawn = shown.iter().filter(|(_, inside)| !inside.filters.is_empty());
    Ok(Inside {
        filters: drawn.map(|(d, inside)| filters_of(d, inside)).collect::<Result<_>>()?,
        attention: looks(inputs, &shown)?,
        has_images: inputs.data.is_some(),
        missing: without.iter().map(|d| d.identity.clone()).collect(),
    })
}

fn filters_of(d: &Described, inside: &Written) -> Result<Filters> {
    let strength = |filter: &[f32]| filter.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>();
    let mut sorted: Vec<&[f32]> = inside.filters.iter().map(Vec::as_slice).collect();
    sorted.sort_by(|a, b| strength(b).total_cmp(&strength(a))); // stable: the first of equals first
    sorted.truncate(FILTERS);
    let (columns, pitch) = (COLUMNS.min(sorted.len()), inside.kernel + 1);
    Ok(Filters {
        run: d.identity.clone(),
        count: inside.filters.len(),
        drawn: sorted.len(),
        kernel: inside.kernel,
        picture: filters(&sorted, inside.kernel, columns)?,
        width: columns * pitch - 1,
        height: sorted.len().div_ceil(columns) * pitch - 1,
    })
}

/// The images of the first run that was trained on the data set at hand, and what each such run saw in them.
fn looks(inputs: &Inputs, shown: &[(&Described, &Written)]) -> Result<Option<Looks>> {
    let Some(data) = &inputs.data else { return Ok(None) };
    let of_data = |d: &Described| d.run.known_as == data.identity.content_sha256;
    let shown: Vec<_> = shown.iter().filter(|(d, i)| of_data(d) && !i.attention.is_empty()).collect();
    let Some((_, first)) = shown.first() else { return Ok(None) };
    let Some(pack) = data.packs.get(&first.split) else { return Ok(None) };
    let shown: Vec<_> = shown.into_iter().filter(|(_, inside)| inside.split == first.split).collect();
    let wanted: std::collections::HashSet<&str> = first.attention.iter().map(|a| a.file.as_str()).collect();
    let places: HashMap<String, usize> = pack
        .image_names()
        .into_iter()
        .enumerate()
        .filter(|(_, name)| wanted.contains(name.as_str()))
        .map(|(index, name)| (name, index))
        .collect();
    let name = |class: usize| pack.names.get(class).cloned().unwrap_or_else(|| format!("class {class}"));
    let mut rows = Vec::new();
    for a in &first.attention {
        let Some(&index) = places.get(a.file.as_str()) else { continue };
        let truth = name(a.truth);
        let seen = |(d, inside): &&(&Described, &Written)| {
            let own = inside.attention.iter().find(|other| other.file == a.file);
            own.map(|own| look(d, own, pack, index, &name)).transpose()
        };
        let picture = Picture { source: thumbnail(pack, index)?, alt: format!("{truth}, {}", a.file) };
        rows.push(Row { picture, truth, file: a.file.clone(), looks: shown.iter().map(seen).collect::<Result<_>>()? });
    }
    let cells = first.attention.first().map(|a| format!("{}×{}", a.height, a.width));
    let runs = shown.iter().map(|(d, _)| d.identity.clone()).collect();
    Ok(cells.filter(|_| !rows.is_empty()).map(|cells| Looks { split: first.split.clone(), cells, runs, rows }))
}

fn look(d: &Described, a: &Attention, pack: &Pack, index: usize, name: &impl Fn(usize) -> String) -> Result<Look> {
    let predicted = name(a.predicted);
    let blank = a.map.iter().all(|v| *v == 0);
    let place = match a.map.iter().min() {
        _ if blank => "nowhere".into(),
        Some(EVERYWHERE..) => "everywhere alike".into(),
        _ => format!("mostly {}", place(a)),
    };
    Ok(Look {
        picture: Picture {
            source: attention(pack, index, &a.map, (a.height, a.width))?,
            alt: format!("{} looked {place} for {predicted}", d.identity.name),
        },
        predicted,
        probability: format::percent(f64::from(a.probability)),
        right: a.predicted == a.truth,
        blank,
    })
}

/// Where a map's centre of mass lies: "at the top left", "in the middle", ...
fn place(a: &Attention) -> &'static str {
    let (mut sum, mut down, mut across) = (0.0, 0.0, 0.0);
    for (i, v) in a.map.iter().enumerate() {
        let v = f64::from(*v);
        sum += v;
        down += v * ((i / a.width) as f64 + 0.5) / a.height as f64;
        across += v * ((i % a.width) as f64 + 0.5) / a.width as f64;
    }
    let third = |v: f64| if v / sum < 0.42 { 0 } else { 1 + usize::from(v / sum > 0.58) };
    let places = [
        ["at the top left", "at the top", "at the top right"],
        ["at the left", "in the middle", "at the right"],
        ["at the bottom left", "at the bottom", "at the bottom right"],
    ];
    places[third(down)][third(across)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_map_is_said_in_words() {
        let at = |map: [u8; 6]| {
            let (file, map) = (String::new(), map.to_vec());
            let (truth, predicted, probability, truth_probability, height, width) = (0, 0, 0.5, 0.5, 2, 3);
            place(&Attention { file, truth, predicted, probability, truth_probability, height, width, map })
        };
        assert_eq!(at([255, 0, 0, 0, 0, 0]), "at the top left");
        assert_eq!(at([0, 0, 0, 0, 0, 9]), "at the bottom right");
        assert_eq!(at([7, 7, 7, 7, 7, 7]), "in the middle");
    }
}
