//! axe-core finds nothing, in light and dark, on a laptop and on a phone; and it would find something.
//!
//! It comes in through the DevTools protocol, so that the page's policy stays as strict as readers get it.

use serde_json::json;

use super::page::{LAPTOP, Page, View};
use super::{browser, chromium, pages};

/// A picture without words and grey on grey.
const POOR: &str = r#"<!doctype html><html lang="en"><head><title>poor</title></head><body><main><h1>Poor</h1>
<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw="><p style="color: #aaa">grey</p></main></body></html>"#;

const FOUND: &str = "axe.run(document, { resultTypes: ['violations'] }).then((found) =>
  found.violations.flatMap((rule) => rule.nodes.slice(0, 8).map((node) => {
    const why = node.any.concat(node.all, node.none).map((check) => check.message).join('; ');
    return `${rule.id} (${rule.nodes.length}): ${node.target.join(' ')}: ${node.html.slice(0, 160)}: ${why}`;
  })))";

#[test]
fn axe_finds_no_violation() {
    let (browser, axe) = (browser(), chromium::axe());
    let mut found = Vec::new();
    for made in pages::all() {
        let page = Page::open(&browser, &made.file, "", LAPTOP);
        page.unfold();
        let (dark, phone) = (View { dark: true, ..LAPTOP }, View { width: 320, ..LAPTOP });
        // A page with little on it has nothing that the others lack but its hints.
        let views = if ["bare", "empty"].contains(&made.name) { vec![dark] } else { vec![LAPTOP, dark, phone] };
        for view in views {
            page.look(view);
            let violations = violations(&page, &axe);
            found.extend(violations.into_iter().map(|v| format!("{}, {}: {v}", made.name, view.name())));
        }
    }
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

#[test]
fn axe_finds_what_is_wrong() {
    let (browser, axe) = (browser(), chromium::axe());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page.html");
    std::fs::write(&file, POOR).expect("a page");
    let found = violations(&Page::open(&browser, &file, "", LAPTOP), &axe).join("\n");
    assert!(found.contains("image-alt") && found.contains("color-contrast"), "{found}");
}

/// Rule, what it asks for, and where it is broken.
pub fn violations(page: &Page, axe: &str) -> Vec<String> {
    let params = json!({ "expression": format!("if (!globalThis.axe) {{ {axe} }}; axe.version") });
    page.call("Runtime.evaluate", params);
    page.texts(FOUND)
}
