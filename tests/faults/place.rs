//! A folder with data, a run, its evaluation, predictions and a page, all tiny, and what has to be true of it at any moment.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use prost::Message;
use tempfile::TempDir;
use vggkit::dataset::{Manifest, Pack};
use vggkit::export::onnx::messages::Model;
use vggkit::files;
use vggkit::training::checkpoint;
use vggkit::training::history::Epoch;
use vggkit::training::run::Run;
use vggkit::vgg::weights;

/// Of a run that trains for a moment.
pub const TINY: [&str; 10] =
    ["--width", "0.05", "-i", "32", "-b", "8", "-e", "2", "--log-steps", "--tensorboard-histograms"];

/// One of the commands on a place.
pub type Words = &'static [&'static str];

/// What is tried: a name, the command, and what is typed again when it has failed.
pub const COMMANDS: [(&str, Words, Words); 10] = [
    ("prepare", PREPARE_OTHER, PREPARE_OTHER),
    ("prepare --force", &["prepare", "--demo", "--classes", "2", "--per-class", "6", "--force"], PREPARE),
    ("train", &["train", "--run", "demo-b"], &["train", "--run", "demo-b"]),
    ("train --resume", RESUME, RESUME),
    ("evaluate", &["evaluate", "demo-a"], &["evaluate", "demo-a"]),
    ("predict", &["predict"], &["predict"]),
    ("predict --features", FEATURES, FEATURES),
    ("export", &["export", "demo-a"], &["export", "demo-a"]),
    ("export --format torch", EXPORT_TORCH, EXPORT_TORCH),
    ("report", &["report", "--split-assets"], &["report", "--split-assets"]),
];
const PREPARE: Words = &["prepare", "--demo", "--classes", "2", "--per-class", "6"];
const PREPARE_OTHER: Words = &["prepare", "--demo", "--classes", "2", "--per-class", "5"];
const FEATURES: Words = &["predict", "demo-a", "--features", "features.safetensors"];
const EXPORT_TORCH: Words = &["export", "demo-a", "--format", "torch"];
const RESUME: Words = &["train", "--resume", "demo-a", "-e", "4", "-es", "0", "--checkpoint-every", "1"];

/// Such a folder.
pub struct Place(pub TempDir);

impl Place {
    /// With everything in it.
    pub fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        for words in [PREPARE, &["train", "--run", "demo-a"], &["evaluate", "demo-a"], &["predict"], &["report"]] {
            place.ok(words);
        }
        place
    }

    /// The same in another folder.
    pub fn copy(&self) -> Self {
        let copy = Self(tempfile::tempdir().expect("a folder"));
        copy_folder(self.path(), copy.path());
        copy
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn runs(&self) -> PathBuf {
        self.path().join("runs")
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("data/demo")
    }

    /// The binary in this folder, with the flags that make it quick.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
        command.args(words).args(["--quiet", "--engine", "cpu", "--threads", "1"]).current_dir(self.path());
        if words[0] != "prepare" && !words.contains(&"--resume") {
            command.args(["--data", "data/demo"]);
        }
        if words[0] == "train" && !words.contains(&"--resume") {
            command.args(TINY);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.env_remove("VGGKIT_FAULT").env("VGGKIT_CACHE", self.path().join("cache"));
        command
    }

    /// Runs a command that must succeed.
    pub fn ok(&self, words: &[&str]) {
        let output = self.command(words).output().expect("it runs");
        assert!(output.status.success(), "{words:?} in {}: {}", self.path().display(), told(&output));
    }

    /// Every file that a command has promised to keep whole: loads, and belongs to what lies beside it.
    pub fn check(&self) {
        self.check_data();
        for run in fs::read_dir(self.runs()).expect("runs").map(|entry| entry.expect("an entry").path()) {
            if Run::path(&run).exists() {
                check_run(&run);
            }
        }
        let predictions = fs::read_to_string(self.path().join("predictions.csv")).expect("predictions");
        let columns: BTreeSet<usize> = predictions.lines().map(|line| line.split(',').count()).collect();
        assert!(predictions.ends_with('\n') && predictions.lines().count() > 1 && columns.len() == 1, "{predictions}");
        let page = fs::read_to_string(self.path().join("site/index.html")).expect("a page");
        assert!(page.trim_end().ends_with("</html>"), "half a page");
        for link in page.split('"').filter(|text| text.starts_with("index_files/")) {
            assert!(self.path().join("site").join(link).exists(), "the page names {link}, which is not there");
        }
    }

    /// A manifest vouches for the packs beside it; where there is none, a change was decided, which the next `prepare` completes.
    fn check_data(&self) {
        let data = self.data();
        if !Manifest::path(&data).exists() {
            assert!(data.join("manifest.partial.json").exists(), "neither the old data nor the new");
            return;
        }
        for (name, split) in Manifest::load(&data).expect("a manifest").splits {
            let pack = Pack::open(&data, &name).expect("a pack");
            assert_eq!(
                (pack.images.count, files::sha256(&pack.path).expect("read")),
                (split.images, split.pack_sha256)
            );
        }
    }
}

/// A run that can go on, evaluate and be shown.
fn check_run(run: &Path) {
    let settings = Run::load(run).expect("run.toml");
    let plan = settings.network.plan().expect("a network");
    let last = checkpoint::load(&checkpoint::last_path(run), &plan, Some(&settings.training.optimizer)).expect("last");
    let log = run.join("history.jsonl");
    let history: Vec<Epoch> = if log.exists() { files::read_json_lines(&log).expect("a history") } else { Vec::new() };
    // The line of an epoch comes after its network and ahead of its checkpoint.
    let done = last.progress.epoch - 1;
    assert!(history.len() == done || history.len() == done + 1, "{done} epochs and {} lines", history.len());
    if !history.is_empty() {
        checkpoint::load(&checkpoint::best_path(run), &plan, None).expect("best");
    }
    let table = run.join("history.csv");
    if table.exists() {
        let rows =
            csv::Reader::from_path(&table).expect("a table").records().inspect(|row| assert!(row.is_ok())).count();
        assert!(rows == history.len() || rows + 1 == history.len(), "{rows} rows and {} lines", history.len());
    }
    for json in ["evaluation.json", "inside.json"].map(|name| run.join(name)) {
        if json.exists() {
            files::read_json::<serde_json::Value>(&json).expect("whole");
        }
    }
    let [graph, exported] = ["network.onnx", "torch/weights.safetensors"].map(|name| run.join(name));
    if graph.exists() {
        Model::decode(&fs::read(&graph).expect("read")[..]).expect("a whole graph");
    }
    if exported.exists() {
        weights::load(&exported, &plan).expect("whole weights");
    }
}

/// What a command said on standard error.
pub fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}
