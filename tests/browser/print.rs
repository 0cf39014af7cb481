//! On paper nothing is missing: every heading, every table and what is folded on the screen.

use serde_json::json;

use super::page::{LAPTOP, Page, View, decode};
use super::{browser, pages};

/// What paper lacks; the values behind a chart are left out on purpose.
const HIDDEN: &str = "Array.from(document.querySelectorAll(
    'h1, h2, h3, h4, main table, main img, main svg, .command, dd, figcaption'))
  .filter((e) => !e.checkVisibility({ contentVisibilityAuto: true, visibilityProperty: true }))
  .filter((e) => !e.closest('figure details')).map((e) => `${e.tagName} ${e.textContent.trim().slice(0, 60)}`)";

#[test]
fn paper_has_every_part() {
    let browser = browser();
    for made in pages::all() {
        let page = Page::open(&browser, &made.file, "", View { print: true, ..LAPTOP });
        let hidden = page.texts(HIDDEN);
        assert_eq!(hidden, Vec::<String>::new(), "{}: not on paper", made.name);
        let headings = page.texts("Array.from(document.querySelectorAll('h2'), (e) => e.textContent.trim())");
        let options = json!({ "generateDocumentOutline": true, "generateTaggedPDF": true, "printBackground": true });
        let pdf = decode(&page.call("Page.printToPDF", options));
        assert!(pdf.starts_with(b"%PDF-"), "{}", made.name);
        let folder = super::chromium::target().join("screenshots");
        std::fs::create_dir_all(&folder).expect("a folder for screenshots");
        std::fs::write(folder.join(format!("{}.pdf", made.name)), &pdf).expect("a PDF");
        let outline = outline(&pdf);
        for heading in &headings {
            assert!(outline.contains(heading), "{}: {heading:?} is not among {outline:?}", made.name);
        }
        assert_eq!(page.complaints(), Vec::<String>::new(), "{}", made.name);
    }
}

/// The titles of the PDF's outline, which Chromium makes of the headings that are on a page.
fn outline(pdf: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(pdf);
    text.split("/Title (").skip(1).filter_map(|rest| rest.split_once(')')).map(|(title, _)| title.to_owned()).collect()
}
