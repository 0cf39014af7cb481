//! The page of a training that goes on loads itself again, with and without scripts, until the training has ended.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vggkit::training::{history, occupied};

use super::browser;
use super::fixture::{Fixture, Made};
use super::page::{LAPTOP, Page, View};

/// A child that does not outlive the test.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const LIVE: &str = "document.querySelector('meta[http-equiv=refresh]') !== null";

#[test]
fn a_live_page_loads_itself_until_the_training_ends() {
    let fixture = Fixture::with_data();
    fixture.add(&Made::new("growing", 11, 0.4));
    let (folder, aside) = (fixture.run("growing"), fixture.path().join("history"));
    fs::remove_file(folder.join("evaluation.json")).expect("an evaluation");
    fs::rename(history::path(&folder), &aside).expect("a history");
    let training = occupied::occupy(&folder).expect("a lock");

    let site = fixture.path().join("site");
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
    command.args(["report", "--watch", "--quiet", "--runs"]).arg(fixture.path().join("runs"));
    command.arg("--data").arg(fixture.data()).arg("--out").arg(&site).stdout(Stdio::null());
    let mut following = Following(command.spawn().expect("vggkit"));
    let file = site.join("index.html");
    within("a page", || file.exists());

    let browser = browser();
    let page = Page::open(&browser, &file, "", LAPTOP);
    let without_scripts = Page::open(&browser, &file, "", View { scripts: false, ..LAPTOP });
    for page in [&page, &without_scripts] {
        assert_eq!(page.eval(LIVE), true);
        assert!(!words(page).contains("40.0 %"), "no epoch is finished yet");
    }
    page.eval("document.querySelector('#provenance details').open = true");
    fs::rename(&aside, history::path(&folder)).expect("a history");
    for page in [&page, &without_scripts] {
        reloaded(page, "its first epochs", |page| words(page).contains("40.0 %"));
    }
    assert_eq!(page.eval("document.querySelector('#provenance details').open"), true, "what was open is folded");

    drop(training);
    within("the end of --watch", || following.0.try_wait().expect("a child").is_some());
    assert!(following.0.wait().expect("a child").success());
    for page in [&page, &without_scripts] {
        reloaded(page, "its end", |page| page.eval(LIVE) == false);
        assert_eq!(page.complaints(), Vec::<String>::new());
    }
}

/// Waits for reloads that nobody asked for until the page is as it should be.
fn reloaded(page: &Page, what: &str, done: impl Fn(&Page) -> bool) {
    for _ in 0..5 {
        if done(page) {
            return;
        }
        page.wait_for_load();
    }
    panic!("after five reloads the page does not show {what}");
}

fn words(page: &Page) -> String {
    page.eval("document.body.innerText").as_str().expect("text").replace('\u{a0}', " ")
}

fn within(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
