//! A folder with a small data set, runs and predictions, written with the program's own types; names are as hostile as
//! a file system and a words.txt allow.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use vggkit::dataset::Identity;
use vggkit::dataset::finding::Group;
use vggkit::dataset::manifest::{self, Class, Manifest, Split};
use vggkit::dataset::pack::Pack;
use vggkit::dataset::pack_writer::{PackHeader, PackWriter};
use vggkit::dataset::verify::{self, Finding, Severity, Verification};
use vggkit::engine::{Device, Normalisation};
use vggkit::files;
use vggkit::inference::answers::{Answer, Answers};
use vggkit::inference::calibration::Calibration;
use vggkit::inference::evaluation::{self, ClassAccuracy, Evaluation, Mistake};
use vggkit::inference::fusion::{self, Fusion, Member};
use vggkit::inference::inside::{self, Attention, Inside};
use vggkit::inference::tta::Tta;
use vggkit::report::{self, Options, Report, Sources};
use vggkit::training::history::{self, Epoch};
use vggkit::training::run::{self, Data, Origin, Recipe, Run};
use vggkit::vgg::Network;

/// Class names that try to leave the text they stand in.
pub const CLASSES: [&str; 4] =
    ["<img src=x onerror=alert(1)>", "\"quoted\" & 'single'", "ünïcödé 𝔘 \u{202e}rtl", "{{ 7 * 7 }}</style>"];

/// A folder that vanishes with the test.
pub struct Fixture {
    folder: tempfile::TempDir,
    manifest_sha256: String,
}

/// What a run of the fixture is.
#[derive(Clone)]
pub struct Made {
    pub name: &'static str,
    pub network: Network,
    pub recipe: Recipe,
    /// Of the best epoch.
    pub val_top1: f64,
    pub epochs: usize,
    pub synthetic: bool,
    /// Which of a class's images are recognised: this many further on.
    pub shift: usize,
}

impl Made {
    pub fn new(name: &'static str, depth: usize, val_top1: f64) -> Self {
        let network = Network { depth, classes: CLASSES.len(), ..Network::default() };
        Self {
            name,
            network,
            recipe: Recipe { patience: 3, seed: 7, ..Recipe::default() },
            val_top1,
            epochs: 5,
            synthetic: false,
            shift: 0,
        }
    }
}

