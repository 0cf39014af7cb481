//! Ranks as processes of a machine: which of them are on this one, and the moment that one of these ends, whatever ended it.
//!
//! Linux tells it by a file descriptor of the process, which is that process's for good where a number is given to another one
//! later. Elsewhere no process is known, and nobody is watched by this.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A process as others tell it from theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// Where that number means this process: a start of a machine and a namespace there. Empty where it is not known.
    pub machine: String,
}

impl Process {
    /// This one.
    pub fn this() -> Self {
        Self { id: std::process::id(), machine: machine().unwrap_or_default() }
    }

    /// The start of a machine, whatever the namespace there: containers have one of their own and the machine's cards. Empty where
    /// it is not known.
    pub(super) fn start(&self) -> &str {
        self.machine.split(' ').next().unwrap_or_default()
    }

    /// Whether `other` is another process of the same machine.
    fn beside(&self, other: &Self) -> bool {
        self.machine == other.machine && !self.machine.is_empty() && self.id != other.id
    }
}

/// Containers may share a machine's name and number their processes alike, so that neither would do.
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods, reason = "no file of anybody's")]
fn machine() -> Option<String> {
    let start = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", start.trim(), namespace.display()))
}

#[cfg(not(target_os = "linux"))]
fn machine() -> Option<String> {
    None
}

/// Those of some processes that are beside this one, each by what its owner calls it.
#[derive(Debug, Default)]
pub struct Beside {
    #[cfg(target_os = "linux")]
    open: Vec<(usize, rustix::fd::OwnedFd)>,
    ended: Option<usize>,
}

impl Beside {
    /// Those of `processes` that are beside `mine`.
    pub fn new<'a>(mine: &Process, processes: impl Iterator<Item = (usize, &'a Process)>) -> Self {
        let mut beside = Self::default();
        processes.filter(|(_, process)| mine.beside(process)).for_each(|(name, process)| beside.add(name, process.id));
        beside
    }

    #[cfg(target_os = "linux")]
    fn add(&mut self, name: usize, id: u32) {
        use rustix::io::Errno;
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) else { return };
        match pidfd_open(id, PidfdFlags::empty()) {
            Ok(process) => self.open.push((name, process)),
            Err(Errno::SRCH) => self.ended = self.ended.or(Some(name)),
            Err(_) => {} // older than Linux 5.3, or not allowed: not watched
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn add(&mut self, _: usize, _: u32) {}

    /// Waits for so long, or until one of them has ended: which one.
    #[cfg(target_os = "linux")]
    pub fn wait(&self, at_most: Duration) -> Option<usize> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        if self.ended.is_some() {
            return self.ended;
        }
        let mut asked: Vec<_> = self.open.iter().map(|(_, process)| PollFd::new(process, PollFlags::IN)).collect();
        let at_most = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
        let found = poll(&mut asked, Some(&at_most)).unwrap_or_default(); // a signal came: asked again
        let ended = asked.iter().position(|process| !process.revents().is_empty()).filter(|_| found > 0);
        ended.map(|at| self.open[at].0)
    }

    /// Waits for so long.
    #[cfg(not(target_os = "linux"))]
    pub fn wait(&self, at_most: Duration) -> Option<usize> {
        std::thread::sleep(at_most);
        self.ended
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn the_end_of_a_process_beside_this_one_is_known_at_once_and_of_others_nothing_is() {
        let mine = Process::this();
        assert_ne!(mine.machine, "");
        let start = || Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().expect("sleep");
        let (mut stays, mut ends) = (start(), start());
        let [first, second] = [&stays, &ends].map(|child| Process { id: child.id(), ..mine.clone() });
        let elsewhere = Process { machine: "another".into(), ..second.clone() };
        let unknown = Process { machine: String::new(), ..second.clone() };
        let beside = Beside::new(&mine, [(0, &mine), (1, &first), (2, &elsewhere), (3, &second)].into_iter());
        let nobody = Beside::new(&mine, [(0, &mine), (2, &elsewhere), (3, &unknown)].into_iter());
        assert!(!unknown.beside(&unknown.clone()), "two that know nothing are not of one machine");
        assert_eq!(beside.wait(SHORT), None);
        ends.kill().expect("it runs"); // and stays a zombie, which still has its number
        let begun = Instant::now();
        assert_eq!((beside.wait(LONG), nobody.wait(SHORT)), (Some(3), None));
        assert!(begun.elapsed() < LONG);
        ends.wait().expect("a child");
        let late = Beside::new(&mine, [(1, &first), (7, &second)].into_iter());
        assert_eq!(late.wait(LONG), Some(7), "that had ended before");
        stays.kill().and_then(|()| stays.wait()).expect("it runs");
        assert_eq!(Beside::new(&mine, std::iter::empty()).wait(SHORT), None);
    }
}
