//! What the page shows of single images: pairs that verify found, answers of networks beside each other, and insides.

use std::fs;

use vggkit::files;
use vggkit::inference::answers::Answers;
use vggkit::inference::evaluation::Evaluation;
use vggkit::training::run::Recipe;

use crate::fixture::{Fixture, Made};
use crate::html::{tags, text};
use crate::{HOSTILE, full};

#[test]
fn the_images_of_a_pair_stand_beside_each_other() {
    let fixture = Fixture::with_data();
    fixture.verify();
    let (_, page) = fixture.render();
    let alts: Vec<String> = tags(&page).iter().filter_map(|t| Some(t.get("alt")?.to_owned())).collect();
    let escaped = |name: &str| name.replace('<', "&lt;").replace('>', "&gt;").replace('/', "&#x2f;");
    let at = |end: &str| {
        alts.iter().position(|alt| alt.ends_with(&escaped(end))).unwrap_or_else(|| panic!("{end}: {alts:?}"))
    };
    let (train, val) = (at("train/n00000001/train_12<b>.JPEG"), at("val/n00000000/val_3<b>.JPEG"));
    assert_eq!(train + 1, val, "one pair, beside each other");
    assert!(alts[train].contains("quoted"), "with its class: {}", alts[train]);
    at("test/images/test_7<b>.JPEG");
}

#[test]
fn networks_are_compared_image_by_image() {
    let fixture = Fixture::with_data();
    fixture.add(&Made::new("a", 11, 0.525));
    fixture.add(&Made::new("b", 13, 0.525));
    let page = text(&fixture.render().1);
    assert!(page.contains("2 runs say the same of 100.0 %. All are right on 52.5 %; on 47.5 % none is."), "twins");
    assert!(page.contains("The difference could be chance."));
    // Of 8, 2 and 1 hits in ten, 5 places on: 6, 0 and 0 are shared, 2 + 2 + 1 are the one's alone and as many the other's.
    fixture.add(&Made { shift: 5, ..Made::new("b", 13, 0.525) });
    let page = text(&fixture.render().1);
    let row = "a b 75.0 % 40.0 % 12.5 % 12.5 % 35.0 % +0.0 1.000 could be chance";
    assert!(page.contains(row), "{}", &page[page.find("Pairs of networks").expect("the table")..][..900]);
    // One that is right on 21 images and one that is right on none of them: 2 / 2^21, and right on 19 that the other misses.
    let path = fixture.run("b").join("evaluation.csv");
    let mut answers = Answers::read(&path, 4).expect("answers");
    let mut evaluation: Evaluation = files::read_json(&fixture.run("b").join("evaluation.json")).expect("evaluation");
    evaluation.confusion = vec![vec![0; 4]; 4];
    for row in &mut answers.rows {
        row.predicted = (row.truth + 2) % 4;
        evaluation.confusion[row.truth as usize][row.predicted as usize] += 1;
    }
    answers.write(&path).expect("answers");
    files::write_json(&fixture.run("b").join("evaluation.json"), &evaluation).expect("evaluation");
    let page = text(&fixture.render().1);
    assert!(page.contains("52.5 % 0.0 % 47.5 % +52.5 < 0.001 more than chance"));
    assert!(page.contains("The difference is more than chance."));
    assert!(page.contains("Image by image, that is more than chance. "), "in the verdict as well");
}

/// What batch normalisation sees differs from a run in one go where a batch is cut.
#[test]
fn micro_batches_and_what_normalises_over_them_are_told() {
    let told = |micro_batch, sync_batch_norm| {
        let fixture = Fixture::with_data();
        let made = Made::new("a", 11, 0.525);
        fixture.add(&Made { recipe: Recipe { micro_batch, sync_batch_norm, ..made.recipe.clone() }, ..made });
        text(&fixture.render().1)
    };
    let [each, whole] = ["Batch normalisation over each micro-batch", "Batch normalisation over the whole batch on"];
    let page = told(16, false);
    assert!(page.contains("Micro-batch 16") && page.contains(each) && !page.contains(whole));
    let page = told(16, true);
    assert!(page.contains("Micro-batch 16") && !page.contains(each) && page.contains(whole));
    let page = told(0, false);
    assert!(!page.contains("Micro-batch 16") && !page.contains(each) && !page.contains(whole));
}

#[test]
fn of_one_run_nothing_is_compared() {
    let fixture = Fixture::with_data();
    fixture.add(&Made::new("a", 11, 0.4));
    fixture.predict(&["a"]);
    let page = text(&fixture.render().1);
    assert!(
        page.contains("Below each image the class that a chose.")
            && page.contains("On the right of each pair what VGG-11 a says")
    );
    assert!(!page.contains("Dots stand for") && !page.contains("agree"), "with nobody");
    fixture.add(&Made::new("b", 13, 0.4));
    fixture.predict(&["a", "b"]);
    let page = text(&fixture.render().1);
    assert!(page.contains("Dots stand for") && page.contains("all runs agree on") && !page.contains("of each pair"));
}

#[test]
fn what_is_inside_is_shown_or_said_to_be_missing() {
    let fixture = full();
    let page = text(&fixture.render().1);
    for part in ["Where each network looked", "sees 2×2 places", "nothing there speaks for it", "2 filters of 3×3"] {
        assert!(page.contains(part), "{part}");
    }
    fs::remove_file(fixture.run(HOSTILE[1]).join("inside.json")).expect("a file");
    assert!(text(&fixture.render().1).contains(&format!("Not looked into: {}", HOSTILE[1])));
    for run in [HOSTILE[0], HOSTILE[2]] {
        fs::remove_file(fixture.run(run).join("inside.json")).expect("a file");
    }
    assert!(text(&fixture.render().1).contains("Nothing is known of the networks’ insides yet"));
    // Filters need no images; maps do.
    let fixture = full();
    fs::remove_dir_all(fixture.data()).expect("a folder");
    let page = text(&fixture.render().1);
    assert!(page.contains("2 filters of 3×3") && page.contains("drawn on images of their data set, which is not here"));
}

#[test]
fn without_answers_the_page_says_so_and_shows_the_rest() {
    let fixture = full();
    for run in HOSTILE {
        fs::remove_file(fixture.run(run).join("evaluation.csv")).expect("a file");
    }
    let (report, page) = fixture.render();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let page = text(&page);
    assert!(page.contains("Two runs of the same data with answers to the same images can be compared"));
    assert!(page.contains("Without the answers to single images") && page.contains("Most confident mistakes"));
    assert!(!page.contains("Least confident hits"));
}
