//! What `prepare` did not write is kept: it is named, and nothing changes unless `--force` lets it go.

use std::fs;
use std::path::Path;

use predicates::prelude::*;
use predicates::str::contains;
use vggkit::dataset::{Manifest, Pack};

use super::{PREPARE, raw, vggkit};

/// All files below a folder with their bytes, but for what says when something was done.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(|e| e.unwrap());
    let files = files.filter(|e| e.file_type().is_file() && e.file_name() != ".prepare.lock");
    files.map(|e| (e.path().display().to_string(), fs::read(e.path()).unwrap())).collect()
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Everything that a user may have put among prepared data.
const MINE: [&str; 6] = [
    "train/my_class/a.jpg",
    "train/n90000001/notes.txt",
    "train/n90000001/sub/b.jpg",
    "val/list.txt",
    "test/images/my own.jpg",
    "packs/mine.safetensors",
];

#[test]
fn own_files_are_named_and_kept_until_they_are_let_go() {
    let (work, _raw) = raw(3, 3);
    let data = work.path().join("data");
    vggkit(work.path()).args(PREPARE).assert().success();
    MINE.iter().for_each(|name| put(&data.join(name), "mine"));
    put(&data.join("train/n90000002/.DS_Store"), "nobody's");
    put(&data.join("mine.txt"), "mine"); // beside all that: never touched
    let before = content(&data);

    // The same again: nothing to do, but for telling.
    let told = contains("Already prepared").and(contains("not in the manifest, and left as they are: 6"));
    vggkit(work.path()).args(PREPARE).assert().success().stdout(MINE.iter().fold(told.boxed(), |told, name| {
        let name = name.replace("my_class/a.jpg", "my_class/").replace("sub/b.jpg", "sub/");
        told.and(contains(name)).boxed()
    }));
    let named = contains("folder-extra").and(contains("train/my_class")).and(contains("packs/mine.safetensors"));
    vggkit(work.path()).arg("verify").assert().code(1).stdout(named.and(contains("move it away first")));
    fs::remove_file(data.join("verify.json")).unwrap();

    for change in [&["--classes", "2"][..], &["--per-class", "2"], &["--drop-leaks"], &["--no-folders"]] {
        let mut command = vggkit(work.path());
        let wrong = contains("in the way").and(contains("--force")).and(contains("nothing was changed"));
        let wrong = MINE.iter().fold(wrong.boxed(), |wrong, name| {
            let name = name.replace("my_class/a.jpg", "my_class/").replace("sub/b.jpg", "sub/");
            wrong.and(contains(name)).boxed()
        });
        command.args(PREPARE).args(change).assert().code(1).stderr(wrong.and(contains("DS_Store").not()));
        assert!(content(&data) == before, "{change:?}");
    }
    let mut command = vggkit(work.path());
    let gone = contains("removed as --force asks").and(contains("test/images/my own.jpg"));
    command.args(PREPARE).args(["--classes", "2", "--force"]).assert().success().stdout(gone);
    assert!(MINE.iter().all(|name| !data.join(name).exists()));
    assert!(data.join("mine.txt").exists());
    vggkit(work.path()).args(["verify", "--strict"]).assert().success();
}

#[test]
fn changed_files_and_links_are_somebody_elses() {
    let (work, raw) = raw(2, 3);
    let data = work.path().join("data");
    vggkit(work.path()).args(PREPARE).assert().success();
    let other = fs::read(raw.join("val/images/val_0.JPEG")).unwrap();
    fs::write(data.join("train/n90000001/n90000001_1.JPEG"), other).unwrap();
    fs::remove_file(data.join("train/n90000002/n90000002_0.JPEG")).unwrap(); // nothing of anybody's
    let wrong = contains("train/n90000001/n90000001_1.JPEG").and(contains("n90000002_0").not());
    vggkit(work.path()).args(PREPARE).assert().code(1).stderr(wrong);
    vggkit(work.path()).args(PREPARE).arg("--force").assert().success();
    vggkit(work.path()).arg("verify").assert().success();

    // A pack that is damaged cannot tell what was written; the files' bytes can.
    fs::write(data.join("packs/train.safetensors"), "cut").unwrap();
    vggkit(work.path()).args(PREPARE).assert().success().stdout(contains("Prepared"));
    fs::write(data.join("packs/train.safetensors"), "cut").unwrap();
    put(&data.join("train/n90000001/mine.txt"), "mine");
    vggkit(work.path()).args(PREPARE).assert().code(1).stderr(contains("train/"));
    assert!(data.join("train/n90000001/mine.txt").exists());
    vggkit(work.path()).args(PREPARE).arg("--force").assert().success();

    #[cfg(unix)]
    {
        let elsewhere = work.path().join("elsewhere");
        fs::rename(data.join("val"), &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, data.join("val")).unwrap();
        vggkit(work.path()).args(PREPARE).args(["--classes", "1"]).assert().code(1).stderr(contains("\n  val\n"));
        let before = content(&elsewhere);
        vggkit(work.path()).args(PREPARE).args(["--classes", "1", "--force"]).assert().success();
        assert!(content(&elsewhere) == before && !data.join("val").is_symlink(), "what a link leads to stays");
    }
}