impl Fixture {
    /// A data set of 4 classes, 40 images a split, and nothing else.
    pub fn with_data() -> Self {
        let mut fixture = Self { folder: tempfile::tempdir().expect("a folder"), manifest_sha256: String::new() };
        let splits = ["train", "val", "test"].map(|split| (split.to_owned(), fixture.write_pack(split)));
        let wnids = wnids();
        let manifest = Manifest {
            schema: manifest::SCHEMA.into(),
            vggkit: "0.1.0".into(),
            created: "2026-01-02T03:04:05Z".into(),
            classes: wnids.into_iter().zip(CLASSES).map(|(wnid, name)| Class { wnid, name: name.into() }).collect(),
            height: 8,
            width: 8,
            mean: [0.5, 0.4, 0.3],
            std: [0.25; 3],
            splits: BTreeMap::from(splits),
            ..Manifest::default()
        };
        let path = Manifest::path(&fixture.data());
        files::write_json(&path, &manifest).expect("manifest");
        fixture.manifest_sha256 = files::sha256(&path).expect("hash");
        fixture
    }

    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), manifest_sha256: String::new() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub fn run(&self, name: &str) -> PathBuf {
        self.path().join("runs").join(name)
    }

    fn write_pack(&self, split: &str) -> Split {
        let count = 40;
        let labelled = split != "test";
        let header = PackHeader {
            split: split.into(),
            synthetic: false,
            height: 8,
            width: 8,
            wnids: wnids(),
            names: CLASSES.map(str::to_owned).to_vec(),
            files: (0..count).map(|i| format!("{split}_{i}<b>.JPEG")).collect(),
            labels: labelled.then(|| (0..count).map(|i| (i / 10) as i64).collect()),
            boxes: None,
        };
        let writer = PackWriter::create(&Pack::path_of(&self.data(), split), &header).expect("a pack");
        let pixels: Vec<u8> = (0..count * writer.image_bytes()).map(|i| (i * 31 % 251) as u8).collect();
        writer.write(0, &pixels).expect("pixels");
        let pack_sha256 = writer.finish(Normalisation::default()).expect("a pack");
        Split { images: count, labelled, pack: format!("packs/{split}.safetensors"), pack_sha256, ..Split::default() }
    }

    /// Writes run.toml, history.jsonl, evaluation.json, evaluation.csv and inside.json.
    pub fn add(&self, made: &Made) {
        let folder = self.run(made.name);
        fs::create_dir_all(&folder).expect("a run folder");
        let settings = Run {
            schema: run::SCHEMA.into(),
            network: made.network.clone(),
            training: Recipe { epochs: made.epochs, ..made.recipe.clone() },
            data: Data {
                folder: "data".into(),
                train: "train".into(),
                val: "val".into(),
                content_sha256: String::new(),
                manifest_sha256: if made.synthetic { "ab".repeat(32) } else { self.manifest_sha256.clone() },
                synthetic: made.synthetic,
                own_images: false,
            },
            changes: Vec::new(),
            origin: Origin {
                command: format!("vggkit train --run '{}' && echo \"<b>\"", made.name),
                version: "0.1.0".into(),
                commit: "0123abc".into(),
                device: Device {
                    engine: "cpu".into(),
                    adapter: "<i>Xeon".into(),
                    driver: "avx512f".into(),
                    threads: 2,
                },
                started: "2026-01-02T04:00:00Z".into(),
                finished: "2026-01-02T05:00:00Z".into(),
                stopped_by: "early stopping".into(),
                best_sha256: "cafe".repeat(16),
                ..Origin::default()
            },
        };
        files::write_toml(&Run::path(&folder), &settings).expect("run.toml");
        for epoch in 1..=made.epochs {
            files::append_json_line(&history::path(&folder), &epoch_of(made, epoch)).expect("history");
        }
        let evaluation = evaluation_of(made);
        files::write_json(&evaluation::path(&folder, "val", None), &evaluation).expect("evaluation");
        answers_of(made.shift).write(&Answers::path(&folder, "val")).expect("answers");
        inside_of(made).write(&Inside::path(&folder)).expect("inside");
    }

    /// verify.json with an error about more files than it lists.
    pub fn verify(&self) {
        let finding = |severity, message: &str, count| Finding {
            severity,
            code: "x".into(),
            message: message.into(),
            count,
            files: (0..count.min(2)).map(|i| format!("val/<u>{i}.JPEG")).collect(),
            groups: Vec::new(),
        };
        let verification = Verification {
            schema: verify::SCHEMA.into(),
            created: "2026-01-02T03:30:00Z".into(),
            findings: vec![
                finding(Severity::Error, "7 files <b>differ</b>", 7),
                Finding {
                    groups: vec![
                        Group {
                            distance: None,
                            same_bytes: true,
                            files: vec![
                                "train/n00000001/train_12<b>.JPEG".into(),
                                "val/n00000000/val_3<b>.JPEG".into(),
                            ],
                        },
                        Group {
                            distance: Some(5),
                            same_bytes: false,
                            files: vec!["test/images/test_7<b>.JPEG".into(), "val/n00000000/gone<u>.JPEG".into()],
                        },
                    ],
                    ..finding(Severity::Warning, "2 groups across <i>splits</i>", 0)
                },
                finding(Severity::Note, "a part: 4 classes", 0),
            ],
            ..Verification::default()
        };
        files::write_json(&Verification::path(&self.data()), &verification).expect("verify.json");
    }

    /// The run's evaluation in averaged views.
    pub fn average(&self, name: &str, tta: Tta, top1: f64) {
        let plain: Evaluation = files::read_json(&evaluation::path(&self.run(name), "val", None)).expect("evaluation");
        let averaged = Evaluation { tta: Some(tta), top1, ..plain };
        files::write_json(&evaluation::path(&self.run(name), "val", Some(tta)), &averaged).expect("evaluation");
    }

    /// Runs fused, the k-th of which reaches .4 + k / 10 alone. Its file.
    pub fn fuse(&self, runs: &[&str], tta: Option<Tta>, top1: f64) -> PathBuf {
        let plain: Evaluation =
            files::read_json(&evaluation::path(&self.run(runs[0]), "val", None)).expect("evaluation");
        let member = |(k, run): (usize, &&str)| Member {
            run: (*run).into(),
            weights_digest: String::new(),
            top1: 0.4 + k as f64 / 10.0,
        };
        let fusion = Fusion {
            schema: fusion::SCHEMA.into(),
            content_sha256: Identity::of(&self.data()).expect("data").1.content_sha256,
            runs: runs.iter().enumerate().map(member).collect(),
            evaluation: Evaluation { tta, top1, ..plain },
        };
        let path = fusion.path(&self.path().join("runs"));
        files::write_json(&path, &fusion).expect("fusion");
        path
    }

    /// predictions.csv: run k says class (image + k) % 4, so the vote is that of the first.
    pub fn predict(&self, runs: &[&str]) {
        let mut writer = csv::Writer::from_path(self.path().join("predictions.csv")).expect("predictions");
        let tail = vggkit::inference::predictions::COLUMNS;
        writer.write_record(["image"].iter().chain(runs).chain(&tail)).expect("header");
        for image in 0..40 {
            let class = image % 4;
            let mut row = vec![format!("test_{image}<b>.JPEG")];
            row.extend((0..runs.len()).map(|k| ((image + k) % 4).to_string()));
            row.extend([class.to_string(), wnids()[class].clone(), CLASSES[class].into()]);
            row.extend([class.to_string(), wnids()[class].clone(), format!("0.{}", 40 + image)]);
            writer.write_record(&row).expect("row");
        }
        writer.flush().expect("predictions");
    }

    /// Renders and reads the page.
    pub fn render(&self) -> (Report, String) {
        self.render_as(Options::default())
    }

    pub fn render_as(&self, options: Options) -> (Report, String) {
        let report = self.try_render(options).expect("a page");
        let html = fs::read_to_string(&report.page).expect("the page");
        (report, html)
    }

    pub fn try_render(&self, options: Options) -> vggkit::error::Result<Report> {
        let sources = Sources {
            runs: self.path().join("runs"),
            data: self.data(),
            predictions: self.path().join("predictions.csv"),
        };
        report::render(&sources, &self.path().join("site"), options)
    }
}

