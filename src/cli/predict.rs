//! `vggkit predict`: predictions.csv for the test images, or the top-5 of any image files.
//!
//! A file that cannot be predicted is named and keeps no other from it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use walkdir::WalkDir;

use super::{Shared, output};
use crate::dataset::Pack;
use crate::dataset::decode::{self, Decoded};
use crate::engine::{Images, Pixels};
use crate::error::{Error, Result};
use crate::files::fs;
use crate::inference::model::{self, Model};
use crate::inference::predictions::Predictions;
use crate::inference::tta::Tta;
use crate::progress;

/// Predict the test images with all runs and their vote, or any image file
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vggkit predict                           all runs on the test images -> predictions.csv
  vggkit predict vgg11 vgg16c              these two and their vote
  vggkit predict --tta flip                each image and its mirror image averaged
  vggkit predict --image cat.jpg dog.png   the five likeliest classes of each file
  vggkit predict --image photos/ --json    of every file in a folder, as JSON lines
  curl -s URL | vggkit predict --image -   of what another program sends

Image files are turned as their EXIF orientation says, what is transparent is seen over white, and of an animation the
first picture is taken. A file that cannot be used is named, all others are predicted, and the exit code is 1.")]
pub struct Arguments {
    /// Names or folders of runs; without one, every run that was trained on this data
    #[arg(value_name = "RUN")]
    runs_given: Vec<PathBuf>,
    /// Image files instead of the test split: JPEG, PNG, WebP, GIF or BMP; cropped to a centred square. A folder stands
    /// for all files in it, and `-` for standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    image: Vec<PathBuf>,
    /// Split whose images are predicted
    #[arg(long, value_name = "SPLIT", default_value = "test", conflicts_with = "image")]
    split: String,
    /// Where the predictions go
    #[arg(long, value_name = "FILE", default_value = "predictions.csv", conflicts_with = "image")]
    out: PathBuf,
    /// Average the softmax over several views of each image: flip, multi, dense or crops, as `vggkit evaluate --tta` has them
    #[arg(long, value_name = "VIEWS")]
    tta: Option<Tta>,
    #[command(flatten)]
    shared: Shared,
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
    if arguments.image.is_empty() {
        test_images(&arguments, &mut models)?;
    } else {
        complete &= files(&arguments, &mut models)?;
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

/// Predicts each file by itself. Whether all of them could be: the error is a model's.
fn files(arguments: &Arguments, models: &mut [Model]) -> Result<bool> {
    let json = arguments.shared.json;
    let files: Vec<(PathBuf, Result<()>)> = arguments.image.iter().flat_map(|given| listed(given)).collect();
    let (all, mut failed) = (files.len(), 0);
    for (file, listed) in files {
        match listed.and_then(|()| read(&file)) {
            Ok(decoded) => predict(&file, decoded, models, arguments)?,
            Err(error) => {
                failed += 1;
                output::error(&error);
                if json {
                    print(&file, Vec::new(), Vec::new(), Some(&error))?;
                }
            }
        }
    }
    if failed > 0 {
        output::note(&format!("{failed} of {all} not predicted. {}", decode::READ));
    }
    Ok(failed == 0)
}

/// A file, or all files in a folder and the folders below it but those with names like `.hidden`, in the order of their
/// names; with each whether it could be listed.
fn listed(given: &Path) -> Vec<(PathBuf, Result<()>)> {
    if !given.is_dir() {
        return vec![(given.to_owned(), Ok(()))];
    }
    let hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    let walk = WalkDir::new(given).follow_links(true).sort_by_file_name();
    let mut files = Vec::new();
    for entry in walk.into_iter().filter_entry(|entry| entry.depth() == 0 || !hidden(entry.file_name())) {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {}
            Ok(entry) => files.push((entry.into_path(), Ok(()))),
            Err(e) => {
                let path = e.path().unwrap_or(given).to_owned();
                files.push((path.clone(), Err(Error::io("cannot read", path, e.into()))));
            }
        }
    }
    if files.is_empty() {
        files.push((given.to_owned(), Err(Error::data(given, "there is no file in this folder"))));
    }
    files
}

fn read(file: &Path) -> Result<Decoded> {
    if file == Path::new("-") {
        return decode::read(Path::new("standard input"), || Ok(Box::new(io::stdin().lock())));
    }
    let read = decode::read(file, || Ok(Box::new(fs::open(file)?)));
    let pattern = file.to_string_lossy().contains(['*', '?']) && !file.exists();
    read.map_err(|e| if pattern { e.or_help("no file has a name of this pattern") } else { e })
}

/// What all models say of an image, in text or as JSON.
fn predict(file: &Path, decoded: Decoded, models: &mut [Model], arguments: &Arguments) -> Result<()> {
    let name = file.display().to_string();
    let notes = decoded.adapted.words();
    let predictions = Predictions::of(models, arguments.tta, &square(decoded), std::slice::from_ref(&name), |_| {})?;
    let classes = &predictions.classes;
    let guess = |class: usize| Guess {
        class,
        wnid: &classes.wnids[class],
        name: &classes.names[class],
        probability: predictions.mean_softmax[0][class],
    };
    let top: Vec<Guess<'_>> = predictions.ranked(0).into_iter().take(5).map(guess).collect();
    if arguments.shared.json {
        return print(file, notes, top, None);
    }
    let by = if models.len() == 1 { models[0].name.clone() } else { format!("mean of {} runs", models.len()) };
    let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
    output::line(&format!("{name}  ({by}{notes})"));
    for guess in top {
        output::line(&format!("  {:>5.1} %  {}  {}", 100.0 * guess.probability, guess.wnid, guess.name));
    }
    Ok(())
}

/// A line of JSON.
fn print(file: &Path, notes: Vec<&'static str>, top: Vec<Guess<'_>>, error: Option<&Error>) -> Result<()> {
    let (schema, error) = ("vggkit/predict-image/1", error.map(Error::to_string));
    let object = FilePrediction { schema, file: file.display().to_string(), notes, top, error };
    output::line(&serde_json::to_string(&object).map_err(|e| Error::data(file, e))?);
    Ok(())
}

/// The centred square of an image; the engine resizes it.
fn square(image: Decoded) -> Images {
    let (rows, columns) = image.size;
    let side = rows.min(columns);
    let (top, left) = ((rows - side) / 2, (columns - side) / 2);
    let pixels = if rows == columns {
        image.pixels
    } else {
        let rows = image.pixels.chunks_exact(3 * columns).skip(top).take(side);
        rows.flat_map(|row| &row[3 * left..][..3 * side]).copied().collect()
    };
    let pixels: Pixels = Arc::new(pixels);
    Images { pixels, count: 1, height: side, width: side, labels: Arc::from([]) }
}
