//! `vggkit evaluate`: writes evaluation.json and evaluation.csv beside a run and prints what they say; on the split that
//! the run validates on, inside.json as well.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{Shared, output};
use crate::dataset::{Manifest, Pack};
use crate::error::{Error, Result};
use crate::inference::answers::Answers;
use crate::inference::evaluation::{self, Evaluation};
use crate::inference::inside::{self, Inside};
use crate::inference::model::{self, Model};
use crate::{files, progress};

/// Measure a run's best network on a labelled split
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vggkit evaluate vgg16c                    the best network of runs/vgg16c on val
  vggkit evaluate runs/vgg16c --split train
  vggkit evaluate                           every run in turn")]
pub struct Arguments {
    /// A run's name or folder; without one, every run that was trained on this data
    #[arg(value_name = "RUN")]
    runs_given: Vec<PathBuf>,
    /// The labelled split to measure on
    #[arg(long, value_name = "SPLIT", default_value = "val")]
    split: String,
    #[command(flatten)]
    shared: Shared,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let shared = &arguments.shared;
    let folders = model::choose(&shared.runs, &arguments.runs_given, shared.data())?;
    for note in &folders.left_out {
        output::note(note);
    }
    folders.damaged.iter().for_each(output::left_out);
    let mut complete = folders.damaged.is_empty();
    for folder in &folders.chosen {
        let Some(mut model) = shared.open(folder, !arguments.runs_given.is_empty())? else {
            complete = false;
            continue;
        };
        let pack = pack(&arguments, &model.run.data.folder)?;
        let bar = progress::bar("evaluate", pack.images.count as u64, "images", shared.quiet || shared.json);
        let (evaluation, answers) =
            evaluation::evaluate(&mut model, &pack, &arguments.split, |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        let path = evaluation::path(folder, &arguments.split);
        // The evaluation itself last: what lies beside it is about the same network.
        answers.write(&Answers::path(folder, &arguments.split))?;
        if arguments.split == model.run.data.val {
            look_inside(&mut model, &pack, &arguments)?;
        }
        files::write_json(&path, &evaluation)?;
        if shared.json {
            let text = serde_json::to_string(&evaluation).map_err(|e| Error::data(&path, e))?;
            output::line(&text);
        } else if !shared.quiet {
            output::print(&summary(&model.name, &evaluation));
            output::note(&format!("written to {}; beside it what it says of each image", path.display()));
        }
    }
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

fn summary(name: &str, evaluation: &Evaluation) -> String {
    let mut text = format!(
        "{name} on {} ({} images): loss {:.4}, top-1 {:.2} %, top-5 {:.2} %\n",
        evaluation.split,
        evaluation.images,
        evaluation.loss,
        100.0 * evaluation.top1,
        100.0 * evaluation.top5
    );
    let mut classes: Vec<_> = evaluation.per_class.iter().filter(|c| c.images > 0).collect();
    classes.sort_by(|a, b| b.top1.total_cmp(&a.top1).then_with(|| a.wnid.cmp(&b.wnid)));
    let list = |classes: &[_]| {
        let named = |c: &&evaluation::ClassAccuracy| format!("{} {:.0} %", c.name, 100.0 * c.top1);
        classes.iter().map(named).collect::<Vec<_>>().join(", ")
    };
    let shown = classes.len().min(3);
    text.push_str(&format!("  best classes   {}\n", list(&classes[..shown])));
    text.push_str(&format!("  worst classes  {}\n", list(&classes[classes.len() - shown..])));
    text
}
