//! Own images from a folder for each class to the page: any names, no val, and files of the same name in every class.

use std::fs;
use std::path::Path;

use vggkit::dataset::Pack;
use vggkit::inference::answers::Answers;

use crate::{ok, settings, vggkit};

/// In class-index order: sorted by their bytes.
const CLASSES: [&str; 3] = ["<i>\"Äpfel\" & Birnen", "großer Hund", "日本 猫"];

/// Small images of each class, by number, called the same in each.
fn images(root: &Path, numbers: std::ops::Range<u8>) {
    for (class, name) in CLASSES.iter().enumerate() {
        let folder = root.join(name);
        fs::create_dir_all(&folder).expect("a folder");
        for index in numbers.clone() {
            let colour = |x: u32, y: u32| image::Rgb([(class as u32 * 90) as u8, (x * 8) as u8 ^ index, (y * 7) as u8]);
            let image = image::RgbImage::from_fn(32, 32, colour);
            image.save(folder.join(format!("photo {index}.png"))).expect("an image");
        }
    }
}

#[test]
fn own_images_go_all_the_way_to_the_page() {
    let work = tempfile::tempdir().expect("a folder");
    images(&work.path().join("my photos/train"), 0..8);
    images(&work.path().join("my photos/test"), 8..10);
    let run = |arguments: &[&str]| {
        let mut command = vggkit(arguments);
        command.current_dir(work.path());
        ok(command)
    };
    run(&["prepare", "--source", "my photos", "--val-share", "0.25"]);
    let verified = run(&["verify", "--strict"]);
    assert!(verified.contains("own images") && !verified.contains("official 200"), "{verified}");
    let tiny = ["--width", "0.05", "-i", "32", "-b", "6", "-e", "2", "--engine", "cpu", "--run", "mine"];
    run(&[&["train", "-q"][..], &tiny].concat());
    assert!(settings(&work.path().join("runs/mine")).data.own_images);
    let evaluated = run(&["evaluate", "mine"]);
    assert!(evaluated.contains("mine on val (6 images)"), "{evaluated}");
    run(&["evaluate", "mine", "-q", "--split", "test"]);
    run(&["predict", "-q"]);
    run(&["report", "-q"]);

    // Every name says which image is meant, though the files are called the same in each class.
    let val = Pack::open(&work.path().join("data"), "val").expect("val");
    let answers = Answers::read(&Answers::path(&work.path().join("runs/mine"), "val"), 3).expect("answers");
    assert_eq!(answers.files, val.image_names());
    for ((row, file), name) in answers.rows.iter().zip(&val.files).zip(&answers.files) {
        assert!(name == file || *name == format!("{}/{file}", CLASSES[row.truth as usize]), "{name}");
    }
    let mut table = csv::Reader::from_path(work.path().join("predictions.csv")).expect("predictions");
    let rows: Vec<csv::StringRecord> = table.records().map(|row| row.expect("a row")).collect();
    let predicted: Vec<&str> = rows.iter().map(|row| &row[0]).collect();
    let expected: Vec<String> =
        CLASSES.iter().flat_map(|class| (8..10).map(move |i| format!("{class}/photo {i}.png"))).collect();
    assert_eq!(predicted, expected);

    let page = fs::read_to_string(work.path().join("site/index.html")).expect("a page");
    for name in ["&lt;i&gt;&quot;Äpfel&quot; &amp; Birnen", "großer Hund", "日本 猫"] {
        assert!(page.contains(name), "{name} is called so");
    }
    assert!(!page.contains("<i>\"Äpfel"), "a name is no markup");
    assert!(page.contains("validation split of own images"), "and these are not Tiny ImageNet");
    assert!(!page.contains("all of Tiny ImageNet"), "nor compared with it");
    assert!(page.contains("mistakes-run-mine"));

    let file = format!("my photos/test/{}/photo 8.png", CLASSES[2]);
    let top = run(&["predict", "mine", "--image", &file]);
    assert!(CLASSES.iter().all(|class| top.contains(class)), "{top}");
    // Prepared again elsewhere, it is the same data.
    run(&["prepare", "-q", "--source", "my photos", "--val-share", "0.25", "--data", "again", "--no-folders"]);
    run(&["evaluate", "-q", "--data", "again"]);
}
