//! `vggkit evaluate`: writes evaluation.json and evaluation.csv beside a run and prints what they say; on the split that
//! the run validates on, inside.json as well. With `--fuse`, what all runs say together, beside the runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use super::arguments::shared::Shared;
use super::output;
use crate::dataset::{Identity, Manifest, Pack};
use crate::error::{Error, Result};
use crate::inference::answers::Answers;
use crate::inference::class_scores::{self, ClassScores};
use crate::inference::evaluation::{self, Evaluation};
use crate::inference::fusion::{self, Fusing};
use crate::inference::inside::{self, Inside};
use crate::inference::model::{self, Chosen, Model};
use crate::inference::tta::Tta;
use crate::{files, progress};

/// Measure a run's best network on a labelled split, or several together
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vggkit evaluate vgg16c                    the best network of runs/vgg16c on val
  vggkit evaluate runs/vgg16c --split train
  vggkit evaluate                           every run in turn
  vggkit evaluate --tta flip                the same, each image and its mirror image averaged
  vggkit evaluate vgg16 --tta dense         the paper's dense evaluation
  vggkit evaluate --fuse                    the mean softmax of all runs
  vggkit evaluate --fuse vgg11 vgg16c --tta flip

Precision, recall and F1 are scikit-learn's; where nothing is divided by, they are 0, and their means are over the classes
that occur. The expected calibration error has 15 bins of equal width (Guo et al. 2017).")]
pub struct Arguments {
    /// A run's name or folder; without one, every run that was trained on this data
    #[arg(value_name = "RUN")]
    runs_given: Vec<PathBuf>,
    /// The labelled split to measure on
    #[arg(long, value_name = "SPLIT", default_value = "val")]
    split: String,
    /// Average the softmax over several views of each image (test-time augmentation), all of them mirrored too: flip, the
    /// image; multi, at 7/8, 1 and 9/8 of the size; dense, the classifier at every position of an image 16 pixels larger;
    /// crops, the four corners and the centre of an image at 8/7 of the size
    #[arg(long, value_name = "VIEWS")]
    tta: Option<Tta>,
    /// Measure the runs together, by the mean of their softmax, instead of each by itself
    #[arg(long)]
    fuse: bool,
    #[command(flatten)]
    shared: Shared,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let shared = &arguments.shared;
    let mut runs = model::choose(&shared.runs, &arguments.runs_given, shared.data())?;
    for note in &runs.left_out {
        output::note(note);
    }
    runs.damaged.iter().for_each(output::left_out);
    let complete = runs.damaged.is_empty();
    if arguments.fuse {
        runs.chosen.sort_by_key(|folder| name_below(&shared.runs, folder));
    }
    let all = if arguments.fuse { fuse(&arguments, &runs)? } else { each(&arguments, &runs)? };
    Ok(if complete && all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Evaluates one run after another; whether all of them could be.
fn each(arguments: &Arguments, runs: &Chosen) -> Result<bool> {
    let shared = &arguments.shared;
    let (split, tta) = (&arguments.split, arguments.tta);
    let mut complete = true;
    for folder in &runs.chosen {
        let Some(mut model) = shared.open(folder, !arguments.runs_given.is_empty())? else {
            complete = false;
            continue;
        };
        let pack = pack(arguments, &model.run.data.folder)?;
        let bar = bar(arguments, "evaluate", &pack, 1);
        let (evaluation, answers) =
            evaluation::evaluate(&mut model, &pack, split, tta, |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        let path = evaluation::path(folder, split, tta);
        // The evaluation itself last: what lies beside it is about the same network.
        answers.write(&Answers::beside(&path))?;
        if tta.is_none() && *split == model.run.data.val {
            look_inside(&mut model, &pack, arguments)?;
        }
        files::write_json(&path, &evaluation)?;
        tell(arguments, &path, &evaluation, || summary(&model.name, &evaluation))?;
    }
    Ok(complete)
}

/// Evaluates all runs together; whether all of them could be.
fn fuse(arguments: &Arguments, runs: &Chosen) -> Result<bool> {
    let shared = &arguments.shared;
    fusion::check_count(runs.chosen.len())?;
    let data = data_of_all(arguments, &runs.chosen)?;
    let pack = pack(arguments, &data.display().to_string())?;
    let (_, identity) = Identity::of(&data)?;
    let bar = bar(arguments, "fuse", &pack, runs.chosen.len());
    let mut fusing = Fusing::new(&pack, &arguments.split, arguments.tta)?;
    let mut complete = true;
    for folder in &runs.chosen {
        let Some(mut model) = shared.open(folder, !arguments.runs_given.is_empty())? else {
            complete = false;
            continue;
        };
        let before = bar.position();
        fusing.add(name_below(&shared.runs, folder), &mut model, |done| bar.set_position(before + done as u64))?;
    }
    bar.finish_and_clear();
    let (fusion, answers) = fusing.finish(identity.content_sha256)?;
    let path = fusion.path(&shared.runs);
    answers.write(&Answers::beside(&path))?;
    files::write_json(&path, &fusion)?;
    tell(arguments, &path, &fusion, || {
        let alone = fusion.runs.iter().map(|member| format!("{} {:.2} %", member.run, 100.0 * member.top1));
        let alone = alone.collect::<Vec<_>>().join(", ");
        let name = format!("{} runs fused", fusion.runs.len());
        format!("{}  top-1 alone    {alone}\n", summary(&name, &fusion.evaluation))
    })?;
    Ok(complete)
}

/// The folder of the data that all runs are measured on. Errors: runs that were named were trained on different data, and no
/// folder was given.
fn data_of_all(arguments: &Arguments, folders: &[PathBuf]) -> Result<PathBuf> {
    let shared = &arguments.shared;
    if shared.data_given().is_some() || arguments.runs_given.is_empty() {
        return Ok(shared.data().to_owned());
    }
    let mut first: Option<(&PathBuf, String, PathBuf)> = None;
    for folder in folders {
        let data = model::load_run(folder)?.data;
        let known_as = data.known_as(None);
        match &first {
            Some((other, theirs, _)) if *theirs != known_as => {
                let (a, b) = (other.display(), folder.display());
                return Err(Error::usage(format!("{a} and {b} were trained on different data"))
                    .with_help("name the folder of the images to measure both on: --data DIR"));
            }
            Some(_) => {}
            None => first = Some((folder, known_as, data.folder.into())),
        }
    }
    Ok(first.map_or_else(|| shared.data().to_owned(), |(_, _, data)| data))
}

/// A run's path below the folder of the runs, as the page calls it; where it lies elsewhere, its folder.
fn name_below(runs: &Path, folder: &Path) -> String {
    let below = folder.strip_prefix(runs).unwrap_or(folder);
    let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    if below.is_absolute() { below.display().to_string() } else { parts.join("/") }
}

/// The images to measure on: of the folder that was given, of the one by which the runs were chosen, or of a run's own.
fn pack(arguments: &Arguments, own: &str) -> Result<Pack> {
    let shared = &arguments.shared;
    if shared.data_given().is_some() || arguments.runs_given.is_empty() {
        return Pack::open(shared.data(), &arguments.split);
    }
    let help = "the run was trained on data in that folder; where it lies elsewhere now, name it with --data DIR";
    Pack::open(Path::new(own), &arguments.split)
        .map_err(|e| if Manifest::path(Path::new(own)).exists() { e } else { e.with_help(help) })
}

/// Over all images, by so many networks.
fn bar(arguments: &Arguments, what: &str, pack: &Pack, networks: usize) -> ProgressBar {
    let total = (pack.images.count * networks) as u64;
    progress::bar(what, total, "images", arguments.shared.quiet || arguments.shared.json)
}

/// Writes inside.json.
fn look_inside(model: &mut Model, pack: &Pack, arguments: &Arguments) -> Result<()> {
    let shared = &arguments.shared;
    let images = inside::choose(pack).len() as u64;
    let bar = progress::bar("look inside", images, "images", shared.quiet || shared.json);
    let threads = shared.threads();
    let inside = inside::look(model, pack, &arguments.split, threads, |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    inside.write(&Inside::path(&model.folder))
}

/// Prints what was written to `path`: all of it as JSON, or a summary.
fn tell(arguments: &Arguments, path: &Path, written: &impl Serialize, summary: impl Fn() -> String) -> Result<()> {
    let shared = &arguments.shared;
    if shared.json {
        output::line(&serde_json::to_string(written).map_err(|e| Error::data(path, e))?);
    } else if !shared.quiet {
        output::print(&summary());
        output::note(&format!("written to {}; beside it what it says of each image", path.display()));
    }
    Ok(())
}

/// Up to this many classes all of them are listed.
const LISTED: usize = 20;

fn summary(name: &str, evaluation: &Evaluation) -> String {
    let percent = |fraction: f64| format!("{:.2} %", 100.0 * fraction);
    let views = evaluation.tta.map_or_else(String::new, |tta| format!(", mean of {}", tta.words()));
    let mut text = format!(
        "{name} on {} ({} images{views}): loss {:.4}, top-1 {}, top-5 {}\n",
        evaluation.split,
        evaluation.images,
        evaluation.loss,
        percent(evaluation.top1),
        percent(evaluation.top5)
    );
    let scores = class_scores::scores(&evaluation.confusion);
    let ClassScores { precision, recall, f1 } = scores.mean;
    let (precision, recall, f1) = (percent(precision), percent(recall), percent(f1));
    text.push_str(&format!("  class mean     precision {precision}, recall {recall}, F1 {f1}\n"));
    if let Some(calibration) = &evaluation.calibration {
        text.push_str(&format!("  calibration    expected error {}\n", percent(calibration.error)));
    }
    let classes = evaluation.per_class.iter().zip(&scores.classes);
    let mut classes: Vec<_> = classes.filter_map(|(class, scores)| Some((class, (*scores)?))).collect();
    if classes.len() <= LISTED {
        text.push_str("  precision   recall       F1   images\n");
        for (class, scores) in classes {
            let [precision, recall, f1] = [scores.precision, scores.recall, scores.f1].map(percent);
            text.push_str(&format!("  {precision:>9} {recall:>8} {f1:>8} {:>8}  {}\n", class.images, class.name));
        }
        return text;
    }
    classes.sort_by(|(a, x), (b, y)| y.f1.total_cmp(&x.f1).then_with(|| a.wnid.cmp(&b.wnid)));
    let (best, worst) = (&classes[..3], &classes[classes.len() - 3..]);
    for (which, part) in [("best by F1", best), ("worst by F1", worst)] {
        let named = |(class, scores): &(&evaluation::ClassAccuracy, ClassScores)| {
            let of = |fraction: f64| format!("{:.0}", 100.0 * fraction);
            format!(
                "{} {} % ({} precision, {} recall)",
                class.name,
                of(scores.f1),
                of(scores.precision),
                of(scores.recall)
            )
        };
        let list = part.iter().map(named).collect::<Vec<_>>().join(", ");
        text.push_str(&format!("  {which:<14} {list}\n"));
    }
    text
}
