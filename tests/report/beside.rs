//! What lies beside the page, runs in folders of folders, and the page that follows a training.

use std::collections::BTreeMap;
use std::fs;

use sha2::{Digest, Sha256};
use vggkit::files;
use vggkit::report::Options;
use vggkit::training::history::Epoch;

use crate::fixture::{Fixture, Made};
use crate::full;
use crate::html::{tags, text};

#[test]
fn the_figures_lie_beside_the_page() {
    let fixture = full();
    let (report, page) = fixture.render();
    let raw = report.page.with_file_name("index_files").join("raw");
    let read = |path: &str| fs::read_to_string(raw.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut runs = csv::Reader::from_reader(fs::File::open(raw.join("runs.csv")).expect("runs.csv"));
    let rows: Vec<BTreeMap<String, String>> = runs.deserialize().map(|row| row.expect("a row")).collect();
    assert_eq!(rows.len(), 3);
    let best = rows.iter().find(|row| row["configuration"] == "D").expect("VGG-16");
    assert_eq!((best["val_top1"].as_str(), best["best_epoch"].as_str()), ("0.525", "3"));
    assert_eq!(read("history.csv").lines().count(), 1 + 3 * 5, "five epochs each, and a heading");
    let own = fs::read(fixture.path().join("predictions.csv")).expect("predictions");
    assert_eq!(read("predictions.csv").as_bytes(), own);
    for folder in fs::read_dir(fixture.path().join("runs")).expect("runs").map(|entry| entry.expect("a run").path()) {
        let settings = fs::read(folder.join("run.toml")).expect("run.toml");
        let hash = files::hex(&Sha256::digest(&settings));
        assert!(page.contains(&hash), "the checksum of {}", folder.display());
    }
    // What was left of an earlier page goes, and the page stays the same.
    fs::create_dir_all(raw.join("run-gone")).expect("a folder");
    assert_eq!(fixture.render().1, page);
    assert!(!raw.join("run-gone").exists());
    let left: Vec<_> = fs::read_dir(fixture.path().join("site")).expect("site").collect();
    assert_eq!(left.len(), 2, "the page and its folder, nothing half-written: {left:?}");
}

#[test]
fn images_can_lie_beside_the_page() {
    let fixture = full();
    let (_, whole) = fixture.render();
    let (report, page) = fixture.render_as(Options { split_assets: true, ..Options::default() });
    let images: Vec<String> =
        tags(&page).iter().filter(|t| t.name == "img").filter_map(|t| t.get("src")).map(str::to_owned).collect();
    assert_eq!(images.len(), tags(&whole).iter().filter(|t| t.name == "img").count());
    for image in &images {
        assert!(image.starts_with("index_files/images/"), "{image}");
        assert!(image::open(report.page.with_file_name(image)).is_ok(), "{image} is not an image");
    }
    assert!(page.contains("img-src data: 'self' file:;") && !page.contains("src=\"data:"));
    assert!(page.len() < whole.len(), "{} of {} bytes", page.len(), whole.len());
}

#[test]
fn what_vggkit_did_not_write_is_kept() {
    let fixture = full();
    let site = fixture.path().join("site");
    let report = |more: &[&str]| {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
        let output = command.current_dir(fixture.path()).arg("report").args(more).output().expect("vggkit");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let write = |path: &str, text: &str| {
        let path = site.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    let read = |path: &str| fs::read_to_string(site.join(path)).unwrap_or_default();
    // Somebody's own page, and what a browser saved beside it.
    let own =
        ["index_files/k.txt", "index_files/images/photo.png", "index_files/raw/notes.md", "index_files/mine/runs.csv"];
    write("index.html", "mine");
    own.iter().for_each(|path| write(path, "keep"));
    let (code, said) = report(&[]);
    assert!(
        code == Some(1) && said.contains("index.html: is not a page of vggkit") && said.contains("--force"),
        "{said}"
    );
    assert_eq!(report(&["--watch", "--quiet"]).0, Some(1), "nor does a page that follows a training");
    assert_eq!(read("index.html"), "mine");
    assert!(!site.join("index_files/raw/runs.csv").exists(), "nothing has changed");
    // Told to, it replaces the page and nothing else.
    let (code, said) = report(&["--force", "--split-assets"]);
    assert_eq!(code, Some(0), "{said}");
    for path in ["index_files/k.txt", "index_files/mine"] {
        assert!(said.contains(&format!("{path} is not of vggkit, and stays")), "{path} is not in {said}");
    }
    assert!(own.iter().all(|path| read(path) == "keep"));
    // Its own page is replaced without a word, by a page without images beside it: only the foreign one stays there.
    let (code, said) = report(&[]);
    assert_eq!(code, Some(0), "{said}");
    let images: Vec<_> = fs::read_dir(site.join("index_files/images")).expect("images").flatten().collect();
    assert_eq!(images.len(), 1, "{images:?}");
    assert!(own.iter().all(|path| read(path) == "keep"));
    // So is one of an earlier version, which had the same generator, with what lay beside it.
    write("index.html", "<!doctype html>\n<head>\n<meta name=\"generator\" content=\"vggkit 0.0.9\">\n");
    write("index_files/raw/run-of-then/run.toml", "then");
    assert_eq!(report(&[]).0, Some(0));
    assert!(!site.join("index_files/raw/run-of-then").exists());
}

/// Whatever ends `report` between its steps, here a folder in the page's place, the page that is there has its files.
#[test]
fn a_page_that_cannot_be_replaced_keeps_its_files() {
    let fixture = full();
    let split = Options { split_assets: true, ..Options::default() };
    let (report, page) = fixture.render_as(split);
    let beside = || {
        let of = |name: &str| tags(&page).iter().filter_map(|t| t.get(name).map(str::to_owned)).collect::<Vec<_>>();
        let files: Vec<_> = of("src").into_iter().chain(of("href")).filter(|f| f.starts_with("index_files")).collect();
        assert!(files.len() > 8, "{files:?}");
        files.into_iter().map(|file| (report.page.with_file_name(&file).is_file(), file)).collect::<Vec<_>>()
    };
    fs::remove_file(&report.page).expect("the page");
    fs::create_dir(&report.page).expect("a folder");
    assert!(fixture.try_render(Options::default()).is_err());
    assert_eq!(beside().iter().find(|(there, _)| !there), None);
    fs::remove_dir(&report.page).expect("the folder");
    fixture.render();
    assert!(beside().iter().all(|(there, file)| *there == file.contains("/raw/")), "images have gone into the page");
}

/// Two at once would each take away what the other's page names.
#[cfg(target_os = "linux")]
#[test]
fn a_page_waits_for_another_that_is_written_there() {
    use std::os::unix::fs::MetadataExt as _;
    let fixture = full();
    let site = fixture.path().join("site");
    fs::create_dir(&site).expect("a folder");
    let other = fs::File::open(&site).expect("the folder");
    other.lock().expect("a lock");
    let inode = format!(":{} ", other.metadata().expect("metadata").ino());
    std::thread::scope(|scope| {
        let rendering = scope.spawn(|| fixture.render());
        let waits = |locks: String| locks.lines().any(|line| line.contains("->") && line.contains(&inode));
        while !waits(fs::read_to_string("/proc/locks").expect("locks")) {
            assert!(!rendering.is_finished(), "it did not wait");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(!site.join("index.html").exists());
        drop(other);
        assert_eq!(rendering.join().expect("a page").0.runs, 3);
    });
}

#[test]
fn runs_in_folders_of_folders_are_named_by_their_path() {
    let fixture = Fixture::with_data();
    fixture.add(&Made::new("2026-01/a", 11, 0.4));
    fixture.add(&Made::new("2026-01/b", 13, 0.5));
    fixture.add(&Made::new("c", 16, 0.3));
    fs::create_dir_all(fixture.run("notes/drafts")).expect("a folder");
    let (report, page) = fixture.render();
    assert_eq!(report.runs, 3);
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert!(report.problems[0].place.ends_with("notes"));
    assert!(text(&page).contains("VGG-13 2026-01/b best"));
    assert!(tags(&page).iter().any(|t| t.get("id") == Some("run-2026-01-b")));
}

#[test]
fn a_live_page_follows_the_training_and_ends_with_it() {
    let fixture = full();
    let folder = fixture.run("short");
    fs::remove_dir_all(&folder).ok();
    fixture.add(&Made::new("short", 13, 0.2));
    let training = vggkit::training::occupied::occupy(&folder).expect("a free folder");
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
    command.current_dir(fixture.path()).args(["report", "--watch"]).stderr(std::process::Stdio::piped());
    let mut watch = command.stdout(std::process::Stdio::null()).spawn().expect("vggkit");
    let path = fixture.path().join("site/index.html");
    let wait_for = |what: &str, holds: &dyn Fn(&str) -> bool| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !fs::read_to_string(&path).is_ok_and(|page| holds(&page)) {
            assert!(std::time::Instant::now() < deadline, "waited for {what}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    let live = "http-equiv=\"refresh\"";
    wait_for("a live page", &|page| page.contains(live) && page.contains("best so far after epoch 3"));
    let history = vggkit::training::history::path(&folder);
    let epochs: Vec<Epoch> = files::read_json_lines(&history).expect("history");
    let next = Epoch { epoch: 6, val_top1: 0.77, ..epochs[4].clone() };
    files::append_json_line(&history, &next).expect("an epoch");
    wait_for("the next epoch", &|page| page.contains(live) && page.contains("77.0\u{a0}%"));
    drop(training);
    wait_for("the last page", &|page| !page.contains(live));
    assert!(watch.wait().expect("vggkit").success());
}
