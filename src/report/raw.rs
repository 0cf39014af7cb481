//! The figures behind the page as files beside it: tables over all runs, and each run's own files as they are.
//!
//! It makes no figure of its own; what a run lacks is left empty.

use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::inputs::Inputs;
use super::view::{Described, Runs};
use crate::error::{Error, Result};
use crate::files::{self, fs};
use crate::inference::answers::Answers;
use crate::inference::class_scores;
use crate::inference::evaluation::{self, Evaluation};
use crate::inference::inside::Inside;
use crate::training::history;
use crate::training::run::Run;

/// A file that lies beside the page.
#[derive(Clone, Debug, Serialize)]
pub struct RawFile {
    /// What to call it.
    pub name: String,
    /// Below `raw/`.
    pub path: String,
    /// Of its content, lower-case hexadecimal.
    pub sha256: String,
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

impl RawFile {
    /// Without its content.
    pub fn named(&self) -> Self {
        Self { bytes: Vec::new(), ..self.clone() }
    }
}

/// All of them.
pub struct RawFiles {
    /// `runs.csv`, `history.csv`, `classes.csv` and, where there are such, `predictions.csv` and what was fused.
    pub tables: Vec<RawFile>,
    /// By run, in the order of the page.
    pub by_run: Vec<Vec<RawFile>>,
}

impl RawFiles {
    /// Every file.
    pub fn into_files(self) -> impl Iterator<Item = RawFile> {
        self.tables.into_iter().chain(self.by_run.into_iter().flatten())
    }
}

/// A row of `runs.csv`: fractions in 0..1, seconds, images a second.
#[derive(Serialize)]
struct RunRow<'a> {
    run: &'a str,
    network: &'a str,
    configuration: &'a str,
    classes: usize,
    image_size: usize,
    width: f64,
    parameters: usize,
    macs: u64,
    epochs: usize,
    best_epoch: Option<usize>,
    train_top1: Option<f64>,
    train_loss: Option<f64>,
    val_top1: Option<f64>,
    val_top1_low: Option<f64>,
    val_top1_high: Option<f64>,
    val_top5: Option<f64>,
    val_loss: Option<f64>,
    val_images: Option<usize>,
    seconds: Option<f64>,
    images_per_s: Option<f64>,
    engine: &'a str,
    adapter: &'a str,
    stopped_by: &'a str,
    synthetic: bool,
    manifest_sha256: &'a str,
    content_sha256: &'a str,
}

/// A row of `classes.csv`: fractions in 0..1.
#[derive(Serialize)]
struct ClassRow<'a> {
    run: &'a str,
    class: usize,
    wnid: &'a str,
    name: &'a str,
    images: usize,
    precision: Option<f64>,
    recall: Option<f64>,
    f1: Option<f64>,
}

/// The first column of `history.csv`, ahead of those of a run's own.
#[derive(Serialize)]
struct OfRun<'a> {
    run: &'a str,
}

/// Collects the files. Errors: one that is still there can no longer be read.
pub fn collect(inputs: &Inputs, runs: &Runs) -> Result<RawFiles> {
    let mut tables = Vec::new();
    if runs.iter().next().is_some() {
        tables.push(table("runs.csv", runs.iter().map(run_row))?);
        let epochs = runs.iter().flat_map(|d| {
            let row = |epoch| (OfRun { run: &d.identity.name }, history::Row::from(epoch));
            d.run.history.iter().map(row)
        });
        tables.push(table("history.csv", epochs)?);
        let evaluated = runs.iter().filter_map(|d| Some((d, d.run.evaluation.as_ref()?)));
        let rows: Vec<_> = evaluated.flat_map(|(d, evaluation)| class_rows(&d.identity.name, evaluation)).collect();
        if !rows.is_empty() {
            tables.push(table("classes.csv", rows.into_iter())?);
        }
    }
    if inputs.predictions.is_some() {
        tables.extend(copy("predictions.csv", String::new(), &inputs.sources.predictions)?);
    }
    for fusion in &inputs.fusions {
        for path in [fusion.path.clone(), Answers::beside(&fusion.path)] {
            tables.extend(copy(&name_of(&path), String::new(), &path)?);
        }
    }
    let by_run = runs.iter().map(of_run).collect::<Result<_>>()?;
    Ok(RawFiles { tables, by_run })
}

