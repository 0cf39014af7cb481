//! Charts read out what lies under the mouse or what the arrow keys chose: the very values of the table behind them.

use serde::Deserialize;

use super::page::{Key, LAPTOP, Page, View, WIDTHS};
use super::{browser, pages};

/// What the chart at PLACE on the page shows: the words of its read-out and of its slider, the rows of its table
/// (the epoch and what is drawn), and whether the read-out is wholly in sight.
const STATE: &str = "(() => {
  const figure = document.querySelectorAll('figure.plot')[PLACE], box = figure.querySelector('.read-out');
  const slider = figure.querySelector('[role=slider]'), table = figure.querySelector('table');
  const shown = box.checkVisibility(), r = box.getBoundingClientRect();
  const drawn = Array.from(figure.querySelectorAll('[data-column]'), (curve) => Number(curve.dataset.column));
  const rows = Array.from(table.tBodies[0].rows, (row) => [0, ...drawn].map((i) => row.cells[i].textContent.trim()));
  return {
    shown,
    words: box.textContent,
    spoken: slider.ariaValueText,
    now: slider.ariaValueNow,
    rows,
    inside: r.left >= 0 && r.right <= document.documentElement.clientWidth && r.top >= 0 && r.bottom <= innerHeight,
    focused: document.activeElement === slider,
  };
})()";

#[derive(Deserialize)]
struct State {
    shown: bool,
    words: String,
    spoken: String,
    now: String,
    rows: Vec<Vec<String>>,
    inside: bool,
    focused: bool,
}

impl State {
    fn of(page: &Page, place: usize) -> Self {
        serde_json::from_value(page.eval(&STATE.replace("PLACE", &place.to_string()))).expect("a chart's state")
    }

    /// The read-out and the slider say the epoch and every value of its row.
    fn says(&self, epoch: &str, where_: &str) {
        assert!(self.shown, "{where_}: no read-out");
        assert_eq!(self.now, epoch, "{where_}");
        let row = self.rows.iter().find(|row| row[0] == epoch).unwrap_or_else(|| panic!("{where_}: no row {epoch}"));
        assert!(self.words.contains(&format!("epoch {epoch}")), "{where_}: {}", self.words);
        let values: Vec<&String> = row[1..].iter().filter(|v| *v != "–").collect();
        assert!(!values.is_empty(), "{where_}: {row:?}");
        for value in values {
            assert!(self.words.contains(value) && self.spoken.contains(value), "{where_}: {value} in {}", self.words);
        }
        assert!(self.inside, "{where_}: the read-out is not wholly in sight");
    }
}

#[test]
fn the_mouse_reads_every_chart_at_every_width() {
    let browser = browser();
    for made in [pages::large(), pages::hostile()] {
        for width in WIDTHS {
            let page = Page::open(&browser, &made.file, "", View { width, ..LAPTOP });
            for place in 0..charts(&page) {
                let where_ = format!("{}, chart {place} at {width}", made.name);
                let (ticks, y) = ticks(&page, place);
                assert!(ticks.len() >= 3, "{where_}: {ticks:?}");
                for (epoch, x) in ticks {
                    page.hover((x, y));
                    State::of(&page, place).says(&epoch, &where_);
                }
                page.hover((1.0, 1.0));
                assert!(!State::of(&page, place).shown, "{where_}: the read-out stays when the mouse is gone");
            }
            assert_eq!(page.complaints(), Vec::<String>::new());
        }
    }
}

