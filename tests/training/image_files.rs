//! `vggkit predict --image`: what is said of files, folders and standard input, good and bad ones together.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use image::codecs::png::PngEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder, RgbImage, RgbaImage};
use serde_json::Value;
use tempfile::TempDir;
use vggkit::dataset::decode;

use crate::{ok, on, train, vggkit};

/// EXIF data that says: the first row is what is seen on the right (orientation 6).
const ON_ITS_SIDE: &[u8] = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";

/// A folder with a run in `runs` and an empty folder `images`.
fn run() -> (TempDir, PathBuf) {
    let work = tempfile::tempdir().expect("a folder");
    ok(train(&work.path().join("runs"), "demo-a", &["-e", "1"]));
    let images = work.path().join("images");
    fs::create_dir(&images).expect("a folder");
    (work, images)
}

fn predict(work: &Path, images: &[&str]) -> Command {
    let mut command = vggkit(&["predict", "demo-a", "--engine", "cpu", "--image"]);
    command.args(images).current_dir(work);
    on(command, &work.join("runs"))
}

/// Standard output, standard error and exit code.
fn said(mut command: Command) -> (String, String, Option<i32>) {
    let output = command.output().expect("the command runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// The JSON lines of a command, by their file.
fn lines(mut command: Command) -> (Vec<Value>, Option<i32>) {
    command.arg("--json");
    let (out, _, code) = said(command);
    (out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect(), code)
}

fn picture() -> DynamicImage {
    RgbImage::from_fn(48, 64, |x, y| image::Rgb([5 * x as u8, 3 * y as u8, (x * y % 251) as u8])).into()
}

fn png(image: &DynamicImage, exif: Option<&[u8]>) -> Vec<u8> {
    let (mut bytes, rgba) = (Vec::new(), image.to_rgba8());
    let mut encoder = PngEncoder::new(&mut bytes);
    exif.map(|exif| encoder.set_exif_metadata(exif.to_vec())).transpose().expect("EXIF");
    encoder.write_image(&rgba, rgba.width(), rgba.height(), ExtendedColorType::Rgba8).expect("a PNG");
    bytes
}

#[test]
fn bad_files_are_named_and_all_others_predicted() {
    let (work, images) = run();
    let good = png(&picture(), None);
    let files: [(&str, &[u8]); 6] = [
        ("1.png", &good),
        ("2.jpg", b""),
        ("3.png", &good),
        ("4.png", &good[..good.len() / 2]),
        ("5.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("6.jpg", &good), // a wrong suffix decides nothing
    ];
    for (name, bytes) in files {
        fs::write(images.join(name), bytes).expect("written");
    }
    let names = ["1.png", "2.jpg", "3.png", "4.png", "5.heic", "6.jpg", "7.png"].map(|name| format!("images/{name}"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (out, error, code) = said(predict(work.path(), &names));
    assert_eq!(code, Some(1), "{error}");
    let predicted: Vec<&str> = out.lines().filter_map(|line| line.strip_suffix("  (demo-a)")).collect();
    assert_eq!(predicted, ["images/1.png", "images/3.png", "images/6.jpg"], "{out}");
    for (name, reason) in [
        ("error: images/2.jpg: ", "the file is empty"),
        ("error: images/4.png: ", "the file ends early"),
        ("error: images/5.heic: ", "HEIC"),
        ("error: cannot read images/7.png: ", ""),
        ("4 of 7 not predicted", "PNG, WebP, GIF and BMP are read"),
    ] {
        assert!(error.lines().any(|line| line.starts_with(name) && line.contains(reason)), "{name}: {error}");
    }

    let (lines, code) = lines(predict(work.path(), &names));
    assert_eq!(code, Some(1));
    assert_eq!(lines.iter().map(|line| &line["file"]).collect::<Vec<_>>(), names);
    for (line, bytes) in
        lines.iter().zip(files.iter().map(|(_, bytes)| decode::decode(bytes)).chain([Err(String::new())]))
    {
        assert_eq!(line["schema"], "vggkit/predict-image/1");
        let classes = line["top"].as_array().expect("a list").len();
        match bytes {
            Ok(_) => assert!(classes == 3 && line.get("error").is_none(), "{line}"),
            Err(reason) => {
                let error = line["error"].as_str().expect("why not");
                assert!(classes == 0 && error.ends_with(&reason), "what prepare and verify say, too: {line}");
            }
        }
    }
}

#[test]
fn turned_and_transparent_images_are_seen_as_a_viewer_shows_them() {
    let (work, images) = run();
    fs::write(images.join("upright.png"), png(&picture(), None)).expect("written");
    fs::write(images.join("turned.png"), png(&picture().rotate270(), Some(ON_ITS_SIDE))).expect("written");
    let over = |hidden: [u8; 3]| {
        let [r, g, b] = hidden;
        let image = RgbaImage::from_fn(64, 64, |x, y| {
            if (x + y) % 3 == 0 { image::Rgba([0, 60, 200, 255]) } else { image::Rgba([r, g, b, 0]) }
        });
        DynamicImage::from(image)
    };
    for (name, hidden) in [("red", [255, 0, 0]), ("black", [0; 3]), ("white", [255; 3])] {
        fs::write(images.join(format!("{name}.png")), png(&over(hidden), None)).expect("written");
    }
    let names = ["upright", "turned", "red", "black", "white"].map(|name| format!("images/{name}.png"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (lines, code) = lines(predict(work.path(), &names));
    assert_eq!(code, Some(0));
    assert_eq!(lines[0]["top"], lines[1]["top"]);
    assert_eq!(lines[2]["top"], lines[3]["top"], "a colour that nobody sees decides nothing");
    assert_eq!(lines[3]["top"], lines[4]["top"]);
    assert_ne!(lines[0]["top"], lines[2]["top"]);
    let notes: Vec<&Value> = lines.iter().map(|line| &line["notes"]).collect();
    assert!(notes[0].is_null() && notes[1][0].as_str().is_some_and(|note| note.contains("EXIF")), "{notes:?}");
    assert!(notes[2][0].as_str().is_some_and(|note| note.contains("over white")), "{notes:?}");
    let (out, _, _) = said(predict(work.path(), &names[1..2]));
    assert!(out.starts_with("images/turned.png  (demo-a; turned as its EXIF orientation says)\n"), "{out}");
}

#[test]
fn folders_and_standard_input_are_read() {
    let (work, images) = run();
    fs::create_dir(images.join("more")).expect("a folder");
    for name in ["b.png", "a.png", "more/c.png", ".hidden.png"] {
        fs::write(images.join(name), png(&picture(), None)).expect("written");
    }
    let (lines_of_folder, code) = lines(predict(work.path(), &["images"]));
    let files: Vec<&str> = lines_of_folder.iter().filter_map(|line| line["file"].as_str()).collect();
    assert_eq!((files, code), (vec!["images/a.png", "images/b.png", "images/more/c.png"], Some(0)));

    let mut command = predict(work.path(), &["-"]);
    command.arg("--json").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the command runs");
    child.stdin.take().expect("a pipe").write_all(&png(&picture(), None)).expect("sent");
    let output = child.wait_with_output().expect("it ends");
    let line: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&line["file"], &line["top"]), (&Value::from("-"), &lines_of_folder[0]["top"]));

    fs::create_dir(work.path().join("empty")).expect("a folder");
    let (_, error, code) = said(predict(work.path(), &["empty", "none-*.png"]));
    assert_eq!(code, Some(1));
    assert!(error.contains("empty: there is no file in this folder"), "{error}");
    assert!(error.contains("none-*.png") && error.contains("no file has a name of this pattern"), "{error}");
}
