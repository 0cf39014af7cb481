//! Starts `mpirun` on this program.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{self, Pid, Signal};

use super::rank::PART;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A running `mpirun`, with what its processes print.
pub struct Started {
    mpirun: Child,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    begun: Instant,
}

/// What came of it.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code, where it ended by itself.
    pub code: Option<i32>,
    /// Standard output and error of it and of all its processes.
    pub output: String,
    /// From start to end.
    pub took: Duration,
}

/// Starts `ranks` processes of this program that do `part`.
pub fn mpirun(ranks: usize, part: &str) -> Started {
    let mut command = Command::new("mpirun");
    command.args(["--oversubscribe", "-n", &ranks.to_string()]);
    command.arg(std::env::current_exe().expect("this program"));
    command.args(["--exact", "rank::rank", "--ignored", "--nocapture", "--quiet"]);
    command.env(PART, part);
    if part == "stop" {
        // Time to save between Ctrl-C and the end, as the manual has it; without it there is a second.
        command.env("OMPI_MCA_odls_base_sigkill_timeout", "5");
    }
    start(command)
}

/// Starts an `mpirun`.
pub fn start(mut command: Command) -> Started {
    // Tests run as root in containers; a user's own trainings ask mpirun themselves.
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    let begun = Instant::now();
    let mut mpirun =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mpirun: `make mpi` installs it");
    let output = Arc::new(Mutex::new(String::new()));
    let read = |from: Option<Box<dyn Read + Send>>| {
        let (mut from, output) = (from.expect("a pipe"), Arc::clone(&output));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                output.lock().expect("no panic").push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        })
    };
    let readers = vec![
        read(mpirun.stdout.take().map(|pipe| Box::new(pipe) as _)),
        read(mpirun.stderr.take().map(|pipe| Box::new(pipe) as _)),
    ];
    Started { mpirun, output, readers, begun }
}

impl Started {
    /// The process of `mpirun`.
    pub fn id(&self) -> u32 {
        self.mpirun.id()
    }

    /// The processes that it started, in order of rank.
    pub fn children(&self) -> Vec<Pid> {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.id())).expect("children");
        children.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)).collect()
    }

    /// Waits until the processes have printed `text`.
    pub fn wait_for(&self, text: &str) {
        self.wait_until(text, || self.output.lock().expect("no panic").contains(text));
    }

    /// Waits for `what`, which is there when `come` says so.
    pub fn wait_until(&self, what: &str, come: impl Fn() -> bool) {
        while !come() {
            assert!(self.begun.elapsed() < LIMIT, "no {what} in {:?}", self.output);
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends `mpirun` a signal, as Ctrl-C does.
    pub fn signal(&self, signal: Signal) {
        process::kill_process(Pid::from_child(&self.mpirun), signal).expect("it runs");
    }

    /// Waits for the end of all.
    pub fn wait(mut self) -> Ended {
        let status = loop {
            match self.mpirun.try_wait().expect("a child") {
                Some(status) => break status,
                None if self.begun.elapsed() > LIMIT => {
                    self.signal(Signal::KILL);
                    panic!("not ended: {:?}", self.output);
                }
                None => thread::sleep(Duration::from_millis(10)),
            }
        };
        let took = self.begun.elapsed();
        self.readers.into_iter().for_each(|reader| reader.join().expect("no panic"));
        let code = status.code().or(status.signal().map(|signal| 128 + signal));
        let output = self.output.lock().expect("no panic").clone();
        Ended { code, output, took }
    }
}
