//! Curves over epochs as SVG for an HTML page, drawn with [`ink`](super::ink).

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axes::{Axis, Measure, epoch_ticks, plain, tick_texts, y_axis};
use super::format;
use super::ink::{Heading, Ink, SCALE, Svg, text, themed};
use crate::error::{Error, Kind, Result};

/// One curve.
pub struct Curve {
    /// At its end; keep it short.
    pub label: String,
    /// The column of the chart's table that has its values, from 0.
    pub column: usize,
    pub ink: Ink,
    /// Epoch and value, epochs ascending.
    pub points: Vec<(usize, f64)>,
    /// The epoch to mark.
    pub best: Option<usize>,
}

/// One chart.
pub struct Spec<'a> {
    /// Unique on the page.
    pub id: &'a str,
    pub title: &'a str,
    pub description: &'a str,
    pub measure: Measure,
    pub curves: &'a [Curve],
    /// Vertical lines: epoch and what it is.
    pub marks: &'a [(usize, String)],
}

const WIDTH: i32 = 440;
const HEIGHT: i32 = 268;
/// Left of the plot, above and below.
const MARGIN: [i32; 3] = [52, 22, 40];
/// Between two labels at the right.
const LINE: i32 = 14;

/// Draws one chart. Curves without points are left out.
pub fn draw(spec: &Spec) -> Result<Svg> {
    let mut drawn = String::new();
    plot(spec, &mut drawn).map_err(|e| Error::new(Kind::Data, format!("cannot draw {:?}: {e}", spec.title)))?;
    let Spec { id, title, description, .. } = *spec;
    let columns = spec.curves.iter().filter(|c| !c.points.is_empty()).map(|c| c.column);
    Ok(themed(&drawn, &Heading { id, title, description, size: (WIDTH, HEIGHT) }, columns))
}

pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Draws into `svg`: axes, marks, the curves in their order, labels.
fn plot(spec: &Spec, svg: &mut String) -> Result<(), Failed> {
    let size = |v: i32| u32::try_from(v * SCALE);
    let root = SVGBackend::with_string(svg, (size(WIDTH)?, size(HEIGHT)?)).into_drawing_area();
    let [left, top, bottom] = MARGIN;
    let right = label_width(spec.curves);
    let values = || spec.curves.iter().flat_map(|c| c.points.iter());
    let last = values().map(|p| p.0).max().unwrap_or(1);
    let x_range = (1.0 - 0.02 * last as f64)..(last as f64 * 1.02).max(1.5);
    let (y_range, y_ticks) = y_axis(values().map(|p| p.1), spec.measure);
    let y_texts = tick_texts(&y_ticks, spec.measure);
    let y_named: Vec<(f64, String)> = y_ticks.iter().copied().zip(y_texts).collect();
    let mut chart = ChartBuilder::on(&root)
        .margin_right(size(right)?)
        .margin_top(size(top)?)
        .set_label_area_size(LabelAreaPosition::Left, size(left)?)
        .set_label_area_size(LabelAreaPosition::Bottom, size(bottom)?)
        .build_cartesian_2d(
            Axis { range: x_range, ticks: epoch_ticks(last) },
            Axis { range: y_range.clone(), ticks: y_ticks },
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(Ink::Mesh.colour())
        .axis_style(Ink::Axis.colour())
        .label_style(text(Ink::Label))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| {
            y_named.iter().find(|(tick, _)| tick == y).map(|(_, text)| text.clone()).unwrap_or_default()
        })
        .set_all_tick_mark_size(size(4)?)
        .draw()?;
    let place = |chart: &ChartContext<_, Cartesian2d<Axis, Axis>>, epoch: usize, value: f64| {
        chart.backend_coord(&(epoch as f64, value))
    };

    for (i, (epoch, what)) in spec.marks.iter().enumerate() {
        let ends = [(*epoch as f64, y_range.start), (*epoch as f64, y_range.end)];
        chart.draw_series(LineSeries::new(ends, Ink::Mark.colour()))?;
        let (x, y) = place(&chart, *epoch, y_range.end);
        let to_the_left = i == 0 && *epoch * 2 > last;
        let style = text(Ink::Label).pos(Pos::new(if to_the_left { HPos::Right } else { HPos::Left }, VPos::Bottom));
        root.draw_text(what, &style, (x, y - 4 * SCALE))?;
    }

    let mut labels = Vec::new();
    for curve in spec.curves {
        let Some(&(end, value)) = curve.points.last() else { continue };
        let inside = |v: f64| v.clamp(y_range.start, y_range.end);
        let points = curve.points.iter().map(|&(e, v)| (e as f64, inside(v)));
        chart.draw_series(LineSeries::new(points.clone(), curve.ink.colour()))?;
        if curve.points.len() <= 2 {
            chart.draw_series(points.map(|p| Circle::new(p, 3 * SCALE, curve.ink.colour().filled())))?;
        }
        if let Some(&(epoch, v)) = curve.best.and_then(|b| curve.points.iter().find(|p| p.0 == b)) {
            let best = Circle::new((epoch as f64, inside(v)), 4 * SCALE, curve.ink.colour().filled());
            chart.draw_series([best])?;
        }
        labels.push((place(&chart, end, inside(value)).1, curve));
    }
    labels.sort_by_key(|l| l.0);
    let x = (WIDTH - right + 6) * SCALE;
    let heights = spread(labels.iter().map(|l| l.0).collect(), LINE * SCALE, top * SCALE, (HEIGHT - bottom) * SCALE);
    for ((_, curve), y) in labels.iter().zip(heights) {
        root.draw(&PathElement::new([(x, y), (x + 14 * SCALE, y)], curve.ink.colour()))?;
        let beside = (x + 18 * SCALE, y);
        root.draw_text(&fit(&curve.label), &text(Ink::Label).pos(Pos::new(HPos::Left, VPos::Center)), beside)?;
    }
    let axis = text(Ink::Label).pos(Pos::new(HPos::Right, VPos::Bottom));
    root.draw_text("epoch", &axis, ((WIDTH - right) * SCALE, (HEIGHT - 2) * SCALE))?;
    root.present()?;
    Ok(())
}

