//! `vggkit predict`: predictions.csv for the test images; the likeliest classes of any image files, as text, JSON or a table; or
//! the features of either.

mod image_files;

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use super::arguments::shared::Shared;
use super::arguments::values;
use super::output;
use crate::dataset::{Pack, decode};
use crate::error::{Error, Result};
use crate::files;
use crate::inference::evaluation::check_classes;
use crate::inference::features::{Extractor, Features};
use crate::inference::model::{self, Model};
use crate::inference::predictions::{Predictions, ranked};
use crate::inference::tta::Tta;
use crate::progress;
use crate::training::checkpoint::Classes;
use image_files::{Listed, Pace};

/// Predict the test images with all runs and their vote, or any image file
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vggkit predict                           all runs on the test images -> predictions.csv
  vggkit predict vgg11 vgg16c              these two and their vote
  vggkit predict --tta flip                each image and its mirror image averaged
  vggkit predict --image cat.jpg dog.png   the five likeliest classes of each file
  vggkit predict --image photos/ --json    of every file in a folder, as JSON lines
  vggkit predict --image photos/ --top 3 --csv photos.csv
                                           as a table: a row an image, its three likeliest classes
  find . -name '*.jpg' -print0 | vggkit predict --files-from -
                                           of the files that another program names
  curl -s URL | vggkit predict --image -   of the image that another program sends
  vggkit predict vgg11 --split train --features train.safetensors
                                           what the last layer is given, and its logits, in place of predictions

Image files are turned as their EXIF orientation says, what is transparent is seen over white, and of an animation the
first picture is taken. A file that cannot be used is named, all others are predicted, and the exit code is 1.")]
pub struct Arguments {
    /// Names or folders of runs; without one, every run that was trained on this data
    #[arg(value_name = "RUN")]
    runs_given: Vec<PathBuf>,
    /// Image files instead of the test split: JPEG, PNG, WebP, GIF or BMP; cropped to a centred square. A folder stands
    /// for all files in it and in the folders below it, but those with names like .hidden, and `-` for an image on standard
    /// input
    #[arg(long, value_name = "FILE", num_args = 1.., group = "files")]
    image: Vec<PathBuf>,
    /// The same of the files and folders whose paths FILE lists, a line each or each ended by NUL (find -print0); `-` reads
    /// the list from standard input
    #[arg(long, value_name = "FILE", group = "files", conflicts_with = "image")]
    files_from: Option<PathBuf>,
    /// How many classes of an image file are told, the likeliest first [default: 5]
    #[arg(long, value_name = "K", value_parser = values::whole(NonZeroUsize::MIN), allow_negative_numbers = true,
          requires = "files")]
    top: Option<NonZeroUsize>,
    /// Write a table: a row an image file with index, wnid, name and probability of each of its classes; `-` prints it
    #[arg(long, value_name = "FILE", requires = "files", conflicts_with = "json")]
    csv: Option<PathBuf>,
    /// Write features instead of predictions, of one run: what the last linear layer is given for each image, and its logits,
    /// as a safetensors file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["top", "csv", "out", "tta"])]
    features: Option<PathBuf>,
    /// Split whose images are predicted
    #[arg(long, value_name = "SPLIT", default_value = "test", conflicts_with = "files")]
    split: String,
    /// Where the predictions go
    #[arg(long, value_name = "FILE", default_value = "predictions.csv", conflicts_with = "files")]
    out: PathBuf,
    /// Average the softmax over several views of each image: flip, multi, dense or crops, as `vggkit evaluate --tta` has them
    #[arg(long, value_name = "VIEWS")]
    tta: Option<Tta>,
    #[command(flatten)]
    shared: Shared,
}

impl Arguments {
    /// Whether image files are asked about, and not a split.
    fn of_files(&self) -> bool {
        !self.image.is_empty() || self.files_from.is_some()
    }

    /// Those files.
    fn files(&self) -> Result<Vec<Listed>> {
        let from_list = self.files_from.as_deref().map(image_files::paths_in).transpose()?.unwrap_or_default();
        Ok(self.image.iter().chain(&from_list).flat_map(|given| image_files::listed(given)).collect())
    }

    /// How many are read at a time for `models`.
    fn pace(&self, models: &[Model]) -> Pace {
        let batch = models.iter().map(Model::batch_size).max().unwrap_or(1);
        Pace { threads: self.shared.threads(), batch }
    }
}

