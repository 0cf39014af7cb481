//! Tables sort by mouse and by keyboard, say how in `aria-sort`, and lose no row; many runs are narrowed down by name.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::page::{Key, LAPTOP, Page};
use super::{browser, pages};

/// Every heading that sorts.
const BUTTONS: &str = "Array.from(document.querySelectorAll('th button'))";

/// The column of BUTTON: what its cells sort by, as the page has it.
const COLUMN: &str = "(() => {
  const heading = BUTTON.closest('th'), table = heading.closest('table');
  const cells = Array.from(table.tBodies[0].rows, (row) => row.cells[heading.cellIndex]);
  return {
    order: heading.ariaSort,
    marked: table.querySelectorAll('[aria-sort]').length,
    keys: cells.map((cell) => cell?.dataset.value ?? cell?.dataset.sort ?? cell?.textContent.trim() ?? ''),
    focused: document.activeElement === BUTTON,
  };
})()";

/// The rows of runs that are not filtered away.
const SHOWN: &str = "Array.from(document.querySelectorAll('tr[data-run]'))
  .filter((row) => row.checkVisibility()).map((row) => row.innerText)";

#[derive(Deserialize)]
struct Column {
    order: Option<String>,
    marked: usize,
    keys: Vec<String>,
    focused: bool,
}

#[test]
fn every_heading_sorts_by_mouse_and_keyboard() {
    let browser = browser();
    for made in [pages::large(), pages::hostile()] {
        let page = Page::open(&browser, &made.file, "", LAPTOP);
        page.unfold();
        let names =
            page.texts(&format!("{BUTTONS}.map((b) => `${{b.closest('table').caption.innerText}}: ${{b.innerText}}`)"));
        assert!(names.len() >= 15, "{names:?}");
        for (i, name) in names.iter().enumerate() {
            let name = format!("{}, {name}", made.name);
            let button = format!("{BUTTONS}[{i}]");
            let before = rows(&page, &button);
            page.click(page.middle(&button));
            let clicked = order(&page, &button, &name);
            page.press(Key::Enter);
            assert_ne!(order(&page, &button, &name), clicked, "{name}: Enter turns the order around");
            page.press(Key::Space);
            assert_eq!(order(&page, &button, &name), clicked, "{name}: Space turns it back");
            let after = rows(&page, &button);
            assert_eq!(BTreeSet::from_iter(before), BTreeSet::from_iter(after), "{name}: a row is lost");
        }
        assert_eq!(page.complaints(), Vec::<String>::new(), "{}", made.name);
    }
}

#[test]
fn accuracy_sorts_by_its_figures() {
    let browser = browser();
    let made = pages::large();
    let page = Page::open(&browser, &made.file, "", LAPTOP);
    let button = format!("{BUTTONS}.find((b) => /^val/i.test(b.textContent.trim()))");
    for _ in 0..2 {
        page.click(page.middle(&button));
        let mut names = rows(&page, &button);
        names.retain(|row| row.contains("vgg"));
        if order(&page, &button, "accuracy") == "descending" {
            names.reverse();
        }
        assert_eq!(names.len(), 5, "{names:?}");
        for (row, run) in names.iter().zip(["vgg19", "vgg16c", "vgg16", "vgg11", "vgg13"]) {
            assert!(row.split_whitespace().any(|word| word == run), "{run} is not at its place: {names:#?}");
        }
    }
}

#[test]
fn many_runs_are_narrowed_down_by_name() {
    let browser = browser();
    let made = pages::hostile();
    let page = Page::open(&browser, &made.file, "", LAPTOP);
    let shown = || page.texts(SHOWN);
    let all = shown();
    page.click(page.middle("document.querySelector('input[type=search]')"));
    page.type_text("ONLOAD=");
    let few = shown();
    assert!(!few.is_empty() && few.iter().all(|row| row.contains("onload='alert(2)'")), "{few:?}");
    let status = page.eval("document.querySelector('.filter [role=status]').textContent");
    assert_eq!(status, format!("1 of {}", pages::HOSTILE.len()));
    page.eval("document.querySelector('input[type=search]').select()");
    page.type_text("<nothing has this>");
    assert_eq!(shown(), Vec::<String>::new());
    page.eval("document.querySelector('input[type=search]').select()");
    page.type_text("");
    assert_eq!(shown(), all);
    assert_eq!(page.complaints(), Vec::<String>::new());
}

/// What `aria-sort` says. The column must be in that order, empty cells last, and the focus still at its heading.
fn order(page: &Page, button: &str, name: &str) -> String {
    let column = page.eval(&COLUMN.replace("BUTTON", button));
    let Column { order, marked, keys, focused } = serde_json::from_value(column).expect("a column");
    let order = order.unwrap_or_default();
    assert!(order == "ascending" || order == "descending", "{name}: aria-sort is {order:?}");
    assert!(marked == 1 && focused, "{name}: aria-sort at {marked} headings, or the focus is gone");
    let filled: Vec<&String> = keys.iter().take_while(|k| !k.is_empty()).collect();
    assert!(keys[filled.len()..].iter().all(String::is_empty), "{name}: an empty cell before a filled one: {keys:?}");
    // Words are sorted as a reader's language has it, which is the browser's business.
    if let Ok(mut numbers) = filled.iter().map(|k| k.parse::<f64>()).collect::<Result<Vec<_>, _>>() {
        if order == "descending" {
            numbers.reverse();
        }
        assert!(numbers.is_sorted(), "{name}, {order}: {keys:?}");
    }
    order
}

/// The text of each row of the button's table, in order.
fn rows(page: &Page, button: &str) -> Vec<String> {
    page.texts(&format!("Array.from({button}.closest('table').tBodies[0].rows, (row) => row.innerText.trim())"))
}
