//! Tab reaches all that can be used, in the order of the page, visibly, and gets out again.

use super::page::{Key, LAPTOP, Page, View, decode};
use super::{browser, pages};

/// All that Tab must reach, in the order of the page, kept in `walk`; of a group of radio buttons the chosen one.
const COLLECT: &str = r#"(() => {
  const usable = 'a[href], area[href], button, input, select, textarea, summary, [tabindex], [contenteditable]';
  const chosen = (e) => document.querySelector(`input[type=radio][name="${CSS.escape(e.name)}"]:checked`);
  globalThis.walk = Array.from(document.querySelectorAll(usable)).filter((e) => !e.disabled && e.tabIndex >= 0 &&
    e.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true }) &&
    !(e.type === 'radio' && !e.checked && chosen(e)));
  document.activeElement.blur();
  scrollTo(0, 0);
  return walk.map((e) => `${e.tagName} ${(e.ariaLabel ?? e.textContent).trim().slice(0, 50)}`);
})()"#;

/// Where the focus is (its place in `walk`, -1 elsewhere, -2 nowhere, -3 a region that the browser itself lets scroll),
/// whether it is in sight, and what it is.
const FOCUSED: &str = r#"(() => {
  const e = document.activeElement;
  if (!e || e === document.body || e === document.documentElement) return [-2, true, ''];
  const r = e.getBoundingClientRect();
  const middle = (low, high, end) => (Math.max(low, 0) + Math.min(high, end)) / 2;
  const hit = document.elementFromPoint(middle(r.left, r.right, innerWidth), middle(r.top, r.bottom, innerHeight));
  const place = walk.indexOf(e), scrolls = e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight;
  const what = `${e.tagName} ${(e.ariaLabel ?? e.textContent).trim().slice(0, 50)}`;
  return [place < 0 && scrolls ? -3 : place, !!hit && (e.contains(hit) || hit.contains(e)), what];
})()"#;

/// The focused element with room for its outline, as `Page.captureScreenshot` wants it.
const AREA: &str = "(() => {
  const r = document.activeElement.getBoundingClientRect();
  return { x: Math.max(r.x - 6 + scrollX, 0), y: Math.max(r.y - 6 + scrollY, 0), scale: 1,
    width: Math.min(r.width + 12, innerWidth), height: Math.min(r.height + 12, innerHeight) };
})()";

#[test]
fn tab_reaches_everything_in_order_and_back() {
    let browser = browser();
    for made in pages::all() {
        for width in [320, 1440] {
            let page = Page::open(&browser, &made.file, "", View { width, ..LAPTOP });
            let expected = page.texts(COLLECT);
            assert!(expected.len() >= 8, "{}: {expected:?}", made.name);
            let name = format!("{} at {width}", made.name);
            let forth = walk(&page, Key::Tab, expected.len(), &name);
            assert_eq!(forth, (0..expected.len() as i64).collect::<Vec<_>>(), "{name}: {expected:#?}");
            let mut back = walk(&page, Key::BackTab, expected.len(), &name);
            back.reverse();
            assert_eq!(back, forth, "{name}, backwards: {expected:#?}");
        }
    }
}

/// Places in `walk` as the focus reaches them, until it leaves the page.
fn walk(page: &Page, key: Key, count: usize, name: &str) -> Vec<i64> {
    let (mut places, mut unseen) = (Vec::new(), Vec::new());
    for _ in 0..2 * count + 20 {
        page.press(key);
        let found = page.eval(FOCUSED);
        let place = found[0].as_i64().expect("a place");
        assert_ne!(place, -1, "{name}: the focus is at {} which nobody can use", found[2]);
        if place == -2 || places.contains(&place) {
            assert_eq!(unseen, Vec::<String>::new(), "{name}: these have the focus out of sight");
            return places;
        }
        if place >= 0 {
            places.push(place);
        }
        if found[1] == false {
            unseen.push(found[2].to_string());
        }
    }
    panic!("{name}: the focus never leaves the page: {places:?}");
}

#[test]
fn the_focus_is_seen() {
    let browser = browser();
    let made = pages::large();
    for dark in [false, true] {
        let page = Page::open(&browser, &made.file, "", View { dark, ..LAPTOP });
        let expected = page.texts(COLLECT);
        let mut unseen = Vec::new();
        for what in &expected {
            page.press(Key::Tab);
            let area = page.eval(AREA);
            let picture = || decode(&page.call("Page.captureScreenshot", serde_json::json!({ "clip": area })));
            let with = picture();
            page.eval("document.activeElement.blur()");
            if with == picture() {
                unseen.push(what);
            }
        }
        assert!(unseen.is_empty(), "{} of {} do not show the focus: {unseen:#?}", unseen.len(), expected.len());
    }
}