/// `--json` of `predict --image`: one object a file, with `error` where it could not be predicted.
#[derive(Serialize)]
struct FilePrediction<'a> {
    schema: &'static str,
    file: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<&'static str>,
    top: Vec<Guess<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Guess<'a> {
    class: usize,
    wnid: &'a str,
    name: &'a str,
    probability: f64,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let shared = &arguments.shared;
    let folders = model::choose(&shared.runs, &arguments.runs_given, shared.data())?;
    if !shared.quiet {
        folders.left_out.iter().for_each(|note| output::note(note));
    }
    folders.damaged.iter().for_each(output::left_out);
    let mut models = Vec::new();
    for folder in &folders.chosen {
        models.extend(shared.open(folder, !arguments.runs_given.is_empty())?);
    }
    if models.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let mut complete = folders.damaged.is_empty() && models.len() == folders.chosen.len();
    if let Some(path) = &arguments.features {
        complete &= features(&arguments, &mut models, path)?;
    } else if arguments.of_files() {
        complete &= predict_files(&arguments, &mut models)?;
    } else {
        test_images(&arguments, &mut models)?;
    }
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn test_images(arguments: &Arguments, models: &mut [Model]) -> Result<()> {
    let shared = &arguments.shared;
    let pack = Pack::open(shared.data(), &arguments.split)?;
    let total = (pack.images.count * models.len()) as u64;
    let bar = progress::bar("predict", total, "images", shared.quiet || shared.json);
    let predictions = Predictions::of_pack(models, arguments.tta, &pack, |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    predictions.write(&arguments.out)?;
    let (images, out) = (predictions.files.len(), arguments.out.display());
    if shared.json {
        let summary = serde_json::json!({
            "schema": "vggkit/predict/1", "images": images, "models": predictions.models, "file": out.to_string(),
        });
        output::line(&summary.to_string());
    } else if !shared.quiet {
        output::line(&format!("{images} images predicted by {} -> {out}", predictions.models.join(", ")));
    }
    Ok(())
}

/// The likeliest classes by the probabilities of all.
fn guesses<'a>(classes: &'a Classes, top: usize, probabilities: &[f64]) -> Vec<Guess<'a>> {
    let guess = |class: usize| Guess {
        class,
        wnid: &classes.wnids[class],
        name: &classes.names[class],
        probability: probabilities[class],
    };
    ranked(probabilities).into_iter().take(top).map(guess).collect()
}

/// What is told of image files, and how.
struct Teller<'a> {
    arguments: &'a Arguments,
    /// What the classes are called.
    classes: Classes,
    /// Classes of an image that are told.
    top: usize,
    /// Who says it, for people.
    by: String,
    /// Rows of the table, where one is asked for.
    table: Option<csv::Writer<Vec<u8>>>,
    bar: ProgressBar,
    told: usize,
    failed: usize,
}

impl<'a> Teller<'a> {
    fn new(arguments: &'a Arguments, models: &[Model], files: usize) -> Result<Self> {
        let classes = models.first().map(|model| model.classes.clone()).unwrap_or_default();
        let top = arguments.top.map_or(5, NonZeroUsize::get).min(classes.wnids.len());
        let by = if models.len() == 1 { models[0].name.clone() } else { format!("mean of {} runs", models.len()) };
        // On a terminal what is printed shows how far it is.
        let quiet = arguments.shared.quiet || arguments.csv.as_deref().is_none_or(|path| path == Path::new("-"));
        let bar = progress::bar("predict", files as u64, "images", quiet);
        let mut teller = Self { arguments, classes, top, by, table: None, bar, told: 0, failed: 0 };
        if arguments.csv.is_some() {
            teller.table = Some(csv::Writer::from_writer(Vec::new()));
            let columns =
                (1..=top).flat_map(|k| ["class", "wnid", "name", "probability"].map(|name| format!("{name}{k}")));
            teller.row(std::iter::once("image".to_owned()).chain(columns).collect())?;
        }
        Ok(teller)
    }

    /// Adds a row to the table, which is printed at once where it does not go to a file.
    fn row(&mut self, cells: Vec<String>) -> Result<()> {
        let (Some(path), Some(table)) = (&self.arguments.csv, &mut self.table) else { return Ok(()) };
        table.write_record(cells).map_err(|e| Error::data(path, e))?;
        if path == Path::new("-") {
            let table = self.table.replace(csv::Writer::from_writer(Vec::new())).map(csv::Writer::into_inner);
            let bytes = table.transpose().map_err(|e| Error::data(path, e))?.unwrap_or_default();
            output::print(&String::from_utf8_lossy(&bytes));
        }
        Ok(())
    }

