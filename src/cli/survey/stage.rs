//! One stage of a survey: vggkit in a process of its own, which is asked to stop when its time is up or the survey is told
//! to. What it had printed by then is kept: the commands save, or print what they have, before they end.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Error, Kind, Result};
use crate::files;
use crate::training::run::Run;

/// Between two looks at a process.
const INTERVAL: Duration = Duration::from_millis(20);

/// How a stage ended; a line of `stages.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// Which.
    pub name: String,
    /// What was run.
    pub command: String,
    /// Of the process; 128 and the number of a signal that ended it.
    pub exit_code: i32,
    /// How long it took.
    pub seconds: f64,
    /// When it ended, RFC 3339 in UTC.
    pub time: String,
}

/// Where stages are written down.
pub fn path(out: &Path) -> PathBuf {
    out.join("stages.jsonl")
}

/// Every stage that has been run for the survey in `out`, the earliest first; none where nothing is readable.
pub fn all(out: &Path) -> Vec<Stage> {
    files::read_json_lines(&path(out)).unwrap_or_default()
}

/// Runs stages, and hands signals on to the one that is running.
pub struct Runner {
    signals: Signals,
    /// The signal that came, if one did.
    pub stopped: Option<i32>,
}

impl Runner {
    /// Watches SIGINT and SIGTERM from now on.
    pub fn new() -> Result<Self> {
        let failed = |e| Error::new(Kind::Io, "cannot watch for signals").with_source(e);
        Ok(Self { signals: Signals::new([SIGINT, SIGTERM]).map_err(failed)?, stopped: None })
    }

    /// Runs vggkit with `flags` as the stage `name` of the survey in `out`, until `deadline` at the latest, and writes down
    /// how it went; also what it printed, where `captured`. Errors: vggkit cannot be started, the log cannot be written.
    pub fn run(
        &mut self,
        out: &Path,
        name: &str,
        flags: &[OsString],
        captured: bool,
        deadline: Option<Instant>,
    ) -> Result<(Stage, Vec<u8>)> {
        let command = command(flags);
        let failed = |e| Error::new(Kind::Io, format!("cannot run {command}")).with_source(e);
        let program = std::env::current_exe().map_err(failed)?;
        let started = Instant::now();
        let printed = if captured { Stdio::piped() } else { Stdio::inherit() };
        let mut process = Command::new(program);
        process.args(flags).stdin(Stdio::null()).stdout(printed);
        // Ctrl-C on a terminal reaches a whole process group. The stage is to hear of it once, from here.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut process, 0);
        let mut child = process.spawn().map_err(failed)?;
        let output = child.stdout.take().map(|mut output| {
            thread::spawn(move || {
                let mut text = Vec::new();
                let _ = output.read_to_end(&mut text); // what there is counts
                text
            })
        });
        let mut late = false;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                break status;
            }
            for signal in self.signals.pending() {
                self.stopped = Some(signal);
                hand_on(&mut child, signal);
            }
            if !late && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                late = true;
                hand_on(&mut child, SIGTERM);
            }
            thread::sleep(INTERVAL);
        };
        let text = output.and_then(|reader| reader.join().ok()).unwrap_or_default();
        let stage = Stage {
            name: name.to_owned(),
            command,
            exit_code: exit_code(status),
            seconds: started.elapsed().as_secs_f64(),
            time: files::now(),
        };
        files::append_json_line(&path(out), &stage)?;
        Ok((stage, text))
    }

    /// The signal that came, if one did by now.
    pub fn stopped(&mut self) -> Option<i32> {
        self.stopped = self.signals.pending().last().or(self.stopped);
        self.stopped
    }
}

/// As one would type it.
pub fn command(flags: &[OsString]) -> String {
    let words: Vec<_> = flags.iter().map(|flag| flag.to_string_lossy()).collect();
    format!("vggkit {}", words.join(" "))
}

#[cfg(unix)]
fn hand_on(child: &mut Child, signal: i32) {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = if signal == SIGINT { Signal::INT } else { Signal::TERM };
    let number = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // One that has just ended needs no signal.
    let _ = number.map(|number| kill_process(number, signal));
}

/// Without signals to hand on, Ctrl-C reaches the stage by itself, and lateness ends it.
#[cfg(not(unix))]
fn hand_on(child: &mut Child, signal: i32) {
    if signal == SIGTERM {
        let _ = child.kill();
    }
}

fn exit_code(status: std::process::ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128 + signal;
    }
    status.code().unwrap_or(-1)
}

/// The run's folder below the survey's.
pub const RUN: &str = "run";

/// The run's folder; one on the demo set is called otherwise.
pub fn run_folder(out: &Path) -> PathBuf {
    let demo = out.join(format!("demo-{RUN}"));
    if Run::path(&demo).exists() { demo } else { out.join(RUN) }
}
