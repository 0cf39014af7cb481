//! Confusion matrices that are pictures: the mouse and the arrow keys read their cells, and they are zoomed without
//! scripts.

use super::page::{Key, LAPTOP, Page, View};
use super::{browser, pages};

const PICTURE: &str = "document.querySelector('.matrix-plot img')";

fn strings(page: &Page, expression: &str) -> Vec<String> {
    serde_json::from_value(page.eval(expression)).unwrap_or_else(|e| panic!("{expression}: {e}"))
}

/// Left and top edge and width of the first matrix, once it is in sight.
fn place(page: &Page) -> [f64; 3] {
    page.middle(PICTURE);
    let place = format!("(() => {{ const r = {PICTURE}.getBoundingClientRect(); return [r.x, r.y, r.width]; }})()");
    serde_json::from_value(page.eval(&place)).expect("a place")
}

#[test]
fn the_mouse_and_the_keys_read_every_cell() {
    let (browser, made) = (browser(), pages::large());
    let page = Page::open(&browser, &made.file, "", LAPTOP);
    let names = strings(&page, "Array.from(document.querySelectorAll('#order-1 bdi'), (e) => e.textContent)");
    let rows = strings(&page, "Array.from(document.querySelectorAll('#order-1-rows text'), (e) => e.textContent)");
    assert_eq!((names.len(), &rows), (200, &names), "the names stand beside the rows in their order");
    let said = || strings(&page, "[document.querySelector('.cell-read-out').textContent]").remove(0);
    let index = |place: usize| names[place].trim_start_matches("class ").parse::<usize>().expect("a class");
    let [left, top, width] = place(&page);
    let cell = width / 200.0;
    for row in [0, 57, 133, 199] {
        let truth = index(row);
        let hits = 10 + truth * 7 % 31;
        let taken = names.iter().position(|n| *n == format!("class {}", (truth + 7) % 200)).expect("a class");
        for (column, count, what) in [(row, hits, "recognised as"), (taken, (50 - hits) * 2 / 3, "taken for")] {
            page.hover((left + (column as f64 + 0.5) * cell, top + (row as f64 + 0.5) * cell));
            let share = 100 * count / 50;
            let expected = format!("{}: {count} of 50 ({share} %) {what} {}", names[row], names[column]);
            assert_eq!(said(), expected);
        }
    }
    page.eval("document.querySelector('.matrix .frame').focus()");
    page.hover((left + 100.5 * cell, top + 100.5 * cell));
    for (key, column) in [(Key::Right, 101), (Key::Right, 102), (Key::Left, 101)] {
        page.press(key);
        let said = said();
        assert!(said.starts_with(&format!("{}: ", names[100])) && said.ends_with(&names[column]), "{key:?}: {said}");
    }
}

#[test]
fn the_zoom_needs_no_script() {
    let (browser, made) = (browser(), pages::large());
    let page = Page::open(&browser, &made.file, "", View { scripts: false, ..LAPTOP });
    let [.., whole] = place(&page);
    page.click(page.middle("document.querySelector('.zoom input[value=\"4\"]')"));
    let [.., zoomed] = place(&page);
    assert!(zoomed >= 2.5 * whole && zoomed / 200.0 > 11.0, "{whole} and {zoomed} pixels");
    let spread = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(page.eval(spread), 0, "it scrolls in its frame");
}
