//! `vggkit train`: starts or resumes a training and shows how it goes.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub use super::train_arguments::Arguments;
use super::{output, training_display::Display};
use crate::error::{Error, Kind, Result};
use crate::inference::model;
use crate::training::session::{Options, Packs, Session};
use crate::training::stop::Stop;
use crate::training::trainer::Ending;

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let minutes = arguments.run.max_minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60)));
    let stop = Stop::on_signals()?.at(minutes.and_then(|minutes| Instant::now().checked_add(minutes)));
    let options = Options {
        engine: arguments.shared.target(),
        threads: arguments.shared.threads(),
        checkpoint_every: arguments.run.checkpoint_every.unwrap_or(0),
        log_steps: arguments.run.log_steps,
        command: command_line(),
    };
    if let Some(given) = &arguments.run.resume {
        let folder = model::find(&arguments.shared.runs, &given.to_string_lossy())?;
        let data = arguments.shared.data_given();
        let (run, precision) = (&arguments.run, arguments.shared.precision);
        let session = Session::resume(folder, data, run.epochs, run.max_steps, precision, options)?;
        go(session, &stop, &arguments)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut settings = arguments.settings()?;
    let packs = Packs::open(arguments.shared.data(), &settings.train, &settings.val)?;
    settings.fit_to(&packs.train)?;
    for (name, network) in &settings.networks {
        // The demo's runs keep apart from real ones.
        let name =
            if packs.data.synthetic && !name.starts_with("demo") { format!("demo-{name}") } else { name.clone() };
        let folder = arguments.shared.runs.join(name);
        stop.check(&folder)?; // it can have come while the network before was closed
        let (recipe, overwrite) = (&settings.recipe, arguments.run.overwrite);
        let session = Session::new(folder, network, recipe, &packs, overwrite, options.clone(), &stop)?;
        go(session, &stop, &arguments)?;
        if stop.late() {
            break; // a further network of --all would not get beyond its first step
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One training, from its heading to its closing line.
fn go(mut session: Session, stop: &Stop, arguments: &Arguments) -> Result<()> {
    let mut display = Display::new(&session, arguments.shared.quiet, arguments.shared.json);
    let ending = session.train(stop, &mut display);
    display.finish();
    let ending = ending.map_err(|error| keep(error, &session.folder))?;
    let folder = session.folder.display();
    if let Ending::Signal(signal) = ending {
        return Err(Error::new(
            Kind::Interrupted(signal),
            format!("stopped by a signal; everything is saved in {folder}"),
        )
        .with_help(format!("go on with `vggkit train --resume {folder}`")));
    }
    if !arguments.shared.json && !arguments.shared.quiet {
        output::line(&display.closing(ending));
    }
    Ok(())
}

/// Adds where the last good state lies.
fn keep(error: Error, folder: &Path) -> Error {
    if error.kind() != Kind::Diverged {
        return error;
    }
    let advice = error.help().unwrap_or_default().to_owned();
    let path = crate::training::checkpoint::last_path(folder);
    error.with_help(format!("{advice}; --init {} -lr X starts from the last good weights", path.display()))
}

/// The command line as it was typed.
fn command_line() -> String {
    let quote = |argument: OsString| {
        let text = argument.to_string_lossy().into_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+@%".contains(c);
        if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
    };
    let rest = std::env::args_os().skip(1).map(quote);
    std::iter::once("vggkit".to_owned()).chain(rest).collect::<Vec<_>>().join(" ")
}