/// Room for the labels of the curves at the right, but never more than a third of the chart.
fn label_width(curves: &[Curve]) -> i32 {
    let longest = curves.iter().map(|c| text_width(&c.label)).max().unwrap_or(0);
    longest.clamp(5 * NARROW, WIDTH / 3) + 30
}

/// Of a letter in a label, in the chart's units: most sans-serif letters, and those that are as wide as high.
const NARROW: i32 = 8;
const WIDE: i32 = 11;

/// About how wide a label is; its font is the reader's.
fn text_width(text: &str) -> i32 {
    text.chars().map(|c| if c.is_ascii() && !"mwMW@%&".contains(c) { NARROW } else { WIDE }).sum()
}

/// A label that leaves most of the chart to its curves: cut, with an ellipsis, where it is too long.
fn fit(label: &str) -> String {
    let mut cut = label.to_owned();
    while text_width(&cut) > WIDTH / 3 {
        cut = format::ellipsis(&cut, cut.chars().count() - 1);
    }
    cut
}

/// A value in words.
pub fn value_text(value: f64, measure: Measure) -> String {
    match measure {
        Measure::Accuracy => format::percent(value),
        Measure::Loss => format::loss(value),
        Measure::LearningRate if value < 1e-4 => format!("{value:.2e}"),
        Measure::LearningRate => plain(value, 6),
        Measure::Speed => format::rate(value),
    }
}

/// Moves sorted heights apart until they are `gap` from each other, within `top..bottom` where there is room.
fn spread(mut heights: Vec<i32>, gap: i32, top: i32, bottom: i32) -> Vec<i32> {
    let mut floor = top;
    for y in &mut heights {
        *y = (*y).max(floor);
        floor = *y + gap;
    }
    let mut ceiling = bottom;
    for y in heights.iter_mut().rev() {
        *y = (*y).min(ceiling);
        ceiling = *y - gap;
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec<'a>(curves: &'a [Curve], marks: &'a [(usize, String)]) -> Spec<'a> {
        Spec { id: "x", title: "a < b", description: "d", measure: Measure::Loss, curves, marks }
    }

    #[test]
    fn no_colour_font_or_address_is_left() -> Result<()> {
        let curves = [Curve {
            label: "<b>".into(),
            column: 7,
            ink: Ink::Run(5, 3),
            points: vec![(1, 2.0), (2, 1.5), (3, 1.7)],
            best: Some(2),
        }];
        let svg = draw(&spec(&curves, &[(2, "best".into())]))?;
        let svg = svg.as_str();
        for never in ["#0", "font", "http", "<b>", "style="] {
            assert!(!svg.contains(never), "{never} in {svg}");
        }
        assert!(svg.contains("class=\"c5 d3\"") && svg.contains("a &lt; b") && svg.contains("best"));
        assert_eq!(svg.matches("data-column=\"7\"").count(), 1, "the curve, and not the line beside its label");
        Ok(())
    }

    #[test]
    fn one_epoch_no_points_and_flat_curves_are_drawn() -> Result<()> {
        for points in [vec![], vec![(1, 2.0)], vec![(1, 0.0), (900_000, 0.0)], vec![(7, 1e11), (8, -1e11)]] {
            let curves = [Curve { label: "l".into(), column: 1, ink: Ink::Train(0), points, best: None }];
            draw(&spec(&curves, &[]))?;
        }
        Ok(())
    }

    #[test]
    fn labels_keep_their_distance() {
        assert_eq!(spread(vec![10, 11, 12], 5, 0, 100), [10, 15, 20]);
        assert_eq!(spread(vec![96, 98, 99], 5, 0, 100), [90, 95, 100]);
    }

    #[test]
    fn labels_fit_beside_the_chart() {
        assert_eq!(fit("vgg11-seed0"), "vgg11-seed0");
        for long in ["W".repeat(80), "日本".repeat(9), "i".repeat(40)] {
            let cut = fit(&long);
            assert!(cut.ends_with('…') && text_width(&cut) <= WIDTH / 3, "{cut}");
        }
    }
}
