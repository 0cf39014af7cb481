//! A reliability diagram as SVG: the share of hits in each bin of confidence, over how many images each bin has; drawn with
//! [`ink`](super::ink).
//!
//! On the diagonal a network is right as often as it says. It judges nothing: the error is the calibration's own.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axes::{Axis, Measure, tick_texts};
use super::charts::Failed;
use super::format;
use super::ink::{Heading, Ink, SCALE, Svg, text, themed};
use crate::error::{Error, Kind, Result};
use crate::inference::calibration::{Bin, Calibration};

/// One diagram.
pub struct Spec<'a> {
    /// Unique on the page.
    pub id: &'a str,
    pub title: &'a str,
    pub description: &'a str,
    /// That of the run; 9 for several.
    pub colour: usize,
    pub calibration: &'a Calibration,
    /// The column of the diagram's table that has the shares of hits.
    pub column: usize,
}

const WIDTH: i32 = 440;
const HEIGHT: i32 = 316;
/// Left and right of both plots.
const SIDES: [i32; 2] = [52, 26];
/// Top and bottom of the shares of hits, and of the numbers of images below them.
const SHARES: [i32; 2] = [12, 196];
const IMAGES: [i32; 2] = [222, 276];

/// Draws one diagram. Bins without images are left out.
pub fn draw(spec: &Spec) -> Result<Svg> {
    let mut drawn = String::new();
    plot(spec, &mut drawn).map_err(|e| Error::new(Kind::Data, format!("cannot draw {:?}: {e}", spec.title)))?;
    let Spec { id, title, description, column, .. } = *spec;
    Ok(themed(&drawn, &Heading { id, title, description, size: (WIDTH, HEIGHT) }, [column]))
}

fn plot(spec: &Spec, svg: &mut String) -> Result<(), Failed> {
    let size = |v: i32| u32::try_from(v * SCALE);
    let root = SVGBackend::with_string(svg, (size(WIDTH)?, size(HEIGHT)?)).into_drawing_area();
    let [left, right] = SIDES;
    let bins = &spec.calibration.bins;
    let share = || Axis { range: 0.0..1.0, ticks: (0..=5).map(|i| f64::from(i) / 5.0).collect() };
    let percent = |v: &f64| tick_texts(&[*v], Measure::Accuracy).concat();

    let mut hits = ChartBuilder::on(&root)
        .margin_top(size(SHARES[0])?)
        .margin_bottom(size(HEIGHT - SHARES[1])?)
        .margin_right(size(right)?)
        .set_label_area_size(LabelAreaPosition::Left, size(left)?)
        .build_cartesian_2d(share(), share())?;
    hits.configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(Ink::Mesh.colour())
        .axis_style(Ink::Axis.colour())
        .label_style(text(Ink::Label))
        .y_label_formatter(&percent)
        .set_all_tick_mark_size(size(4)?)
        .draw()?;
    let top1 = |bin: &Bin| bin.top1;
    hits.draw_series(bars(bins, top1).map(|corners| Rectangle::new(corners, Ink::Bar(spec.colour).colour().filled())))?;
    hits.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], Ink::Mark.colour()))?;
    let points = || bins.iter().filter(|bin| bin.images > 0).map(|bin| (bin.confidence, bin.top1));
    hits.draw_series(LineSeries::new(points(), Ink::Run(spec.colour, 0).colour()))?;
    let dot = |point| Circle::new(point, 3 * SCALE, Ink::Run(spec.colour, 0).colour().filled());
    hits.draw_series(points().map(dot))?;

    let most = bins.iter().map(|bin| bin.images).max().unwrap_or(0).max(1);
    let mut images = ChartBuilder::on(&root)
        .margin_top(size(IMAGES[0])?)
        .margin_bottom(size(0)?)
        .margin_right(size(right)?)
        .set_label_area_size(LabelAreaPosition::Left, size(left)?)
        .set_label_area_size(LabelAreaPosition::Bottom, size(HEIGHT - IMAGES[1])?)
        .build_cartesian_2d(share(), Axis { range: 0.0..most as f64, ticks: vec![0.0, most as f64] })?;
    images
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(Ink::Mesh.colour())
        .axis_style(Ink::Axis.colour())
        .label_style(text(Ink::Label))
        .x_label_formatter(&percent)
        .y_label_formatter(&|v| format::count(v.round() as usize))
        .set_all_tick_mark_size(size(4)?)
        .draw()?;
    let count = |bin: &Bin| bin.images as f64;
    images.draw_series(
        bars(bins, count).map(|corners| Rectangle::new(corners, Ink::Bar(spec.colour).colour().filled())),
    )?;

    let at = |x: i32, y: i32| (x * SCALE, y * SCALE);
    let label = |h, v| text(Ink::Label).pos(Pos::new(h, v));
    root.draw_text("images", &label(HPos::Left, VPos::Bottom), at(left + 2, IMAGES[0] - 4))?;
    root.draw_text("confidence", &label(HPos::Right, VPos::Bottom), at(WIDTH - right, HEIGHT - 2))?;
    root.present()?;
    Ok(())
}

/// The corners of a bar for each bin with images, a little apart.
fn bars(bins: &[Bin], height: impl Fn(&Bin) -> f64) -> impl Iterator<Item = [(f64, f64); 2]> {
    let width = 1.0 / bins.len() as f64;
    bins.iter().enumerate().filter(|(_, bin)| bin.images > 0).map(move |(i, bin)| {
        let start = i as f64 * width;
        [(start + 0.06 * width, 0.0), (start + 0.94 * width, height(bin))]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(answers: &[(f64, bool)]) -> Result<String> {
        let calibration = Calibration::of(answers.iter().copied());
        let spec = Spec { id: "x", title: "a < b", description: "d", colour: 2, calibration: &calibration, column: 4 };
        draw(&spec).map(|svg| svg.as_str().to_owned())
    }

    #[test]
    fn a_bin_with_images_has_two_bars_and_a_point() -> Result<()> {
        let svg = drawn(&[(0.3, true), (0.31, false), (0.95, true)])?;
        assert_eq!(svg.matches("class=\"c2 bar\"").count(), 4, "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2);
        assert_eq!(svg.matches("data-column=\"4\"").count(), 1, "one curve");
        for never in ["#0", "font", "http", "style=", "a < b"] {
            assert!(!svg.contains(never), "{never} in {svg}");
        }
        Ok(())
    }

    #[test]
    fn no_image_and_one_are_drawn() -> Result<()> {
        assert!(!drawn(&[])?.contains("bar"));
        assert_eq!(drawn(&[(1.0, true)])?.matches("bar").count(), 2);
        Ok(())
    }
}
