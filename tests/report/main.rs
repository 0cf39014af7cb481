//! The page as a reader and as an attacker meets it: what it shows, what it never does, and what it says of what is
//! missing or damaged.

use std::collections::BTreeSet;
use std::fs;

use base64::Engine as _;
use predicates::prelude::PredicateBooleanExt as _;
use sha2::{Digest, Sha256};

mod averaged;
mod beside;
mod commands;
mod fixture;
mod html;
mod parts;

use fixture::{CLASSES, Fixture, Made};
use html::{raw, tags, text};
use vggkit::engine::{Optimizer, Precision};
use vggkit::training::choices::Schedule;
use vggkit::training::run::{Augment, Recipe, Run};
use vggkit::vgg::Network;

/// Run names that try to leave the text they stand in.
const HOSTILE: [&str; 3] = ["<script>alert(1)<x>", "a\" onload='alert(2)' b=\"", "räksmörgås 💥 ]]>"];

/// Data, three runs of hostile names, and predictions.
fn full() -> Fixture {
    let fixture = Fixture::with_data();
    for (name, depth, top1) in [(HOSTILE[0], 11, 0.4), (HOSTILE[1], 16, 0.525), (HOSTILE[2], 19, 0.35)] {
        fixture.add(&Made::new(name, depth, top1));
    }
    fixture.predict(&HOSTILE);
    fixture
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let fixture = full();
    let (first, a) = fixture.render();
    let (_, b) = fixture.render();
    assert_eq!(a, b);
    assert_eq!((first.runs, first.problems, first.missing), (3, vec![], vec![]));
}

#[test]
fn nothing_leaves_its_text_and_nothing_is_loaded() {
    let (_, page) = full().render();
    let tags = tags(&page); // panics on a tag or attribute that a name smuggled in
    assert_eq!(tags.iter().filter(|t| t.name == "script").count(), 1);
    for tag in &tags {
        for (name, value) in &tag.attributes {
            assert!(name != "style" && !name.starts_with("on"), "{name} in <{}>", tag.name);
            match name.as_str() {
                "src" => assert!(value.starts_with("data:image/"), "{value}"),
                "href" => assert!(value.starts_with('#') || value.starts_with("index_files/raw/"), "{value}"),
                "srcset" | "action" | "xlink:href" | "formaction" => panic!("{name} in <{}>", tag.name),
                _ => {}
            }
        }
        assert!(!["link", "iframe", "object", "embed", "form", "base"].contains(&tag.name.as_str()), "{}", tag.name);
    }
    for never in ["http://", "https://", "url(", "@import", "<img src=x", "alert(1)<x"] {
        assert!(!page.contains(never), "{never}");
    }
    let text = text(&page);
    for name in HOSTILE.iter().chain(&CLASSES) {
        assert!(text.contains(name), "{name} is not shown as it is");
    }
}

#[test]
fn the_policy_allows_this_style_and_this_script_alone() {
    let (_, page) = full().render();
    let policy = tags(&page)
        .iter()
        .find(|t| t.get("http-equiv") == Some("Content-Security-Policy"))
        .and_then(|t| t.get("content").map(str::to_owned))
        .expect("a policy");
    for (directive, element) in [("style-src", "style"), ("script-src", "script")] {
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(raw(&page, element)));
        assert!(policy.contains(&format!("{directive} 'sha256-{hash}'")), "{directive}: {policy}");
    }
    assert!(policy.starts_with("default-src 'none'; img-src data:;") && !policy.contains("unsafe"), "{policy}");
}

