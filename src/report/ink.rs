//! What every chart of the page is made with: drawn by plotters, then stripped of everything that CSS decides.
//!
//! plotters writes fixed colours and fonts. Each colour given to it stands for an [`Ink`]; afterwards it is replaced by a
//! class, so that the page's style sheet colours the chart for light, dark and print. Coordinates are [`SCALE`] times finer
//! than sizes say, since plotters rounds them to whole units.

use plotters::style::{Color, IntoFont, RGBColor, TextStyle};
use serde::Serialize;

/// Units of a drawing to one of the chart.
pub const SCALE: i32 = 4;

/// Finished SVG; the only markup that the page takes as it is.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Svg(String);

#[cfg(test)]
impl Svg {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a chart is called and how large it is.
pub struct Heading<'a> {
    /// Unique on the page.
    pub id: &'a str,
    pub title: &'a str,
    pub description: &'a str,
    /// Width and height.
    pub size: (i32, i32),
}

/// What a colour stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Axes.
    Axis,
    /// Lines of the mesh.
    Mesh,
    /// Labels.
    Label,
    /// A vertical mark.
    Mark,
    /// A run: colour and dash of its identity.
    Run(usize, usize),
    /// A run's training curve: its colour, thinner.
    Train(usize),
    /// A bar of a run: its colour, pale.
    Bar(usize),
}

/// Labels.
pub fn text(ink: Ink) -> TextStyle<'static> {
    TextStyle { color: ink.colour().to_backend_color(), ..TextStyle::from(("sans-serif", 11 * SCALE).into_font()) }
}

impl Ink {
    /// The colour that stands for it while plotters draws.
    pub fn colour(self) -> RGBColor {
        let (kind, variant) = match self {
            Self::Axis => (0, 0),
            Self::Mesh => (1, 0),
            Self::Label => (2, 0),
            Self::Mark => (3, 0),
            Self::Run(colour, dash) => (4 + colour, dash),
            Self::Train(colour) => (4 + colour, 255),
            Self::Bar(colour) => (4 + colour, 254),
        };
        RGBColor(1, u8::try_from(kind).unwrap_or(2), u8::try_from(variant).unwrap_or(0))
    }

    /// The class of a stand-in as plotters writes it, e.g. `#010400`.
    fn class(written: &str) -> Option<String> {
        let code = u32::from_str_radix(written.strip_prefix("#01")?, 16).ok()?;
        Some(match (code >> 8, code & 255) {
            (0, _) => "axis".into(),
            (1, _) => "mesh".into(),
            (2, _) => "label".into(),
            (3, _) => "mark".into(),
            (kind, 255) => format!("c{} train", kind - 4),
            (kind, 254) => format!("c{} bar", kind - 4),
            (kind, dash) => format!("c{} d{dash}", kind - 4),
        })
    }
}

/// plotters' SVG with classes instead of colours and fonts, a title and a description. Each curve says which of `columns`,
/// in the order in which they are drawn, has its values in the table behind the chart: that is what a read-out is made of.
pub fn themed(drawn: &str, heading: &Heading, columns: impl IntoIterator<Item = usize>) -> Svg {
    let escape = |t: &str| t.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let id = escape(heading.id);
    let mut svg = format!(
        "<svg class=\"chart\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" viewBox=\"0 0 {} {}\">\
         <title id=\"{id}-title\">{}</title><desc id=\"{id}-desc\">{}</desc>\n",
        heading.size.0 * SCALE,
        heading.size.1 * SCALE,
        escape(heading.title),
        escape(heading.description)
    );
    let mut columns = columns.into_iter();
    // One tag or one text a line; texts are escaped, so a line that starts with `<` is a tag.
    for line in drawn.lines().filter(|l| !l.starts_with("<svg") && !l.starts_with("</svg")) {
        match line.strip_prefix('<') {
            Some(tag) if !tag.starts_with('/') => {
                let tag = themed_tag(tag);
                // Curves are drawn ahead of the lines beside their labels, which find no column left.
                let curve = tag.strip_prefix("<polyline ").filter(|rest| rest.contains("class=\"c"));
                match curve.and_then(|rest| Some((rest, columns.next()?))) {
                    Some((rest, column)) => svg.push_str(&format!("<polyline data-column=\"{column}\" {rest}")),
                    None => svg.push_str(&tag),
                }
            }
            _ => svg.push_str(line.trim_end()),
        }
    }
    Svg(svg + "</svg>")
}

/// One opening tag, without its `<`.
fn themed_tag(tag: &str) -> String {
    let (name, rest) = tag.split_once(' ').unwrap_or((tag, ""));
    let (rest, end) = match rest.strip_suffix("/>") {
        Some(rest) => (rest, "/>"),
        None => (rest.trim_end_matches('>'), ">"),
    };
    let mut out = format!("<{name}");
    for attribute in rest.split("\" ") {
        let Some((key, value)) = attribute.split_once("=\"") else { continue };
        let value = value.trim_end_matches('"').trim_end();
        match key {
            "font-family" | "font-size" | "opacity" | "stroke-width" => {}
            "stroke" | "fill" if value == "none" && (key == "stroke" || name != "polyline") => {}
            "stroke" | "fill" => match Ink::class(value) {
                Some(class) => out.push_str(&format!(" class=\"{class}\"")),
                None => out.push_str(&format!(" {key}=\"{value}\"")),
            },
            _ => out.push_str(&format!(" {key}=\"{value}\"")),
        }
    }
    out + end
}
