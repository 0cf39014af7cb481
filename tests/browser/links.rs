//! Links into the page arrive, stay the same when it is rendered again, and links out of it lead to files beside it.

use std::collections::BTreeSet;

use super::fixture::Made;
use super::page::{LAPTOP, Page, View, WIDTHS};
use super::{browser, pages};

/// What is inside a chart is named for screen readers, and what is hidden for scripts; the rest is there for links.
const IDS: &str = "Array.from(document.querySelectorAll('[id]:not(svg [id], [hidden])'), (part) => part.id)";

/// Goes to each of IDS in turn and gives those that are then not in sight.
const REACH: &str = r"(async () => {
  const missed = [], painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  for (const id of IDS) {
    for (const part of document.querySelectorAll('details')) part.open = false;
    location.hash = ''; scrollTo(0, 0);
    await painted();
    location.hash = encodeURIComponent(id);
    await painted();
    const e = document.getElementById(id), r = e.getBoundingClientRect();
    const shown = e.checkVisibility({ contentVisibilityAuto: true, visibilityProperty: true });
    if (!shown || r.top < -1 || r.top >= innerHeight) missed.push(`${id} at ${Math.round(r.top)}`);
  }
  return missed;
})()";

/// The files that links lead to, or the whole address of a link that leads elsewhere.
const OUT: &str = "Array.from(document.querySelectorAll('a[href], area[href]'))
  .filter((link) => !link.getAttribute('href').startsWith('#')).map((link) => {
    const url = new URL(link.href), plain = url.protocol === 'file:' && !url.hash && !url.search;
    return plain ? decodeURIComponent(url.pathname) : link.href;
  })";

#[test]
fn every_id_is_reached() {
    let browser = browser();
    for made in pages::all() {
        let ids = Page::open(&browser, &made.file, "", LAPTOP).texts(IDS);
        let unique: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len(), "{}: an id stands twice", made.name);
        for width in [WIDTHS[0], WIDTHS[2]] {
            let page = Page::open(&browser, &made.file, "", View { width, ..LAPTOP });
            let missed = page.texts(&REACH.replace("IDS", &serde_json::to_string(&ids).expect("JSON")));
            assert_eq!(missed, Vec::<String>::new(), "{} at {width}: not in sight", made.name);
            assert_eq!(page.complaints(), Vec::<String>::new(), "{}", made.name);
        }
    }
}

#[test]
fn ids_stay_when_it_is_rendered_again() {
    let browser = browser();
    let made = pages::hostile();
    let ids = || Page::open(&browser, &made.file, "", LAPTOP).texts(IDS);
    let first = ids();
    made.fixture.render();
    assert_eq!(first, ids());
    // More runs: what was linked before is still there.
    for name in ["0-first", "another"] {
        made.fixture.add(&Made::new(name, 13, 0.45));
    }
    made.fixture.render();
    let more: BTreeSet<String> = ids().into_iter().collect();
    let gone: Vec<&String> = first.iter().filter(|id| !more.contains(*id)).collect();
    assert!(gone.is_empty(), "{gone:?}");
    assert!(more.len() > first.len());
}

#[test]
fn links_lead_into_the_page_or_to_files_beside_it() {
    let browser = browser();
    for made in pages::all() {
        let page = Page::open(&browser, &made.file, "", LAPTOP);
        let wrong = page.texts(
            "Array.from(document.querySelectorAll('a[href], area[href]')).map((link) => link.getAttribute('href'))
             .filter((href) => href.startsWith('#') && !document.getElementById(decodeURIComponent(href.slice(1))))",
        );
        assert_eq!(wrong, Vec::<String>::new(), "{}: these lead nowhere", made.name);
        let out = page.texts(OUT);
        let site = made.file.parent().and_then(|p| p.canonicalize().ok()).expect("a folder");
        for path in out {
            let file = std::path::Path::new(&path);
            assert!(file.is_file() && file.starts_with(&site), "{}: {path:?} is no file of the page", made.name);
        }
    }
}