#[test]
fn links_arrive_and_readers_without_sight_are_told() {
    let fixture = full();
    let (report, page) = fixture.render();
    let tags = tags(&page);
    let ids: Vec<&str> = tags.iter().filter_map(|t| t.get("id")).collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len(), "an id stands twice");
    for tag in &tags {
        if let Some(target) = tag.get("href") {
            match target.strip_prefix('#') {
                Some(id) => assert!(unique.contains(id), "{target} leads nowhere"),
                None => assert!(report.page.with_file_name(target).is_file(), "{target} is not beside the page"),
            }
        }
        for id in tag.get("aria-labelledby").unwrap_or_default().split_whitespace() {
            assert!(unique.contains(id), "{id} labels and is not there");
        }
        match tag.name.as_str() {
            "img" => assert!(tag.get("alt").is_some_and(|a| !a.is_empty()), "an image without words"),
            "th" => assert!(tag.get("scope").is_some(), "a heading cell without scope"),
            _ => {}
        }
    }
    let count = |name: &str| tags.iter().filter(|t| t.name == name).count();
    assert_eq!(count("table"), count("caption"), "a table without caption");
    assert_eq!(count("h1"), 1);
    assert_eq!(tags.iter().filter(|t| t.get("class") == Some("chart")).count(), 4 + 3 * 3, "overlays, and three a run");
}

#[test]
fn every_part_shows_its_figures() {
    let (_, page) = full().render();
    let text = text(&page);
    for (part, figure) in [
        ("verdict", "VGG-16 leads with 52.5 %"),
        ("lead", "12.5 points ahead of VGG-11"),
        ("interval of 21 of 40", "37.5–67.1 %"),
        ("the replaced PyTorch project", "39.4 %"),
        ("not comparable", "4 classes instead of 200"),
        ("train accuracy of the best epoch", "30.0 %"),
        ("train loss of the best epoch", "0.667"),
        ("time", "5 min 00 s"),
        ("rate", "43.0"),
        ("untrained", "vggkit train -d 16 -c11"),
        ("table 1", "conv1-512"),
        ("parameters of the paper", "138 M"),
        ("best epoch", "Best at epoch 3 of 5; stopped early after 3 epochs without a lower validation loss."),
        ("mean of red", "127.5"),
        ("vote", "1 of 3 agree"),
        ("unanimity", "all runs agree on 0.0 % of the images"),
        ("worst class", "10.0 %"),
        ("most confused", "90.0 %"),
        ("most confident mistake", "99.0 %"),
        ("least confident hit", "30.0 %"),
        ("confidence of a vote", "40.0 %"),
        ("command", "vggkit train --run"),
        ("commit", "0123abc"),
        ("adapter", "<i>Xeon"),
        ("seed", "Seed 7"),
        ("weights", "cafecafe"),
        ("the paper's error", "27.0 %"),
        ("a layer", "features.0 convolution 3×3 64×64×64 1,792"),
        ("learning rate", "Learning rate by epoch"),
    ] {
        assert!(text.contains(figure), "{part}: {figure:?} is not in the page");
    }
    let tags = tags(&page);
    let pictures = tags.iter().filter(|t| t.name == "img").count();
    let (samples, mistakes, hits, inside) = (32 + 32 + 40, 19 + 12 + 12, 12 + 6 + 6, 2 + 3 * 2 + 3);
    assert_eq!(pictures, samples + mistakes + hits + inside);
    assert!(!text.contains("ynthetic"), "nothing here is synthetic");
}