#[test]
fn arrow_keys_read_every_chart() {
    let browser = browser();
    let made = pages::large();
    let page = Page::open(&browser, &made.file, "", LAPTOP);
    for place in 0..charts(&page) {
        let where_ = format!("chart {place}");
        let slider = format!("document.querySelectorAll('figure.plot')[{place}].querySelector('[role=slider]')");
        page.eval(&format!("{slider}.focus({{ focusVisible: true }})"));
        let last = State::of(&page, place).rows.last().map(|row| row[0].clone()).expect("a row");
        for (key, epoch) in [
            (Key::Home, "1"),
            (Key::Left, "1"),
            (Key::Right, "2"),
            (Key::Right, "3"),
            (Key::Left, "2"),
            (Key::End, last.as_str()),
            (Key::Right, last.as_str()),
        ] {
            page.press(key);
            let state = State::of(&page, place);
            assert!(state.focused, "{where_}: {key:?} takes the focus away");
            state.says(epoch, &format!("{where_} after {key:?}"));
        }
        page.press(Key::Escape);
        let state = State::of(&page, place);
        assert!(!state.shown && state.focused, "{where_}: Escape closes the read-out");
        page.press(Key::Tab);
        assert!(!State::of(&page, place).focused, "{where_}: Tab does not lead on");
    }
    assert_eq!(page.complaints(), Vec::<String>::new());
}

/// Diagrams of confidence are read out by their bins: all that the table has of one.
#[test]
fn mouse_and_keys_read_the_bins_of_a_diagram() {
    let browser = browser();
    let made = pages::large();
    for width in WIDTHS {
        let page = Page::open(&browser, &made.file, "", View { width, ..LAPTOP });
        let figure = "document.querySelector('#calibration figure.plot')";
        let rows: Vec<Vec<String>> = serde_json::from_value(page.eval(&format!(
            "Array.from({figure}.querySelector('tbody').rows, (row) => Array.from(row.cells, (c) => c.textContent.trim()))"
        )))
        .expect("rows");
        assert!(rows.len() > 10, "{rows:?}");
        let all_of = |row: &[String], place: usize| {
            let read = page.texts(&format!(
                "[{figure}.querySelector('.read-out').innerText, {figure}.querySelector('[role=slider]').ariaValueText,
                  {figure}.querySelector('[role=slider]').ariaValueNow]"
            ));
            assert!(read[0].contains(&format!("confidence {}", row[0])), "{read:?}");
            assert!(
                row[1..].iter().all(|value| read[0].contains(value) && read[1].contains(value)),
                "{row:?}: {read:?}"
            );
            assert_eq!(read[2], (place + 1).to_string());
        };
        for (place, row) in rows.iter().enumerate() {
            page.hover(page.middle(&format!("{figure}.querySelectorAll('svg.chart > circle')[{place}]")));
            all_of(row, place);
        }
        page.hover((1.0, 1.0));
        page.eval(&format!("{figure}.querySelector('[role=slider]').focus({{ focusVisible: true }})"));
        for (key, place) in
            [(Key::Home, 0), (Key::Right, 1), (Key::Right, 2), (Key::Left, 1), (Key::End, rows.len() - 1)]
        {
            page.press(key);
            all_of(&rows[place], place);
        }
        assert_eq!(page.complaints(), Vec::<String>::new());
    }
}

/// Those over epochs, which are the first.
fn charts(page: &Page) -> usize {
    let count = "document.querySelectorAll('figure.plot:not(#calibration figure)').length";
    let count = page.eval(count).as_u64().expect("a number");
    assert!(count >= 6, "only {count} charts");
    usize::try_from(count).expect("a small number")
}

/// The epochs at the chart's axis, the lowest row of its numbers, with their places; and the middle of its height.
fn ticks(page: &Page, place: usize) -> (Vec<(String, f64)>, f64) {
    let chart = format!("document.querySelectorAll('figure.plot')[{place}].querySelector('svg.chart')");
    let (_, y) = page.middle(&chart);
    let ticks = page.eval(&format!(
        "(() => {{
           const numbers = Array.from({chart}.querySelectorAll('text')).filter((t) => /^\\d+$/.test(t.textContent.trim()))
             .map((t) => [t.textContent.trim(), t.getBoundingClientRect()]);
           const lowest = Math.max(...numbers.map(([, r]) => r.y));
           return numbers.filter(([, r]) => r.y > lowest - 2).map(([text, r]) => [text, r.x + r.width / 2]);
         }})()"
    ));
    (serde_json::from_value(ticks).expect("texts and places"), y)
}
