//! A data folder at every step of a change: replaced as a whole, completed where it was cut short, and nothing of anybody else's lost.

use std::collections::BTreeMap;

use sha2::Digest;

use super::super::pack_writer::{PackHeader, PackWriter};
use super::*;
use crate::engine::Normalisation;
use crate::test_support::pack_header;

const SPLITS: [&str; 3] = ["train", "val", "test"];

fn put(path: PathBuf, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn class(split: &str) -> &str {
    if split == "test" { "images" } else { "n1" }
}

fn manifest(vggkit: &str, parts: &[&str]) -> Manifest {
    let split = |name: &str| {
        let place = format!("{name}/{}/file", class(name));
        let line = format!("{place}\t{}\n", files::hex(&sha2::Sha256::digest(vggkit)));
        Split { labelled: name != "test", files_sha256: manifest::files_sha256(vec![line]), ..Split::default() }
    };
    let splits: BTreeMap<_, _> = parts.iter().map(|p| ((*p).to_owned(), split(p))).collect();
    let classes = vec![Class { wnid: "n1".into(), name: "one".into() }];
    Manifest { schema: manifest::SCHEMA.into(), vggkit: vggkit.into(), splits, classes, ..Manifest::default() }
}

/// Splits of one file, which holds `text`, as do the packs' file names' only class.
fn stage(staging: &Staging, parts: &[&str], text: &str) {
    staging.begin().unwrap();
    for part in parts {
        put(staging.partial(part).join(class(part)).join("file"), text);
        let header = PackHeader { names: vec![text.into()], ..pack_header(part) };
        let pack = PackWriter::create(&staging.partial("packs").join(format!("{part}.safetensors")), &header).unwrap();
        pack.finish(Normalisation { std: [1.0; 3], ..Normalisation::default() }).unwrap();
    }
}

fn assert_is(data: &Path, text: &str, parts: &[&str]) {
    assert_eq!(Manifest::load(data).unwrap().vggkit, text);
    for part in SPLITS {
        assert_eq!(data.join(part).exists(), parts.contains(&part), "{part}");
        assert_eq!(Pack::path_of(data, part).exists(), parts.contains(&part), "{part}");
    }
    for part in parts {
        assert_eq!(fs::read_to_string(data.join(part).join(class(part)).join("file")).unwrap(), text);
        assert_eq!(Pack::open(data, part).unwrap().names, [text]);
    }
    let rest = fs::read_dir(data).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let rest: Vec<String> = rest.filter(|name| name.contains("partial") || name.contains("replaced")).collect();
    assert_eq!(rest, [""; 0]);
}

/// Data of all splits called "old".
fn old(data: &Path) -> Staging {
    let staging = Staging::open(data, false).unwrap();
    stage(&staging, &SPLITS, "old");
    staging.commit(&manifest("old", &SPLITS)).unwrap();
    staging
}

#[test]
fn new_data_replaces_old_as_a_whole() {
    let data = tempfile::tempdir().unwrap();
    let staging = old(data.path());
    assert!(Staging::open(data.path(), false).is_err(), "one at a time");
    assert_is(data.path(), "old", &SPLITS);
    stage(&staging, &["train", "val"], "new");
    staging.commit(&manifest("new", &["train", "val"])).unwrap();
    assert_is(data.path(), "new", &["train", "val"]);
}

/// A decided change from `old` to `new`, of which so many steps were carried out, in the order in which `swap` does it.
fn cut_short(data: &Path, steps_done: usize) {
    let at = |name: &str| data.join(name);
    let staging = old(data);
    stage(&staging, &["train", "val"], "new");
    files::write_json(&at(DECIDED), &manifest("new", &["train", "val"])).unwrap();
    let mut steps = vec![("manifest.json", "manifest.replaced.json")];
    steps.extend([("train", "train.replaced"), ("train.partial", "train"), ("val", "val.replaced")]);
    steps.extend([("val.partial", "val"), ("test", "test.replaced")]);
    steps.extend([("packs", "packs.replaced"), ("packs.partial", "packs")]);
    assert!(steps_done <= steps.len());
    steps[..steps_done].iter().for_each(|(from, to)| fs::rename(at(from), at(to)).unwrap());
}

#[test]
fn a_swap_cut_short_anywhere_is_completed() {
    for steps in 0..=8 {
        let data = tempfile::tempdir().unwrap();
        cut_short(data.path(), steps);
        Staging::open(data.path(), false).unwrap();
        assert_is(data.path(), "new", &["train", "val"]);
    }
}

#[test]
fn what_came_after_a_swap_was_cut_short_stays() {
    // Where the old folder is still to go, somebody's file in it stops that; where the new one stands already, not.
    for (steps, stops) in [(0, true), (1, true), (2, false), (3, false)] {
        let data = tempfile::tempdir().unwrap();
        cut_short(data.path(), steps);
        let mine = data.path().join(if steps == 2 { "mine" } else { "train/n1/mine" });
        put(mine.clone(), "mine");
        let opened = Staging::open(data.path(), false).map(drop);
        assert_eq!(opened.is_err(), stops, "{steps}");
        assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
        if stops {
            assert!(opened.unwrap_err().to_string().contains("train/n1/mine"));
            Staging::open(data.path(), true).unwrap();
            assert!(!mine.exists());
        }
        fs::remove_file(&mine).ok();
        assert_is(data.path(), "new", &["train", "val"]);
    }
}

#[test]
fn unfinished_work_is_cleared_and_old_data_stays() {
    let data = tempfile::tempdir().unwrap();
    let staging = old(data.path());
    stage(&staging, &["train"], "new");
    drop(staging);
    Staging::open(data.path(), false).unwrap();
    assert_is(data.path(), "old", &SPLITS);
}

#[test]
fn folders_with_the_names_of_unfinished_ones_are_not_ours_after_work_that_was_finished() {
    let data = tempfile::tempdir().unwrap();
    drop(old(data.path()));
    let mine = data.path().join("val.replaced/mine");
    put(mine.clone(), "mine");
    let error = Staging::open(data.path(), false).map(drop).unwrap_err();
    assert!(error.to_string().contains("val.replaced"), "{error}");
    assert!(mine.exists());
    Staging::open(data.path(), true).unwrap();
    assert_is(data.path(), "old", &SPLITS);
}
