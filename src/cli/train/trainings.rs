//! The trainings that a command line asks for: a new one, one that goes on, or the five of `--all`, each from its heading to its
//! closing line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::again::{self, Which};
use super::display::Display;
use super::find_lr;
use crate::cli::arguments::train::{Arguments, TrainSettings};
use crate::cli::output;
use crate::dataset::Pack;
use crate::error::{Error, Kind, Result};
use crate::inference::{model, teachers};
use crate::progress;
use crate::shell;
use crate::trace;
use crate::training::changes::Changes;
use crate::training::checkpoint;
use crate::training::chosen::Chosen;
use crate::training::ending::Ending;
use crate::training::opening;
use crate::training::packs::Packs;
use crate::training::run::{Data, Recipe, Run};
use crate::training::session::{Options, Session};
use crate::training::stop::Stop;
use crate::training::teaching::Teaching;
use crate::vgg::Network;

/// `body`, whose spans are written where a trace is asked for.
pub fn traced(arguments: &Arguments, body: impl FnOnce() -> Result<ExitCode>) -> Result<ExitCode> {
    let recording = arguments.run.trace.as_deref().map(trace::record).transpose()?;
    let ended = body();
    if let Some(Err(error)) = recording.map(trace::Recording::finish) {
        output::note(&format!("the trace is not whole: {error}")); // which is no reason for a training to fail
    }
    ended
}

/// When `--max-minutes` are up.
pub fn deadline(arguments: &Arguments) -> Option<Instant> {
    let minutes = arguments.run.max_minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60)));
    minutes.and_then(|minutes| Instant::now().checked_add(minutes))
}

