//! A page on a telephone, 390 pixels wide: nothing has to be scrolled sideways to be read, and all of the navigation is
//! there. A drawn network of few channels has labels that keep apart.

use super::page::{LAPTOP, Page, View};
use super::{browser, pages};

const PHONE: View = View { width: 390, height: 844, ..LAPTOP };

/// Tables that do not fit, but for matrices of more classes than a phone has room for: those are read in two directions.
const SCROLLING: &str = "Array.from(document.querySelectorAll('.scroll')).filter((s) =>
  s.checkVisibility() && s.scrollWidth > s.clientWidth + 1 && s.querySelector('table:not(.confusion:not(.few))')
).map((s) => `${s.getAttribute('aria-label')}: ${s.scrollWidth} of ${s.clientWidth}`)";

/// Links of the navigation that are not wholly on the page, or that lie under another.
const CUT_LINKS: &str = "Array.from(document.querySelectorAll('.bar nav a')).filter((a) => {
  const r = a.getBoundingClientRect();
  const at = document.elementFromPoint(r.left + r.width / 2, r.top + r.height / 2);
  return r.left < 0 || r.right > document.documentElement.clientWidth || at !== a;
}).map((a) => a.textContent)";

/// Pairs of labels below the picture of a network that touch each other.
const TOUCHING: &str = "Array.from(document.querySelectorAll('svg.pipeline')).flatMap((svg) => {
  const labels = Array.from(svg.querySelectorAll('text')).map((t) => [t.textContent, t.getBoundingClientRect()]);
  return labels.slice(1).filter(([, r], i) => r.left < labels[i][1].right + 1).map(([text]) => text);
})";

/// Pictures of networks that are not shown.
const HIDDEN: &str = "Array.from(document.querySelectorAll('svg.pipeline')).filter((svg) => !svg.checkVisibility())
  .map((svg) => svg.getAttribute('aria-label'))";

/// Cells that say what they are where no heading stands over them.
const UNNAMED: &str = "Array.from(document.querySelectorAll('.stack tbody td')).filter((d) =>
  d.checkVisibility() && d.textContent.trim() && !d.dataset.label && !d.matches('.whole, .strip')
).map((d) => `${d.closest('table').querySelector('caption').textContent}: ${d.textContent.trim()}`)";

#[test]
fn nothing_is_scrolled_sideways_on_a_phone() {
    let browser = browser();
    for made in [pages::large(), pages::single(), pages::thin(), pages::bare()] {
        let page = Page::open(&browser, &made.file, "", PHONE);
        assert_eq!(page.texts(CUT_LINKS), Vec::<String>::new(), "{}: navigation", made.name);
        page.unfold();
        assert_eq!(page.texts(SCROLLING), Vec::<String>::new(), "{}", made.name);
        assert_eq!(page.texts(UNNAMED), Vec::<String>::new(), "{}", made.name);
        for view in [PHONE, LAPTOP] {
            page.look(view);
            assert_eq!(page.texts(HIDDEN), Vec::<String>::new(), "{} at {}", made.name, view.width);
            assert_eq!(page.texts(TOUCHING), Vec::<String>::new(), "{} at {}", made.name, view.width);
        }
    }
}

#[test]
fn pictures_of_phones_are_kept() {
    let browser = browser();
    for made in [pages::large(), pages::thin()] {
        let page = Page::open(&browser, &made.file, "", PHONE);
        for view in [PHONE, View { dark: true, ..PHONE }, LAPTOP, View { dark: true, ..LAPTOP }] {
            page.look(view);
            page.screenshot(&format!("{}-{}", made.name, view.name()));
        }
    }
}
