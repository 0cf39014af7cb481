//! The page is whole without JavaScript: every line of text and every picture is there.

use super::page::{LAPTOP, Page, View};
use super::{browser, pages};

const BROKEN: &str = "Array.from(document.images)
  .filter((image) => !image.complete || !image.naturalWidth).map((image) => image.alt)";

/// What scripts add for use by hand is no content; a heading that sorts is.
const LEAVE_OUT_CONTROLS: &str = "for (const e of document.querySelectorAll(
    '[data-scripted], input, select, label, output, [role=status], [role=tooltip], button:not(th button)')) e.remove()";

#[test]
fn nothing_is_lost_without_scripts() {
    let browser = browser();
    for made in pages::all() {
        let lines = |scripts| {
            let page = Page::open(&browser, &made.file, "", View { scripts, ..LAPTOP });
            assert_eq!(page.complaints(), Vec::<String>::new(), "{}", made.name);
            page.unfold();
            page.eval("for (const image of document.images) image.loading = 'eager'");
            let broken = page.texts(BROKEN);
            assert_eq!(broken, Vec::<String>::new(), "pictures of {}", made.name);
            let pictures = page.eval("document.querySelectorAll('img, svg').length");
            page.eval(LEAVE_OUT_CONTROLS);
            let text = page.eval("document.body.innerText");
            let words: Vec<String> = text.as_str().expect("text").split_whitespace().map(str::to_owned).collect();
            (words, pictures)
        };
        let ((with, pictures), (without, as_many)) = (lines(true), lines(false));
        assert!(with.len() > 20, "{}: {with:?}", made.name);
        let apart = with.iter().zip(&without).position(|(a, b)| a != b).unwrap_or(with.len().min(without.len()));
        let around = |words: &[String]| words[apart.saturating_sub(5)..words.len().min(apart + 5)].join(" ");
        assert!(with == without, "{}: {:?} and without scripts {:?}", made.name, around(&with), around(&without));
        assert_eq!(pictures, as_many, "{}", made.name);
    }
}

#[test]
fn a_part_is_reached_without_scripts() {
    let browser = browser();
    let made = pages::large();
    let ids = Page::open(&browser, &made.file, "", LAPTOP)
        .texts("Array.from(document.querySelectorAll('section[id], details[id]'), (part) => part.id)");
    assert!(ids.len() > 8, "{ids:?}");
    let page = Page::open(&browser, &made.file, "", View { scripts: false, ..LAPTOP });
    for id in ids {
        page.go("#top");
        page.go(&format!("#{id}"));
        assert!(page.shows(&id), "#{id} is not in sight");
    }
}
