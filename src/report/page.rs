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
const TEMPLATES: [(&str, &str); 15] = [
    ("page.html", include_str!("../../templates/page.html")),
    ("macros.html", include_str!("../../templates/macros.html")),
    ("following.html", include_str!("../../templates/following.html")),
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
    ("live.html", include_str!("../../templates/live/live.html")),
];

/// The finished HTML. `images_beside`: the policy lets images be files too.
pub fn render(page: &Page, images_beside: bool) -> Result<String> {
    // A page opened from a folder has no origin of its own, so 'self' does not cover its neighbours: file: does.
    let images = if images_beside { "data: 'self' file:" } else { "data:" };
    let policy = policy(images, Scripts { style: STYLE, script: SCRIPT });
    let environment = environment()?;
    let template = environment.get_template("page.html").map_err(wrong)?;
    template.render(context! { page => Serde(page), style => STYLE, script => SCRIPT, policy => policy }).map_err(wrong)
}

fn wrong(error: minijinja::Error) -> Error {
    Error::new(Kind::Data, format!("cannot render the page: {error:#}"))
}

/// All templates, and what they are rendered with.
pub fn environment() -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(wrong)?);
    environment.add_filter("coded", coded);
    for (name, text) in TEMPLATES {
        environment.add_template(name, text).map_err(wrong)?;
    }
    Ok(environment)
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

/// The texts that a page may apply and run.
#[derive(Clone, Copy)]
pub struct Scripts {
    pub style: &'static str,
    pub script: &'static str,
}

/// Nothing is loaded but images from where `images` says; only this very style and script apply.
pub fn policy(images: &str, Scripts { style, script }: Scripts) -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; img-src {images}; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(style),
        hash(script)
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