#[test]
fn what_is_not_needed_is_not_in_the_way() {
    let (work, raw) = raw(2, 3);
    let data = work.path().join("data");
    fs::remove_dir_all(raw.join("test")).unwrap();
    put(&data.join("test/images/mine.jpg"), "mine");
    let kept = || contains("left as they are: 1").and(contains("test/"));
    vggkit(work.path()).args(PREPARE).assert().success().stdout(kept());
    vggkit(work.path()).args(PREPARE).args(["--force", "--classes", "1"]).assert().success().stdout(kept());
    vggkit(work.path()).arg("verify").assert().success().stdout(contains("foreign").and(contains("test/")));
    // Without class folders, all class folders are somebody else's.
    let (work, _raw) = self::raw(2, 3);
    let data = work.path().join("data");
    put(&data.join("train/n90000001/n90000001_0.JPEG"), "mine");
    vggkit(work.path()).args(PREPARE).arg("--no-folders").assert().success().stdout(contains("train/"));
    vggkit(work.path()).args(PREPARE).assert().code(1).stderr(contains("train/"));
    assert_eq!(fs::read_to_string(data.join("train/n90000001/n90000001_0.JPEG")).unwrap(), "mine");
}

#[test]
fn a_manifest_and_a_report_of_something_else_are_not_replaced() {
    let (work, _raw) = raw(2, 3);
    let data = work.path().join("data");
    put(&data.join("manifest.json"), "{\"name\": \"my web app\"}");
    put(&data.join("verify.json"), "{\"name\": \"mine too\"}");
    put(&data.join("train/mine.txt"), "mine");
    let wrong = contains("manifest.json").and(contains("train/"));
    vggkit(work.path()).args(PREPARE).assert().code(1).stderr(wrong);
    assert!(fs::read_to_string(data.join("manifest.json")).unwrap().contains("my web app"));
    vggkit(work.path()).args(PREPARE).arg("--force").assert().success();
    let kept = || fs::read_to_string(data.join("verify.json")).unwrap().contains("mine too");
    assert!(Manifest::load(&data).is_ok() && kept());
    let named = contains("verify.json").and(contains("move it away"));
    vggkit(work.path()).arg("verify").assert().success().stderr(named);
    assert!(kept(), "what a verification finds does not replace it");
    fs::remove_file(data.join("verify.json")).unwrap();
    vggkit(work.path()).arg("verify").assert().success().stderr(contains("verify.json").not());
    vggkit(work.path()).arg("verify").assert().success();
    assert!(fs::read_to_string(data.join("verify.json")).unwrap().contains("vggkit/verify/"));
}

#[test]
fn the_demo_set_and_the_images_that_it_is_drawn_into_keep_what_others_put_there() {
    let work = tempfile::tempdir().unwrap();
    let demo = |seed: &str, more: &[&str]| {
        let mut command = vggkit(work.path());
        command.args(["prepare", "--demo", "--classes", "2", "--per-class", "3", "--seed", seed]).args(more);
        command.assert()
    };
    demo("0", &[]).success();
    let data = work.path().join("data/demo");
    let drawn = data.join("tiny-imagenet-demo/train/mine/images/a.jpg");
    put(&drawn, "mine");
    put(&data.join("train/n90000001/a.jpg"), "mine");
    let before = content(&data);
    let wrong = contains("tiny-imagenet-demo/train/mine/images/a.jpg").and(contains("train/n90000001/a.jpg"));
    demo("1", &[]).code(1).stderr(wrong);
    assert!(content(&data) == before);
    demo("1", &["--force"]).success();
    assert!(!drawn.exists());
    assert_eq!(Pack::open(&data, "train").unwrap().files.len(), 6);
}

#[test]
fn a_source_among_what_is_replaced_is_refused() {
    let (work, raw) = raw(2, 3);
    let inside = work.path().join("data/train/raw");
    fs::create_dir_all(inside.parent().unwrap()).unwrap();
    fs::rename(&raw, &inside).unwrap();
    let mut command = vggkit(work.path());
    let wrong = contains("lies in data/train, which is replaced");
    command.args(["prepare", "--force", "--source", "data/train/raw"]).assert().code(2).stderr(wrong);
    assert!(inside.join("words.txt").exists());
}