    /// Tells of a file: its probabilities and how it was seen, or why there are none.
    fn tell(&mut self, file: &Path, answer: Result<(Vec<f64>, Vec<&'static str>)>) -> Result<()> {
        self.bar.inc(1);
        let json = self.arguments.shared.json;
        let (probabilities, notes) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.failed += 1;
                self.bar.suspend(|| output::error(&error));
                return if json { print(file, Vec::new(), Vec::new(), Some(&error)) } else { Ok(()) };
            }
        };
        self.told += 1;
        let guesses = guesses(&self.classes, self.top, &probabilities);
        let name = file.display().to_string();
        if json {
            return print(file, notes, guesses, None);
        }
        if self.table.is_some() {
            let cells = guesses.iter().flat_map(|guess| {
                let probability = format!("{:.6}", guess.probability);
                [guess.class.to_string(), guess.wnid.to_owned(), guess.name.to_owned(), probability]
            });
            let cells = std::iter::once(name).chain(cells).collect();
            return self.row(cells);
        }
        let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
        output::line(&format!("{name}  ({}{notes})", self.by));
        for guess in guesses {
            output::line(&format!("  {:>5.1} %  {}  {}", 100.0 * guess.probability, guess.wnid, guess.name));
        }
        Ok(())
    }

    /// Writes the table, and says how many files are missing. Where all are, what is there stays.
    fn finish(self) -> Result<()> {
        self.bar.finish_and_clear();
        let Self { arguments, table, told, failed, by, .. } = self;
        tell_missing(failed, told + failed);
        if let (Some(path), Some(table), true) = (&arguments.csv, table, told > 0)
            && path != Path::new("-")
        {
            files::write_atomic(path, |file| {
                table.into_inner().map_err(io::Error::other).and_then(|t| file.write_all(&t))
            })?;
            if !arguments.shared.quiet {
                output::line(&format!("{told} images predicted by {by} -> {}", path.display()));
            }
        }
        Ok(())
    }
}

fn tell_missing(failed: usize, all: usize) {
    if failed > 0 {
        output::note(&format!("{failed} of {all} not predicted. {}", decode::READ));
    }
}

/// Predicts image files. Whether all of them could be.
fn predict_files(arguments: &Arguments, models: &mut [Model]) -> Result<bool> {
    let files = arguments.files()?;
    let (mut teller, pace) = (Teller::new(arguments, models, files.len())?, arguments.pace(models));
    let whole = image_files::each(
        files,
        pace,
        |images, names| Ok(Predictions::of(models, arguments.tta, images, names, |_| {})?.mean_softmax),
        |file, answer| teller.tell(file, answer),
    )?;
    teller.finish()?;
    Ok(whole)
}

/// Writes the features of image files or of a split. Whether all could be read.
fn features(arguments: &Arguments, models: &mut [Model], path: &Path) -> Result<bool> {
    let [model] = models else {
        let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
        return Err(Error::usage(format!("features are one network's, and {} are {}", names.join(", "), models.len()))
            .with_help("name one: `vggkit predict RUN --features FILE`"));
    };
    let quiet = arguments.shared.quiet || arguments.shared.json;
    let (mut features, mut extractor) = (Features::new(model)?, Extractor::new(model)?);
    let mut failed = 0;
    if arguments.of_files() {
        let files = arguments.files()?;
        let bar = progress::bar("features", files.len() as u64, "images", quiet);
        let ask = |images: &_, _: &[String]| extractor.rows(images, |_| {});
        image_files::each(files, arguments.pace(std::slice::from_ref(model)), ask, |file, answer| {
            bar.inc(1);
            match answer {
                Ok((row, _)) => features.push(file.display().to_string(), None, row),
                Err(error) => {
                    failed += 1;
                    bar.suspend(|| output::error(&error));
                }
            }
            Ok(())
        })?;
        bar.finish_and_clear();
    } else {
        let pack = Pack::open(arguments.shared.data(), &arguments.split)?;
        check_classes(model, &pack)?;
        let bar = progress::bar("features", pack.images.count as u64, "images", quiet);
        let rows = extractor.rows(&pack.images, |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        for (at, (name, row)) in pack.image_names().into_iter().zip(rows).enumerate() {
            features.push(name, pack.images.labels.get(at).copied(), row);
        }
    }
    let (images, width) = features.size();
    tell_missing(failed, images + failed);
    if images == 0 {
        return Ok(false); // what is there stays
    }
    features.write(path)?;
    if arguments.shared.json {
        let summary = serde_json::json!({
            "schema": "vggkit/predict/1", "images": images, "models": [model.name], "file": path.display().to_string(),
            "features": width,
        });
        output::line(&summary.to_string());
    } else if !arguments.shared.quiet {
        let (name, path) = (&model.name, path.display());
        output::line(&format!("{width} features of {images} images by {name} -> {path}"));
    }
    Ok(failed == 0)
}

/// A line of JSON.
fn print(file: &Path, notes: Vec<&'static str>, top: Vec<Guess<'_>>, error: Option<&Error>) -> Result<()> {
    let (schema, error) = ("vggkit/predict-image/1", error.map(Error::to_string));
    let object = FilePrediction { schema, file: file.display().to_string(), notes, top, error };
    output::line(&serde_json::to_string(&object).map_err(|e| Error::data(file, e))?);
    Ok(())
}