/// The trainings that `arguments` ask for, one after another.
pub fn train(arguments: &Arguments, stop: &Stop, options: Options) -> Result<ExitCode> {
    if arguments.run.find_lr {
        return find_lr::run(arguments, stop);
    }
    match (&arguments.run.resume, arguments.run.all) {
        (None, false) => begin(arguments, stop, options)?,
        (Some(Some(given)), false) => resume(given, arguments, stop, options)?,
        (None | Some(None), true) => all(arguments, stop, &options)?,
        (Some(Some(_)), true) => {
            return Err(Error::usage("--all goes on with all five runs: --resume takes no RUN beside it")
                .with_help("`vggkit train --all --resume`, with --run NAME where their names begin with one"));
        }
        (Some(None), false) => {
            return Err(Error::usage("--resume needs a run to go on with")
                .with_help("name one, as in `vggkit train --resume runs/vgg16c`, or add --all for the five"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A new training.
fn begin(arguments: &Arguments, stop: &Stop, options: Options) -> Result<()> {
    let mut settings = arguments.settings(arguments.shared.data())?;
    let packs = Packs::open(arguments.shared.data(), &settings.train, &settings.val)?;
    settings.fit_to(&packs.train)?;
    let teaching = ask_teachers(&settings.recipe, &packs.train, arguments, &options)?;
    for (name, network) in &settings.networks {
        let folder = folder(arguments, name, &packs);
        let (recipe, overwrite) = (&settings.recipe, arguments.run.overwrite);
        let session = Session::new(folder, network, recipe, &packs, overwrite, options.clone(), stop)?;
        go(session, teaching.clone(), stop, arguments)?;
    }
    Ok(())
}

/// The run that `given` names goes on.
fn resume(given: &Path, arguments: &Arguments, stop: &Stop, options: Options) -> Result<()> {
    if arguments.run.name.is_some() {
        return Err(
            Error::usage("--run names a new run, and --resume one that is there").with_help("leave one of them out")
        );
    }
    let folder = model::find(&arguments.shared.runs, given)?;
    if again::asks_for_fixed(&arguments.given) {
        let run = model::load_run(&folder)?;
        let data = arguments.shared.data_given().unwrap_or(Path::new(&run.data.folder)).to_owned();
        let packs = Packs::open(&data, &run.data.train, &run.data.val)?;
        let mut settings = arguments.settings(&data)?;
        settings.fit_to(&packs.train)?;
        let network = &settings.networks[0].1;
        again::refuse_others(&folder, &run, &record(network, &settings), &arguments.given)?;
    }
    let changes = again::changes(arguments);
    let session = Session::resume(folder, arguments.shared.data_given(), &changes, options.clone())?;
    let teaching = match session.ended() {
        Some(_) => None, // nothing is left to teach
        None => ask_teachers(&session.run.training, session.train_pack(), arguments, &options)?,
    };
    go(session, teaching, stop, arguments)
}

/// The five networks in turn. Of runs that are there, those that are done are skipped, the others go on.
fn all(arguments: &Arguments, stop: &Stop, options: &Options) -> Result<()> {
    let resumed = arguments.run.resume.is_some();
    let names: Vec<String> = arguments.networks()?.into_iter().map(|(name, _)| name).collect();
    let base = if resumed { again::first_of_all(arguments, &names)? } else { None };
    let data = match (arguments.shared.data_given(), &base) {
        (None, Some(run)) => PathBuf::from(&run.data.folder),
        _ => arguments.shared.data().to_owned(),
    };
    let changes = match resumed {
        true => again::changes(arguments),
        false => Changes { max_steps: arguments.run.max_steps, ..Changes::default() },
    };
    let mut asked = arguments.settings(&data)?;
    asked.recipe.micro_batch = opening::micro_batch_of(&asked.recipe, options); // as the runs that are there have it
    let [train, val] = base.as_ref().map_or([&asked.train, &asked.val], |run| [&run.data.train, &run.data.val]);
    let packs = Packs::open(&data, train, val)?;
    asked.fit_to(&packs.train)?;
    let there = |folder: &Path| !arguments.run.overwrite && Run::path(folder).exists();

    // What does not fit is told before hours are spent on what does.
    let (mut turns, mut misfits) = (Vec::new(), Vec::new());
    for (name, network) in &asked.networks {
        let (folder, flags) = (folder(arguments, name, &packs), record(network, &asked));
        let mut new = flags.clone();
        if let Some(base) = &base {
            let Network { depth, conv1x1, .. } = *network;
            new.network = Network { depth, conv1x1, ..base.network.clone() };
            new.training = changes.of(&base.training);
            new.data = base.data.clone();
        }
        if there(&folder) {
            let run = model::load_run(&folder)?;
            let mut others =
                again::differences(&run, &flags, if resumed { Which::Given(&arguments.given) } else { Which::All })?;
            others.extend(again::differences(&run, &new, Which::Fixed)?);
            others.sort();
            others.dedup();
            if !others.is_empty() {
                misfits.push(format!("\n  {}: {}", folder.display(), others.join("; ")));
            }
        }
        turns.push((folder, new.network, new.training));
    }
    if !misfits.is_empty() {
        return Err(Error::usage(format!("there are runs with other settings:{}", misfits.concat())).with_help(
            "give these settings, or take those of the runs with `vggkit train --all --resume`; name others with --run NAME, \
             or replace all five with --overwrite",
        ));
    }
    let mut teaching = None;
    for (folder, network, recipe) in turns {
        if options.ranks.is_none() {
            stop.check(&folder)?; // it can have come while the network before was closed; ranks agree on that in the next
        }
        let session = if there(&folder) {
            let run = model::load_run(&folder)?;
            let progress = checkpoint::progress_of(&checkpoint::last_path(&folder))?;
            if let Some(ending) = changes.leave_over(&run, &progress) {
                if !arguments.shared.quiet && !arguments.shared.json {
                    output::note(&format!("{} is done, by {}: skipped", folder.display(), ending.name()));
                }
                continue;
            }
            Session::resume(folder, Some(&data), &changes, options.clone())?
        } else {
            Session::new(folder, &network, &recipe, &packs, arguments.run.overwrite, options.clone(), stop)?
        };
        if teaching.is_none() {
            teaching = ask_teachers(&session.run.training, session.train_pack(), arguments, options)?; // the same for all
        }
        go(session, teaching.clone(), stop, arguments)?;
        if stop.late() {
            break; // a further network would not get beyond its first step
        }
    }
    Ok(())
}

/// What the runs say that a recipe names as teachers of the images that are trained on, asked before anything begins.
pub fn ask_teachers(
    recipe: &Recipe,
    train: &Pack,
    arguments: &Arguments,
    options: &Options,
) -> Result<Option<Arc<Teaching>>> {
    if recipe.distill.is_empty() {
        return Ok(None);
    }
    let find = |name: &String| model::find(&arguments.shared.runs, name);
    let folders = recipe.distill.iter().map(find).collect::<Result<Vec<_>>>()?;
    let quiet = arguments.shared.quiet || arguments.shared.json;
    let images = Chosen::new(recipe, &train.images.labels)?.trained;
    let bar = progress::bar("ask the teachers", (folders.len() * images.len()) as u64, "images", quiet);
    let told = |done| bar.set_position(done as u64);
    let answers = teachers::ask(&folders, (train, images), &options.engine, options.threads, told);
    bar.finish_and_clear();
    answers.map(|teaching| Some(Arc::new(teaching)))
}

/// The folder of the run `name`. The demo's runs keep apart from real ones.
fn folder(arguments: &Arguments, name: &str, packs: &Packs) -> PathBuf {
    arguments.shared.runs.join(if packs.data.synthetic { model::demo_name(name) } else { name.to_owned() })
}

/// What `run.toml` would say of a run with these settings.
fn record(network: &Network, settings: &TrainSettings) -> Run {
    let data = Data { train: settings.train.clone(), val: settings.val.clone(), ..Data::default() };
    Run::new(network.clone(), settings.recipe.clone(), data)
}

/// One training, from its heading to its closing line.
pub fn go(mut session: Session, teaching: Option<Arc<Teaching>>, stop: &Stop, arguments: &Arguments) -> Result<()> {
    if let Some(teaching) = teaching {
        session.teach(teaching)?;
    }
    let mut display = Display::new(&session, arguments.shared.quiet, arguments.shared.json);
    let ending = session.train(stop, &mut display);
    display.finish();
    let ending = ending.map_err(|error| keep(error, arguments, &session.folder))?;
    if let Ending::Signal(signal) = ending {
        let folder = session.folder.display();
        return Err(Error::new(
            Kind::Interrupted(signal),
            format!("stopped by a signal; everything is saved in {folder}"),
        )
        .with_help(format!("go on with `{}`", again::command(arguments, &session.folder))));
    }
    if !arguments.shared.json && !arguments.shared.quiet {
        output::line(&display.closing(ending));
    }
    Ok(())
}

/// Adds how a training that has begun goes on from its last checkpoint.
fn keep(error: Error, arguments: &Arguments, folder: &Path) -> Error {
    let command = again::command(arguments, folder);
    if error.kind() == Kind::Diverged {
        let advice = error.help().unwrap_or_default().to_owned();
        let command = format!("vggkit train --resume {}", shell::quote(folder));
        return error
            .with_help(format!("{advice}; `{command} -lr X` goes on from the last good weights at another rate"));
    }
    error.go_on_with(&command)
}
