//! The pages that are looked at: rendered from data sets and runs of the program's own types.

use std::fs;
use std::path::{Path, PathBuf};

use vggkit::files;
use vggkit::inference::answers::{Answer, Answers};
use vggkit::inference::calibration::Calibration;
use vggkit::inference::evaluation::{self, ClassAccuracy, Evaluation};
use vggkit::inference::tta::Tta;
use vggkit::vgg::Network;

use super::fixture::{Fixture, Made};

/// A rendered page, and what it was rendered from; both vanish with it.
pub struct Rendered {
    pub name: &'static str,
    pub file: PathBuf,
    pub fixture: Fixture,
}

/// A name as long as a folder's may be, with no place to break it.
const LONG: &str = match std::str::from_utf8(&[b'W'; 255]) {
    Ok(name) => name,
    Err(_) => panic!("ASCII"),
};

/// Names of runs that try to leave their text, run, turn what follows around, and be read as a template; and long ones.
pub const HOSTILE: [&str; 8] = [
    "<script>alert(1)<x>",
    "a\" onload='alert(2)' autofocus onfocus=alert(3) b=\"",
    "javascript:alert(4)",
    "{{ 7 * 7 }}{% include 'page.html' %}{# #}",
    "--><!--]]>&lt;b&gt;&amp;#60;",
    "\u{202e}gnp.exe\u{2066}\u{200f}",
    "räksmörgås 💥 ' \" ` \\ %00 #fragment?query",
    LONG,
];

/// Every kind of page.
pub fn all() -> Vec<Rendered> {
    vec![hostile(), large(), single(), bare(), empty()]
}

/// Eight runs of hostile names, all that a data set can have, and things that could not be used.
pub fn hostile() -> Rendered {
    let fixture = Fixture::with_data();
    for (i, name) in HOSTILE.into_iter().enumerate() {
        fixture.add(&Made::new(name, [11, 13, 16, 19][i % 4], 0.2 + 0.05 * i as f64));
    }
    fixture.predict(&HOSTILE);
    fixture.verify();
    fs::create_dir_all(fixture.run("<img src=x onerror=alert(9)>")).expect("a folder that is not a run");
    fs::create_dir_all(fixture.run(&"M".repeat(255))).expect("a folder that is not a run");
    rendered("hostile", fixture)
}

/// The five networks of the replaced project on 200 classes.
pub fn large() -> Rendered {
    let fixture = Fixture::with_data();
    for (name, depth, conv1x1, top1) in [
        ("vgg11", 11, false, 0.407),
        ("vgg13", 13, false, 0.417),
        ("vgg16", 16, false, 0.394),
        ("vgg16c", 16, true, 0.386),
        ("vgg19", 19, false, 0.376),
    ] {
        let network = Network { depth, conv1x1, classes: 200, ..Network::default() };
        fixture.add(&Made { network, epochs: 9, ..Made::new(name, depth, top1) });
        let path = evaluation::path(&fixture.run(name), "val", None);
        let mut evaluation: Evaluation = files::read_json(&path).expect("evaluation");
        evaluation.per_class = (0..200).map(class).collect();
        evaluation.confusion = (0..200).map(|t| (0..200).map(|p| confused(t, p)).collect()).collect();
        evaluation.images = 200 * 50;
        evaluation.calibration = Some(calibration(top1));
        files::write_json(&path, &evaluation).expect("evaluation");
        answers().write(&Answers::path(&fixture.run(name), "val")).expect("answers");
    }
    let all = ["vgg11", "vgg13", "vgg16", "vgg16c", "vgg19"];
    fixture.average("vgg13", Tta::Flip, 0.424);
    fixture.average("vgg13", Tta::Dense, 0.431);
    fixture.fuse(&all, Some(Tta::Flip), 0.467);
    fixture.predict(&all);
    rendered("large", fixture)
}

/// The first page that most people see: one run, evaluated and predicted with.
pub fn single() -> Rendered {
    let fixture = Fixture::with_data();
    fixture.add(&Made::new("vgg11", 11, 0.4));
    fixture.predict(&["vgg11"]);
    rendered("single", fixture)
}

/// Networks of few channels, as the demo has them, whose pictures are thin.
pub fn thin() -> Rendered {
    let fixture = Fixture::with_data();
    for (name, depth, width) in [("demo-vgg11", 11, 0.05), ("demo-vgg19", 19, 0.25)] {
        let made = Made::new(name, depth, 0.4);
        let network = Network { width, ..made.network.clone() };
        fixture.add(&Made { network, synthetic: true, ..made });
    }
    rendered("thin", fixture)
}

/// A data set and no run.
pub fn bare() -> Rendered {
    rendered("bare", Fixture::with_data())
}

/// Nothing at all.
pub fn empty() -> Rendered {
    rendered("empty", Fixture::empty())
}

fn rendered(name: &'static str, fixture: Fixture) -> Rendered {
    let (report, _) = fixture.render();
    Rendered { name, file: Path::new(&report.page).to_owned(), fixture }
}

fn class(i: usize) -> ClassAccuracy {
    ClassAccuracy {
        wnid: format!("n{:08}", 1_000_000 + i),
        name: format!("class {i}"),
        images: 50,
        top1: confused(i, i) as f64 / 50.0,
    }
}

/// The answers that [`confused`] counts.
fn answers() -> Answers {
    let counted = |(t, p): (usize, usize)| std::iter::repeat_n((t as u32, p as u32), confused(t, p) as usize);
    let pairs = (0..200).flat_map(|t| (0..200).map(move |p| (t, p))).flat_map(counted);
    let answer = |(truth, predicted)| Answer { truth, predicted, probability: 0.5, truth_probability: 0.25 };
    let rows: Vec<Answer> = pairs.map(answer).collect();
    Answers { files: (0..rows.len()).map(|i| format!("val_{i}<b>.JPEG")).collect(), rows }
}

/// Ten thousand confidences, most of them high, that are right less often than they say.
fn calibration(top1: f64) -> Calibration {
    let confidence = |i: usize| 1.0 - 0.97 * (i as f64 / 10_000.0).powi(3);
    Calibration::of((0..10_000).map(|i| (confidence(i), 1e4 * top1 * confidence(i) > ((i * 7919) % 10_000) as f64)))
}

/// Every true class has 50 images: most are hits, the rest is taken for two others.
fn confused(truth: usize, predicted: usize) -> u32 {
    let hits = 10 + truth * 7 % 31;
    let first = (50 - hits) * 2 / 3;
    let count = match (predicted + 200 - truth) % 200 {
        0 => hits,
        7 => first,
        93 => 50 - hits - first,
        _ => 0,
    };
    u32::try_from(count).expect("at most 50")
}