fn of_run(d: &Described) -> Result<Vec<RawFile>> {
    let folder = &d.run.folder;
    let evaluations = d.run.evaluation.iter().chain(&d.run.train_evaluation).chain(&d.run.averaged);
    let mut paths: Vec<PathBuf> = vec![Run::path(folder)];
    paths.extend((!d.run.history.is_empty()).then(|| history::path(folder)));
    paths.extend(evaluations.map(|e| evaluation::path(folder, &e.split, e.tta)));
    paths.extend(d.run.answers.iter().map(|_| Answers::path(folder, &d.run.run.data.val)));
    paths.extend(d.run.averaged.iter().map(|e| Answers::beside(&evaluation::path(folder, &e.split, e.tta))));
    paths.extend(d.run.inside.iter().map(|_| Inside::path(folder)));
    let below = format!("{}/", d.identity.id);
    paths.iter().filter_map(|path| copy(&name_of(path), below.clone(), path).transpose()).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A file as it is; `None` where it is gone by now: a training that goes on takes the evaluation of older weights away.
fn copy(name: &str, below: String, path: &Path) -> Result<Option<RawFile>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(raw_file(name, below, bytes))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("cannot read", path, e)),
    }
}

fn raw_file(name: &str, below: String, bytes: Vec<u8>) -> RawFile {
    let sha256 = files::hex(&Sha256::digest(&bytes));
    RawFile { name: name.to_owned(), path: format!("{below}{name}"), sha256, bytes }
}

fn table<T: Serialize>(name: &str, rows: impl Iterator<Item = T>) -> Result<RawFile> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = rows.into_iter().try_for_each(|row| writer.serialize(row));
    written.map_err(|e| Error::data(name, e))?;
    let bytes = writer.into_inner().map_err(|e| Error::data(name, e))?;
    Ok(raw_file(name, String::new(), bytes))
}

fn run_row<'a>(d: &'a Described) -> RunRow<'a> {
    let (run, figures) = (&d.run.run, &d.figures);
    RunRow {
        run: &d.identity.name,
        network: &d.identity.network,
        configuration: d.identity.letter,
        classes: run.network.classes,
        image_size: run.network.image_size,
        width: run.network.width,
        parameters: d.run.plan.parameters(),
        macs: d.run.plan.macs(),
        epochs: figures.epochs,
        best_epoch: figures.best_epoch,
        train_top1: figures.train_top1,
        train_loss: figures.train_loss,
        val_top1: figures.val_top1,
        val_top1_low: figures.val_interval.map(|i| i.0),
        val_top1_high: figures.val_interval.map(|i| i.1),
        val_top5: figures.val_top5,
        val_loss: figures.val_loss,
        val_images: figures.val_images,
        seconds: figures.seconds,
        images_per_s: figures.images_per_s,
        engine: &run.origin.device.engine,
        adapter: &run.origin.device.adapter,
        stopped_by: &run.origin.stopped_by,
        synthetic: run.data.synthetic,
        manifest_sha256: &run.data.manifest_sha256,
        content_sha256: &run.data.content_sha256,
    }
}

fn class_rows<'a>(run: &'a str, evaluation: &'a Evaluation) -> impl Iterator<Item = ClassRow<'a>> {
    let scores = class_scores::scores(&evaluation.confusion).classes;
    evaluation.per_class.iter().zip(scores).enumerate().map(move |(class, (of, scores))| ClassRow {
        run,
        class,
        wnid: &of.wnid,
        name: &of.name,
        images: of.images,
        precision: scores.map(|s| s.precision),
        recall: scores.map(|s| s.recall),
        f1: scores.map(|s| s.f1),
    })
}

/// Whether a table over all runs may be called so.
pub fn is_table(name: &str) -> bool {
    let fused = |end| name.starts_with("fusion-") && name.ends_with(end);
    matches!(name, "runs.csv" | "history.csv" | "classes.csv" | "predictions.csv") || fused(".json") || fused(".csv")
}

/// Whether the folder of a run's own files may be called so: as the run's anchor on the page.
pub fn is_folder(name: &str) -> bool {
    name.starts_with("run-")
}

/// Whether one of a run's own files may be called so.
pub fn is_file(name: &str) -> bool {
    let evaluated = |end| name.starts_with("evaluation") && name.ends_with(end);
    matches!(name, "run.toml" | "history.jsonl" | "inside.json") || evaluated(".json") || evaluated(".csv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_went_away_is_left_out_and_one_that_cannot_be_read_is_named() -> Result<()> {
        let folder = tempfile::tempdir().map_err(|e| Error::io("cannot create", "a folder", e))?;
        assert!(copy("a", String::new(), &folder.path().join("gone"))?.is_none());
        let refused = copy("a", String::new(), folder.path()).expect_err("a folder is not a file");
        assert!(refused.to_string().starts_with("cannot read"), "{refused}");
        Ok(())
    }
}
