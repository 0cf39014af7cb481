//! Names that attack the page stay names: shown to the letter, they run nothing, add nothing and turn nothing around.

use super::fixture::CLASSES;
use super::page::{Key, LAPTOP, Page};
use super::{browser, pages};

/// Text with an override of direction whose block or isolate goes on after it: what follows is turned around.
const TURNED: &str = r"(() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), wrong = [];
  const bounds = (e) => {
    const style = getComputedStyle(e);
    return style.display !== 'inline' || /isolate|plaintext/.test(style.unicodeBidi) ? e : bounds(e.parentElement);
  };
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const own = node.parentElement, unread = own.closest('svg title, script, style');
    if (unread || !/[\u202a-\u202e\u2066-\u2069\u200f]/.test(node.data)) continue;
    const after = document.createRange(), end = bounds(own);
    after.setStartAfter(node);
    after.setEnd(end, end.childNodes.length);
    if (after.toString().trim()) wrong.push(`${own.outerHTML.slice(0, 120)} in ${end.tagName} ${end.className}`);
  }
  return [...new Set(wrong)];
})()";

/// Gives every element the events that an attribute in a name could wait for.
const PROVOKE: &str = "for (const e of document.querySelectorAll('main *'))
  for (const kind of ['mouseover', 'pointermove', 'focus', 'error', 'load', 'toggle'])
    e.dispatchEvent(new Event(kind, { bubbles: true }))";

#[test]
fn hostile_names_stay_names() {
    let browser = browser();
    let made = pages::hostile();
    let page = Page::open(&browser, &made.file, "", LAPTOP);
    page.unfold();
    let shown = page.eval("document.body.textContent");
    let shown = shown.as_str().expect("text");
    for name in pages::HOSTILE.iter().chain(&CLASSES) {
        assert!(shown.contains(name), "{name:?} is not shown to the letter");
    }
    let smuggled = page.texts(
        "Array.from(document.querySelectorAll('*')).filter((e) =>
         e.getAttributeNames().some((name) => /^on|^style$|^autofocus$|^formaction$/.test(name)) ||
         /^(x|b|u|i|iframe|object|embed|form|base|link|animate|set|foreignObject)$/i.test(e.tagName) ||
         e.getAttribute('src') === 'x' || /^\\s*javascript:/i.test(e.getAttribute('href') ?? ''))
         .map((e) => e.outerHTML.slice(0, 120))",
    );
    assert_eq!(smuggled, Vec::<String>::new());
    assert_eq!(page.eval("document.scripts.length"), 1);
    assert_eq!(page.eval("document.querySelectorAll('style').length"), 1);
    let turned = page.texts(TURNED);
    assert!(turned.is_empty(), "what follows these is turned around:\n{}", turned.join("\n"));
}

/// What a name might do once somebody uses the page.
#[test]
fn using_the_page_runs_nothing() {
    let browser = browser();
    let made = pages::hostile();
    let page = Page::open(&browser, &made.file, "", LAPTOP);
    page.eval("for (const button of document.querySelectorAll('summary, button')) button.click()");
    page.eval(PROVOKE);
    for key in [Key::Tab, Key::Enter, Key::Tab, Key::Space, Key::Right, Key::Escape] {
        page.press(key);
    }
    assert_eq!(page.complaints(), Vec::<String>::new());
}