fn wnids() -> Vec<String> {
    (0..CLASSES.len()).map(|i| format!("n0000000{i}")).collect()
}

/// The best epoch is the third: loss falls to it and rises after it.
fn epoch_of(made: &Made, epoch: usize) -> Epoch {
    let off = epoch.abs_diff(3) as f64;
    Epoch {
        epoch,
        step: epoch as u64 * 10,
        lr: 0.001,
        train_loss: 2.0 / epoch as f64,
        train_top1: 0.1 * epoch as f64,
        val_loss: 1.25 + 0.1 * off,
        val_top1: made.val_top1 - 0.01 * off,
        val_top5: 0.875,
        held_out: None,
        seconds: 60.0,
        images_per_s: 40.0 + epoch as f64,
        time: "2026-01-02T04:10:00Z".into(),
    }
}

/// Images of each class that are recognised; the others are taken for the next class.
const RIGHT: [usize; 4] = [10, 8, 2, 1];

/// The k-th image of a class is recognised where (k + shift) % 10 is below what [`RIGHT`] says.
fn answers_of(shift: usize) -> Answers {
    let answer = |i: usize| {
        let (truth, k) = (i / 10, i % 10);
        let right = (k + shift) % 10 < RIGHT[truth];
        let predicted = if right { truth } else { (truth + 1) % 4 };
        let probability = 0.3 + 0.01 * i as f32;
        let truth_probability = if right { probability } else { 0.1 };
        Answer { truth: truth as u32, predicted: predicted as u32, probability, truth_probability }
    };
    Answers { files: (0..40).map(|i| format!("val_{i}<b>.JPEG")).collect(), rows: (0..40).map(answer).collect() }
}

/// Of [`answers_of`].
fn calibration_of(shift: usize) -> Calibration {
    let answers = answers_of(shift);
    Calibration::of(answers.rows.iter().map(|answer| (f64::from(answer.probability), answer.right())))
}

/// Two filters, and maps of two images; the second has nothing to say.
fn inside_of(made: &Made) -> Inside {
    let look = |file: &str, truth, predicted, map: [u8; 4]| Attention {
        file: file.into(),
        truth,
        predicted,
        probability: 0.625,
        truth_probability: 0.125,
        height: 2,
        width: 2,
        map: map.to_vec(),
    };
    Inside {
        schema: inside::SCHEMA.into(),
        split: "val".into(),
        kernel: 3,
        filters: vec![vec![0.5; 27], (0..27).map(|i| i as f32 - made.network.depth as f32).collect()],
        attention: vec![look("val_5<b>.JPEG", 0, 0, [255, 0, 0, 0]), look("val_25<b>.JPEG", 2, 3, [0; 4])],
    }
}

fn evaluation_of(made: &Made) -> Evaluation {
    let right = RIGHT.map(|n| n as u32);
    let confusion = (0..4).map(|t| {
        (0..4)
            .map(|p| {
                if t == p {
                    right[t]
                } else if p == (t + 1) % 4 {
                    10 - right[t]
                } else {
                    0
                }
            })
            .collect()
    });
    Evaluation {
        schema: evaluation::SCHEMA.into(),
        weights_digest: String::new(),
        split: "val".into(),
        tta: None,
        images: 40,
        loss: 1.25,
        top1: made.val_top1,
        top5: 0.875,
        calibration: Some(calibration_of(made.shift)),
        per_class: wnids()
            .into_iter()
            .zip(CLASSES)
            .zip(right)
            .map(|((wnid, name), right)| ClassAccuracy {
                wnid,
                name: name.into(),
                images: 10,
                top1: f64::from(right) / 10.0,
            })
            .collect(),
        confusion: confusion.collect(),
        mistakes: (0..19)
            .map(|i| Mistake {
                file: format!("val_{}<b>.JPEG", i + 12),
                truth: 1,
                predicted: 2,
                probability: 0.99 - f64::from(i) * 0.01,
            })
            .collect(),
    }
}