#[test]
fn what_verify_found_is_shown() {
    let fixture = Fixture::with_data();
    let page = text(&fixture.render().1);
    assert!(page.contains("Not verified since it was prepared") && page.contains("vggkit verify"));
    fixture.verify();
    let (report, page) = fixture.render();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    tags(&page);
    let page = text(&page);
    for part in [
        "not fit to train on",
        "1 error, 1 warning, 1 note",
        "7 files <b>differ</b>",
        "val/<u>1.JPEG",
        "and 5 more",
        "2 groups across <i>splits</i>",
        "same bytes",
        "hashes 5 of 64 bits apart",
        "no picture no class gone<u>.JPEG",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn synthetic_runs_are_marked_and_never_win_against_real_ones() {
    let fixture = Fixture::with_data();
    fixture.add(&Made::new("real", 11, 0.4));
    fixture.add(&Made { synthetic: true, ..Made::new("drawn", 19, 0.95) });
    let page = text(&fixture.render().1);
    assert!(page.contains("VGG-11 reaches 40.0 %"), "the drawn run was compared");
    assert!(
        page.contains("replaced PyTorch project's VGG-11 reached"),
        "a real run stands beside the replaced project"
    );
    assert!(page.contains("1 of the 2 runs trained on synthetic data") && page.contains("VGG-19 drawn synthetic data"));
}

#[test]
fn damaged_and_foreign_runs_are_named_and_stop_nothing() {
    let fixture = Fixture::with_data();
    for name in [
        "good",
        "no-history",
        "bad-history",
        "bad-evaluation",
        "old-evaluation",
        "bad-settings",
        "future",
        "half",
        "bad-answers",
        "other-answers",
        "bad-map",
        "bad-inside",
    ] {
        fixture.add(&Made::new(name, 11, 0.4));
    }
    let write = |run: &str, file: &str, text: &str| fs::write(fixture.run(run).join(file), text).expect("a file");
    let edit = |run: &str, file: &str, from: &str, to: &str| {
        let path = fixture.run(run).join(file);
        let text = fs::read_to_string(&path).expect("a file");
        assert!(text.contains(from));
        fs::write(path, text.replacen(from, to, 1)).expect("a file");
    };
    fs::remove_file(fixture.run("no-history").join("history.jsonl")).expect("a file");
    edit("bad-history", "history.jsonl", "\"val_top1\":0.4", "\"val_top1\":4.0");
    edit("bad-evaluation", "evaluation.json", "\"predicted\": 2", "\"predicted\": 9");
    edit("old-evaluation", "evaluation.json", "\"top1\": 0.4,", "\"top1\": 0.1,");
    edit("bad-settings", "run.toml", "depth = 11", "depth = 12");
    edit("future", "run.toml", "vggkit/run/1", "vggkit/run/9");
    let whole = fs::read_to_string(fixture.run("half").join("history.jsonl")).expect("a file");
    edit("bad-answers", "evaluation.csv", "0.30", "3.0");
    edit("other-answers", "evaluation.csv", ",0,0,", ",0,3,");
    edit("bad-map", "inside.json", "[255,0,0,0]", "[255,0,0]");
    edit("bad-inside", "inside.json", "[{\"file\"", "[{\"fi");
    write("half", "history.jsonl", &whole[..whole.len() - 20]); // what a killed process leaves: no problem
    fs::create_dir_all(fixture.run("holiday <b>photos")).expect("a folder");
    fs::write(fixture.path().join("predictions.csv"), "image,vote\n").expect("a file");
    fs::write(fixture.data().join("packs/val.safetensors"), b"not a pack").expect("a file");

    let (report, page) = fixture.render();
    tags(&page);
    let page = text(&page);
    for (place, what) in [
        ("bad-history/history.jsonl", "out of its range"),
        ("bad-evaluation/evaluation.json", "cannot be"),
        ("old-evaluation/evaluation.json", "older than the weights"),
        ("bad-settings/run.toml", "11, 13, 16, 19"),
        ("future/run.toml", "vggkit/run/9"),
        ("holiday <b>photos", "not a run of vggkit"),
        ("predictions.csv", "columns"),
        ("val.safetensors", "safetensors"),
        ("bad-answers/evaluation.csv", "line 2: a probability"),
        ("other-answers/evaluation.csv", "do not add up"),
        ("bad-map/inside.json", "not of its size"),
        ("bad-inside/inside.json", "line 1 column"),
    ] {
        let problem = report.problems.iter().find(|p| p.place.ends_with(place));
        let problem = problem.unwrap_or_else(|| panic!("{place} is not named: {:?}", report.problems));
        assert!(problem.what.contains(what), "{place}: {}", problem.what);
        // What stands between two backticks is set as code, and parted from the rest in the text of the page.
        let closely = |text: &str| text.replace('`', "").split_whitespace().collect::<String>();
        assert!(closely(&page).contains(&closely(&problem.what)), "{place} on the page");
    }
    assert_eq!(report.problems.len(), 12, "{:?}", report.problems);
    assert_eq!(report.runs, 10, "all but bad-settings and future");
    assert!(page.contains("40.0 %"));
}

#[test]
fn missing_parts_say_how_to_make_them() {
    let nothing = Fixture::empty();
    let (report, page) = nothing.render();
    tags(&page);
    assert_eq!((report.runs, report.missing.len()), (0, 3));
    let page = text(&page);
    for command in ["vggkit prepare --source", "vggkit train -d 11", "vggkit evaluate", "vggkit predict", "conv3-64"] {
        assert!(page.contains(command), "{command}");
    }
    let bare = Fixture::with_data();
    bare.add(&Made::new("new", 13, 0.3));
    fs::remove_file(bare.run("new").join("history.jsonl")).expect("a file");
    fs::remove_file(bare.run("new").join("evaluation.json")).expect("a file");
    let (report, page) = bare.render();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let page = text(&page);
    for part in ["no epoch finished yet", "Nothing is evaluated yet", "No predictions at", "No results yet"] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn two_hundred_classes_fit_in_a_picture_and_in_four_megabytes() {
    let fixture = Fixture::with_data();
    let network = vggkit::vgg::Network { classes: 200, ..Default::default() };
    fixture.add(&Made { network, ..Made::new("large", 11, 0.4) });
    let path = fixture.run("large").join("evaluation.json");
    let mut evaluation: vggkit::inference::evaluation::Evaluation =
        vggkit::files::read_json(&path).expect("evaluation");
    let class = evaluation.per_class[0].clone();
    evaluation.per_class = (0..200)
        .map(|i| vggkit::inference::evaluation::ClassAccuracy { name: format!("class <{i}>"), ..class.clone() })
        .collect();
    // Classes i and i + 100 are taken for each other.
    let count = |t: usize, p: usize| if t == p { 30 } else { 20 * u32::from(t % 100 == p % 100) };
    evaluation.images = 10_000;
    evaluation.confusion = (0..200).map(|t| (0..200).map(|p| count(t, p)).collect()).collect();
    vggkit::files::write_json(&path, &evaluation).expect("evaluation");
    fs::remove_file(fixture.run("large").join("evaluation.csv")).expect("a file");
    fs::remove_file(fixture.run("large").join("inside.json")).expect("a file");
    let (report, page) = fixture.render();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert!(page.contains("Confusion matrix of large over 200 classes") && page.contains("data:image/png;base64,"));
    let order = page.find("<ol class=\"classes\" id=\"order-1\">").expect("the order of the classes");
    let place = |name: &str| page[order..].find(&format!("<bdi>class &lt;{name}&gt;</bdi>")).expect("a class");
    assert!(place("0") < place("100") && place("100") < place("1"), "the confused stand together");
    assert!(page.contains("data-counts=\"30.20ZZ"), "the counts are in that order too");
    assert!(page.len() < 4 << 20, "{} bytes", page.len());
}

#[test]
fn the_command_says_where_the_page_is_and_what_was_left_out() {
    let fixture = Fixture::with_data();
    fs::create_dir_all(fixture.run("strange")).expect("a folder");
    let vggkit = |arguments: &[&str]| {
        let mut command = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
        command.current_dir(fixture.path()).arg("report").args(arguments).assert().success()
    };
    let page = std::path::Path::new("site").join("index.html").display().to_string();
    vggkit(&[]).stdout(format!("{page}\n")).stderr(
        predicates::str::contains("strange: has no run.toml")
            .and(predicates::str::contains("`vggkit predict` makes them")),
    );
    vggkit(&["--quiet", "--out", "elsewhere"]).stderr("");
    assert!(fixture.path().join("elsewhere/index.html").exists());
    let summary: serde_json::Value = serde_json::from_slice(&vggkit(&["--json"]).get_output().stdout).expect("JSON");
    assert_eq!(summary["schema"], "vggkit/report/1");
    assert_eq!((&summary["runs"], &summary["page"]), (&0.into(), &page.into()));
}

#[test]
fn unequal_terms_and_the_spread_of_a_network_are_said() {
    let fixture = Fixture::with_data();
    fixture.add(&Made::new("a", 11, 0.4));
    fixture.add(&Made { epochs: 9, ..Made::new("b", 11, 0.35) });
    let page = text(&fixture.render().1);
    assert!(page.contains("given from 5 to 9 epochs"));
    assert!(page.contains("The 2 runs of VGG-11 lie at 35.0–40.0 %, 37.5 % in the mean."));
}

#[test]
fn runs_of_one_network_are_told_apart_by_their_settings() {
    let fixture = Fixture::with_data();
    let default = Made::new("a", 11, 0.4);
    fixture.add(&default);
    let tag = |page: &str, tag: &str| page.matches(&format!("<span class=\"tag\">{tag}</span>")).count();
    assert!(text(&fixture.render().1).contains("This run: 5 epochs, patience 3, seed 7."), "nobody to be told from");
    let recipe = Recipe {
        learning_rate: 0.1,
        batch_size: 128,
        optimizer: Optimizer::sgd(0.9, 5e-4),
        augment: Augment::Crop,
        schedule: Schedule::Cosine,
        label_smoothing: 0.1,
        precision: Precision::F16,
        ..default.recipe.clone()
    };
    let network = Network { dropout: 0.5, ..default.network.clone() };
    fixture.add(&Made { recipe, network, ..Made::new("b", 11, 0.35) });
    let (_, both) = fixture.render();
    for told in [
        "dropout 0.5",
        "batch 128",
        "lr 0.1",
        "sgd",
        "momentum 0.9",
        "weight decay 0.0005",
        "crop",
        "cosine",
        "label smoothing 0.1",
        "f16",
    ] {
        assert_eq!(tag(&both, told), tag(&both, "dropout 0.5"), "{told} of one of two runs");
        assert!(tag(&both, told) > 0, "{told} of one of two runs");
    }
    assert_eq!(tag(&both, "seed 7"), 0, "what both have tells nobody apart");
    assert!(text(&both).contains("All runs here: 5 epochs, patience 3, seed 7."));
}

#[test]
fn a_run_that_differs_in_much_is_told_by_its_recipe() {
    let fixture = Fixture::with_data();
    let default = Made::new("a", 11, 0.4);
    fixture.add(&default);
    let record = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("records/2026-11-28-tiny-imagenet-cpu/vgg11");
    let record = Run::load(&record).expect("the record");
    let network = Network { head: record.network.head, ..default.network.clone() };
    fixture.add(&Made { recipe: record.training, network, epochs: 9, ..Made::new("b", 11, 0.35) });
    let (_, page) = fixture.render();
    let tag = |tag: &str| page.matches(&format!("<span class=\"tag\">{tag}</span>")).count();
    assert!(tag("recipe cpu") > 0 && tag("9 epochs") == tag("recipe cpu"), "its name, and what is not in it");
    assert_eq!((tag("crop"), tag("Nesterov")), (0, 0), "what the name says");
    assert!(text(&page).contains("Recipe NAME stands for all that vggkit train --recipe NAME sets"));
}

#[test]
fn drawn_images_alone_are_said_to_be_drawn_and_stand_beside_nothing() {
    let fixture = Fixture::with_data();
    fixture.add(&Made { synthetic: true, ..Made::new("drawn", 19, 0.95) });
    let page = text(&fixture.render().1);
    assert!(page.contains("Every run here trained on synthetic data") && page.contains("of the synthetic demo set"));
    assert!(
        !page.contains("replaced PyTorch project's VGG-19") && !page.contains("the replaced PyTorch project about")
    );
}

#[test]
fn predictions_of_other_images_are_not_shown() {
    let fixture = full();
    let path = fixture.path().join("predictions.csv");
    let table = fs::read_to_string(&path).expect("predictions").replace("test_", "other_");
    fs::write(&path, table).expect("predictions");
    let (report, page) = fixture.render();
    assert_eq!(report.problems.len(), 1);
    assert!(report.problems[0].what.contains("0 of the 40 test images"), "{:?}", report.problems);
    assert!(!text(&page).contains("agree"));
}
