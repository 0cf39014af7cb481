//! Nothing sticks out of the page sideways at any width, and pictures of it are kept in target/screenshots.

use super::page::{LAPTOP, Page, View, WIDTHS};
use super::{browser, pages};

/// Elements beyond the right edge that no scrolling ancestor holds; the innermost are the last.
const STICKING_OUT: &str = r"(() => {
  const root = document.scrollingElement, edge = root.clientWidth + 1, out = [];
  const holds = (e) => getComputedStyle(e).overflowX !== 'visible';
  const held = (e) => e && e !== document.body && (holds(e) || held(e.parentElement));
  for (const e of document.body.querySelectorAll('*')) {
    const r = e.getBoundingClientRect();
    if (r.width < 2 || r.right < edge || held(e.parentElement) || !e.checkVisibility()) continue;
    out.push(`${e.tagName} ${e.getAttribute('class')} to ${Math.round(r.right)}: ${e.textContent.trim().slice(0, 60)}`);
  }
  return root.scrollWidth > edge || out.length ? [`${root.scrollWidth} wide`, ...out.slice(-6)] : [];
})()";

#[test]
fn nothing_sticks_out() {
    let browser = browser();
    let mut wrong = Vec::new();
    for made in pages::all() {
        let page = Page::open(&browser, &made.file, "", LAPTOP);
        for unfolded in [false, true] {
            if unfolded {
                page.unfold();
            }
            for view in View::all().filter(|v| !v.dark) {
                page.look(view);
                let out = page.texts(STICKING_OUT);
                wrong.extend(out.into_iter().map(|o| format!("{} at {}: {o}", made.name, view.width)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Words in a chart that reach beyond it, where they are cut.
const CUT: &str = "Array.from(document.querySelectorAll('svg.chart text')).filter((t) => {
  const words = t.getBoundingClientRect(), chart = t.closest('svg').getBoundingClientRect();
  return words.left < chart.left - 1 || words.right > chart.right + 1 || words.bottom > chart.bottom + 1;
}).map((t) => t.textContent)";

#[test]
fn no_word_in_a_chart_is_cut() {
    let browser = browser();
    let made = pages::large();
    let page = Page::open(&browser, &made.file, "", LAPTOP);
    for width in WIDTHS {
        page.look(View { width, ..LAPTOP });
        assert_eq!(page.texts(CUT), Vec::<String>::new(), "at {width}");
    }
}

#[test]
fn screenshots_are_kept() {
    let browser = browser();
    for made in [pages::large(), pages::hostile(), pages::empty()] {
        let page = Page::open(&browser, &made.file, "", LAPTOP);
        for view in View::all() {
            page.look(view);
            page.screenshot(&format!("{}-{}", made.name, view.name()));
        }
    }
}
