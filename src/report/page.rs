//! The view through the templates: one file with its style and script inside, and a policy that allows nothing else.
//!
//! Templates escape every text; only charts and embedded images, which this crate made, go in as they are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, HtmlEscape, UndefinedBehavior, context};
use sha2::{Digest, Sha256};

use super::view::Page;
use crate::error::{Error, Kind, Result};

const STYLE: &str = concat!(include_str!("../../templates/style.css"), include_str!("../../templates/parts.css"));
const SCRIPT: &str = concat!(include_str!("../../templates/script.js"), include_str!("../../templates/matrix.js"));

/// Name and text of each template.
const TEMPLATES: [(&str, &str); 14] = [
    ("page.html", include_str!("../../templates/page.html")),
    ("macros.html", include_str!("../../templates/macros.html")),
    ("live.html", include_str!("../../templates/live.html")),
    ("verdict.html", include_str!("../../templates/verdict.html")),
    ("results.html", include_str!("../../templates/results.html")),
    ("averaged.html", include_str!("../../templates/averaged.html")),
    ("architectures.html", include_str!("../../templates/architectures.html")),
    ("curves.html", include_str!("../../templates/curves.html")),
    ("data.html", include_str!("../../templates/data.html")),
    ("mistakes.html", include_str!("../../templates/mistakes.html")),
    ("calibration.html", include_str!("../../templates/calibration.html")),
    ("inside.html", include_str!("../../templates/inside.html")),
    ("provenance.html", include_str!("../../templates/provenance.html")),
    ("problems.html", include_str!("../../templates/problems.html")),
];

/// The finished HTML. `images_beside`: the policy lets images be files too.
pub fn render(page: &Page, images_beside: bool) -> Result<String> {
    let wrong = |e: minijinja::Error| Error::new(Kind::Data, format!("cannot render the page: {e:#}"));
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(wrong)?);
    environment.add_filter("coded", coded);
    for (name, text) in TEMPLATES {
        environment.add_template(name, text).map_err(wrong)?;
    }
    let template = environment.get_template("page.html").map_err(wrong)?;
    template
        .render(context! { page => Serde(page), style => STYLE, script => SCRIPT, policy => policy(images_beside) })
        .map_err(wrong)
}

/// A text with what stands between two backticks set as code.
fn coded(text: &str) -> Value {
    let mut html = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, (code, after))) =
        rest.split_once('`').and_then(|(b, rest)| Some((b, rest.split_once('`')?)))
    {
        html.push_str(&format!("{}<code>{}</code>", HtmlEscape(before), HtmlEscape(code)));
        rest = after;
    }
    html.push_str(&HtmlEscape(rest).to_string());
    Value::from_safe_string(html)
}

/// Nothing is loaded but embedded images, or those beside the page; only this very style and script apply.
fn policy(images_beside: bool) -> String {
    // A page opened from a folder has no origin of its own, so 'self' does not cover its neighbours: file: does.
    let images = if images_beside { "data: 'self' file:" } else { "data:" };
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; img-src {images}; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_set_as_code_and_everything_is_escaped() {
        for (text, html) in [
            ("a < b", "a &lt; b"),
            ("run `vggkit <x>` again", "run <code>vggkit &lt;x&gt;</code> again"),
            ("`a` and `b`", "<code>a</code> and <code>b</code>"),
            ("one ` alone", "one ` alone"),
        ] {
            assert_eq!(coded(text).to_string(), html);
        }
    }
}
