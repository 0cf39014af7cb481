//! Any text as wnids.txt, words.txt, val_annotations.txt and a list of boxes: each line is read or named, and the layout
//! that follows has only what the lists say. A NUL parts the four lists.

#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;
use std::{fs, str};

use libfuzzer_sys::fuzz_target;
use vggkit::dataset::manifest::PrepareSettings;
use vggkit::dataset::source::Source;
use vggkit::dataset::{annotations, layout};
use vggkit_fuzz::{data_set, scratch, seed};

static FOLDER: OnceLock<PathBuf> = OnceLock::new();
const LISTS: [&str; 4] = ["wnids.txt", "words.txt", "val/val_annotations.txt", "train/n00000001/n00000001_boxes.txt"];

fn seeds() {
    let files = data_set();
    let text = |name: &str| files.iter().find(|(path, _)| path == name).expect("a list").1.clone();
    let lists = LISTS.map(text);
    seed("annotations", "lists", &lists.join(&0));
    seed("annotations", "bom", &[&b"\xef\xbb\xbf"[..], &lists.join(&b"\r\n\0"[..])].concat());
    seed(
        "annotations",
        "odd",
        b"n1\nn1\0n1\t\n\t\0val_0.JPEG\tn2\nval_0.png\tn1\t-1\t9\t3\t99999\0.JPEG\t5\t5\t1\t1\n",
    );
}

fn folder() -> PathBuf {
    let folder = scratch("annotations");
    for (name, content) in data_set() {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, content).expect("a file");
    }
    folder
}

fn lines_are_read_or_named(text: &str) {
    let lines = text.lines().filter(|line| !line.trim_end().is_empty()).count();
    let boxes = annotations::boxes(text);
    assert_eq!(boxes.files.len() + boxes.wrong.len(), lines);
    for (stem, (file, bounds)) in &boxes.files {
        assert_eq!(annotations::stem(file), *stem);
        let inside = bounds[0] >= 0 && bounds[1] >= 0 && bounds[2] < 64 && bounds[3] < 32;
        let upright = bounds[0] <= bounds[2] && bounds[1] <= bounds[3];
        assert_eq!(annotations::fault(*bounds, (32, 64)).is_none(), inside && upright);
    }
    let val = annotations::val(text);
    assert_eq!(val.files.len() + val.wrong.len(), lines);
    if let Ok(wnids) = annotations::wnids(text) {
        assert!(wnids.len() == lines && wnids.windows(2).all(|pair| pair[0] < pair[1]));
    }
    let (names, named) = (annotations::names(text), annotations::named(text));
    assert!(names.keys().all(|wnid| named.contains(wnid)));
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    if let Ok(text) = str::from_utf8(bytes) {
        lines_are_read_or_named(text);
    }
    let folder = FOLDER.get_or_init(folder);
    let mut lists = bytes.splitn(LISTS.len(), |byte| *byte == 0);
    for list in LISTS {
        let path = folder.join(list);
        match lists.next() {
            Some(list) => fs::write(path, list).expect("a list"),
            None => drop(fs::remove_file(path)),
        }
    }
    let source = Source::open(folder).expect("a folder in the layout");
    let Ok(layout) = layout::understand(&source, &PrepareSettings::default()) else { return };
    assert_eq!(layout.classes.iter().map(|class| &class.wnid[..]).collect::<Vec<_>>(), ["n00000001", "n00000002"]);
    assert_eq!(layout.splits[0].images.len(), 4, "lists take no image of train away");
    let text = fs::read_to_string(folder.join(LISTS[2])).unwrap_or_default();
    let annotated = annotations::val(text.strip_prefix('\u{feff}').unwrap_or(&text));
    for image in &layout.splits[1].images {
        let (_, (wnid, bounds)) = annotated.files[annotations::stem(&image.file)];
        assert_eq!(layout.classes[image.label.expect("a label")].wnid, wnid);
        assert_eq!(image.bounds, bounds);
    }
});
