//! `vggkit predict`: predictions.csv for the test images, or the top-5 of any image file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::{Shared, output};
use crate::dataset::Pack;
use crate::engine::{Images, Pixels};
use crate::error::{Error, Result};
use crate::inference::model::{self, Model};
use crate::inference::predictions::Predictions;
use crate::progress;

/// Predict the test images with all runs and their vote, or any image file
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vggkit predict                           all runs on the test images -> predictions.csv
  vggkit predict vgg11 vgg16c              these two and their vote
  vggkit predict --image cat.jpg dog.png   the five likeliest classes of each file")]
pub struct Arguments {
    /// Names or folders of runs; without one, every run that was trained on this data
    #[arg(value_name = "RUN")]
    runs_given: Vec<String>,
    /// Image files instead of the test split: JPEG, PNG, WebP, GIF or BMP; cropped to a centred square
    #[arg(long, value_name = "FILE", num_args = 1..)]
    image: Vec<PathBuf>,
    /// Split whose images are predicted
    #[arg(long, value_name = "SPLIT", default_value = "test", conflicts_with = "image")]
    split: String,
    /// Where the predictions go
    #[arg(long, value_name = "FILE", default_value = "predictions.csv", conflicts_with = "image")]
    out: PathBuf,
    #[command(flatten)]
    shared: Shared,
}

/// `--json` of `predict --image`: one object a file.
#[derive(Serialize)]
struct FilePrediction<'a> {
    schema: &'static str,
    file: String,
    top: Vec<Guess<'a>>,
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
    if arguments.image.is_empty() {
        test_images(&arguments, &mut models)?
    } else {
        files(&arguments, &mut models)?
    }
    let complete = folders.damaged.is_empty() && models.len() == folders.chosen.len();
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn test_images(arguments: &Arguments, models: &mut [Model]) -> Result<()> {
    let shared = &arguments.shared;
    let pack = Pack::open(shared.data(), &arguments.split)?;
    let total = (pack.images.count * models.len()) as u64;
    let bar = progress::bar("predict", total, "images", shared.quiet || shared.json);
    let predictions = Predictions::of_pack(models, &pack, |done| bar.set_position(done as u64))?;
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

fn files(arguments: &Arguments, models: &mut [Model]) -> Result<()> {
    for file in &arguments.image {
        let images = read_square(file)?;
        let name = file.display().to_string();
        let predictions = Predictions::of(models, &images, std::slice::from_ref(&name), |_| {})?;
        let classes = &predictions.classes;
        let guess = |class: usize| Guess {
            class,
            wnid: &classes.wnids[class],
            name: &classes.names[class],
            probability: predictions.mean_softmax[0][class],
        };
        let top: Vec<Guess<'_>> = predictions.ranked(0).into_iter().take(5).map(guess).collect();
        if arguments.shared.json {
            let object = FilePrediction { schema: "vggkit/predict-image/1", file: name, top };
            output::line(&serde_json::to_string(&object).map_err(|e| Error::data(file, e))?);
            continue;
        }
        let by = if models.len() == 1 { models[0].name.clone() } else { format!("mean of {} runs", models.len()) };
        output::line(&format!("{name}  ({by})"));
        for guess in top {
            output::line(&format!("  {:>5.1} %  {}  {}", 100.0 * guess.probability, guess.wnid, guess.name));
        }
    }
    Ok(())
}

/// The centred square of an image file; the engine resizes it.
fn read_square(path: &Path) -> Result<Images> {
    let reader = image::ImageReader::open(path).map_err(|e| Error::io("cannot read", path, e))?;
    let reader = reader.with_guessed_format().map_err(|e| Error::io("cannot read", path, e))?;
    let decoded = reader.decode().map_err(|e| {
        Error::data(path, format!("cannot be decoded: {e}"))
            .with_help("JPEG, PNG, WebP, GIF and BMP files can be predicted")
    })?;
    let side = decoded.width().min(decoded.height());
    let (left, top) = ((decoded.width() - side) / 2, (decoded.height() - side) / 2);
    let square = decoded.crop_imm(left, top, side, side).to_rgb8();
    let side = side as usize;
    let pixels: Pixels = Arc::new(square.into_raw());
    Ok(Images { pixels, count: 1, height: side, width: side, labels: Arc::from([]) })
}
