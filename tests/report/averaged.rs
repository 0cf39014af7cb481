//! What averaging brings and how sure the networks are: views and fused runs beside the plain figures, scores by class,
//! reliability diagrams; and what is said of files that are old, of other weights, or cannot be.

use std::fs;

use vggkit::files;
use vggkit::inference::evaluation::{self, Evaluation};
use vggkit::inference::tta::Tta;

use crate::fixture::{Fixture, Made};
use crate::html::{tags, text};
use crate::{HOSTILE, full};

#[test]
fn averaged_views_and_fused_runs_stand_beside_the_plain_figures() {
    let fixture = full();
    let (report, page) = fixture.render();
    assert!(report.problems.is_empty());
    let bare = text(&page);
    for command in ["vggkit evaluate --tta flip", "vggkit evaluate --fuse"] {
        assert!(bare.contains(command), "{command} is suggested");
    }
    fixture.average(HOSTILE[1], Tta::Flip, 0.55);
    fixture.fuse(&HOSTILE, Some(Tta::Flip), 0.625);
    fixture.fuse(&HOSTILE[..2], None, 0.6);
    let (report, page) = fixture.render();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    tags(&page);
    let page = text(&page);
    for (part, figure) in [
        ("views", "flip the image and its mirror image 52.5 % 55.0 %"),
        ("their gain", "+2.5"),
        ("all", "All 3 models fused"),
        ("some", "2 models fused"),
        ("who and how good alone", "<script>alert(1)<x> 40.0 %"),
        ("against the best alone", "plain each image as it is 50.0 % 60.0 %"),
        ("the interval of 25 of 40", "47.0–75.8 %"),
    ] {
        assert!(page.contains(figure), "{part}: {figure:?} is not in the page");
    }
    assert!(page.find("All 3 models fused") < page.find("2 models fused"), "the best first");
    assert!(page.contains("VGG-16 leads with 52.5 %"), "the verdict is about single views");
    let raw = report.page.with_file_name("index_files").join("raw");
    let kept = fs::read_dir(raw).expect("a folder").filter_map(Result::ok).map(|e| e.file_name());
    assert_eq!(kept.filter(|name| name.to_string_lossy().starts_with("fusion-")).count(), 2, "beside the page");
}

#[test]
fn classes_have_precision_recall_and_f1() {
    let fixture = Fixture::with_data();
    fixture.add(&Made::new("a", 11, 0.525));
    let page = text(&fixture.render().1);
    // Hits 10, 8, 2 and 1 of ten; what is not recognised is taken for the next class.
    for row in
        ["10 52.6 % 100.0 % 69.0 %", "10 100.0 % 80.0 % 88.9 %", "10 50.0 % 20.0 % 28.6 %", "10 11.1 % 10.0 % 10.5 %"]
    {
        assert!(page.contains(row), "{row}");
    }
    let table = fixture.path().join("site/index_files/raw/classes.csv");
    let mut reader = csv::Reader::from_path(table).expect("classes.csv");
    let rows: Vec<_> = reader.records().map(|row| row.expect("a row")).collect();
    assert_eq!(rows.len(), 4);
    let third: Vec<f64> = (4..8).map(|column| rows[2][column].parse().expect("a number")).collect();
    assert_eq!((&rows[2][0], &rows[2][1], &third[..]), ("a", "2", &[10.0, 0.5, 0.2, 4.0 / 14.0][..]));
    assert!(page.contains("Mean over classes 53.4 % 52.5 % 49.2 %"));
}

#[test]
fn how_sure_a_network_is_has_a_diagram_or_the_way_to_it() {
    let fixture = full();
    fixture.fuse(&HOSTILE, Some(Tta::Multi), 0.6);
    let (report, page) = fixture.render();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let bars =
        tags(&page).iter().filter(|t| t.name == "rect" && t.get("class").is_some_and(|c| c.ends_with(" bar"))).count();
    // Forty confidences from .30 to .69 lie in 7 bins of fifteen, which have two bars each.
    assert_eq!(bars, 4 * 2 * 7);
    let shown = text(&page);
    for part in [
        "ECE",
        "All 3 models fused multi <script>",
        "In the mean it says 49.5 % and is right in 52.5 %: 3.0 points too modest.",
        "26.7–33.3 %",
        "confidence",
    ] {
        assert!(shown.contains(part), "{part}");
    }
    // Older versions kept no confidences.
    for run in HOSTILE {
        let path = evaluation::path(&fixture.run(run), "val", None);
        let mut evaluation: Evaluation = files::read_json(&path).expect("an evaluation");
        evaluation.calibration = None;
        files::write_json(&path, &evaluation).expect("an evaluation");
    }
    let (report, page) = fixture.render();
    assert!(report.problems.is_empty(), "absent is not wrong: {:?}", report.problems);
    assert!(
        text(&page).contains("Evaluated without confidences, by an older version") && text(&page).contains("adds them")
    );
}

#[test]
fn what_cannot_be_is_named() {
    let fixture = Fixture::with_data();
    for name in ["views", "bins", "fine"] {
        fixture.add(&Made::new(name, 11, 0.4));
    }
    let edit = |path: std::path::PathBuf, from: &str, to: &str| {
        let text = fs::read_to_string(&path).expect("a file");
        assert!(text.contains(from), "{from} in {text}");
        fs::write(path, text.replacen(from, to, 1)).expect("a file");
    };
    fixture.average("views", Tta::Flip, 0.5);
    edit(evaluation::path(&fixture.run("views"), "val", Some(Tta::Flip)), "\"flip\"", "\"dense\"");
    edit(evaluation::path(&fixture.run("bins"), "val", None), "\"error\": 0.", "\"error\": 7.");
    let fused = fixture.fuse(&["views", "bins"], None, 0.6);
    edit(fused, "\"top1\": 0.5", "\"top1\": 5.5");
    fs::write(fixture.path().join("runs/fusion-0123456789ab.json"), "{").expect("a file");
    let (report, page) = fixture.render();
    let page = text(&page);
    for (place, what) in [
        ("evaluation-val-flip.json", "other views of the images than its name says"),
        ("bins/evaluation.json", "calibration has bins or values that cannot be"),
        ("fusion-", "one of its runs has a value out of its range"),
        ("fusion-0123456789ab.json", "EOF"),
    ] {
        let found = report.problems.iter().any(|p| p.place.contains(place) && p.what.contains(what));
        assert!(found, "{place}: {what}: {:?}", report.problems);
        assert!(page.contains(what), "{what}");
    }
    assert_eq!(report.problems.len(), 4, "{:?}", report.problems);
    assert!(!page.contains("models fused"), "what cannot be is not shown");
}
