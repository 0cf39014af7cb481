//! File operations that fail on purpose, for tests: what is told then, and what is left. Beside the failures of a GPU,
//! `VGGKIT_FAULT` knows these:
//!
//! | | |
//! |---|---|
//! | `open:N`, `write:N`, `sync:N`, `rename:N`, `remove:N`, `folder:N`, `list:N`, `map:N` | the N-th operation of this kind (from 1) fails |
//! | `file:N` | the N-th file operation of any kind fails |
//! | `kill:N` | the process is killed (SIGKILL) ahead of the N-th file operation |
//!
//! Then, and at the end of the command, standard error says which operation that was and how many there were; with N = 0 none
//! fails. Without the variable an operation costs a look at one atomic.

use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is done to a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A file is opened, to read it or to write it.
    Open,
    /// Bytes go into a file.
    Write,
    /// A file, folder or file system is made durable.
    Sync,
    /// A file or folder gets its name.
    Rename,
    /// A file or folder goes.
    Remove,
    /// A folder is made.
    Folder,
    /// A folder is listed.
    List,
    /// A file is mapped into memory.
    Map,
}

impl Operation {
    const ALL: [Self; 8] =
        [Self::Open, Self::Write, Self::Sync, Self::Rename, Self::Remove, Self::Folder, Self::List, Self::Map];

    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::Folder => "folder",
            Self::List => "list",
            Self::Map => "map",
        }
    }

    /// What a full disk answers to what needs space, a broken one to the rest.
    fn error(self) -> io::Error {
        match self {
            Self::Write | Self::Folder => io::ErrorKind::StorageFull.into(),
            _ => io::Error::other("the disk does not answer (VGGKIT_FAULT)"),
        }
    }
}

struct Fault {
    /// `None` for any.
    operation: Option<Operation>,
    kills: bool,
    number: u64,
    seen: AtomicU64,
}

impl Fault {
    fn parse(text: &str) -> Option<Self> {
        let (what, number) = text.split_once(':')?;
        let number = number.parse().ok()?;
        let operation = Operation::ALL.into_iter().find(|operation| operation.name() == what);
        let known = operation.is_some() || matches!(what, "file" | "kill");
        known.then_some(Self { operation, kills: what == "kill", number, seen: AtomicU64::new(0) })
    }

    fn meet(&self, operation: Operation, path: &Path) -> io::Result<()> {
        if self.operation.is_some_and(|only| only != operation) {
            return Ok(());
        }
        let number = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        if number != self.number {
            return Ok(());
        }
        say(&format!("{} {number}: {}", operation.name(), path.display()));
        if self.kills {
            #[cfg(unix)]
            let _ = signal_hook::low_level::raise(signal_hook::consts::SIGKILL);
            std::process::abort(); // where there is no such signal
        }
        Err(operation.error())
    }
}

static FAULT: OnceLock<Option<Fault>> = OnceLock::new();

fn fault() -> Option<&'static Fault> {
    let read = || std::env::var("VGGKIT_FAULT").ok().and_then(|text| Fault::parse(&text));
    FAULT.get_or_init(read).as_ref()
}

/// Asked ahead of every file operation. Errors: this is the one that is to fail.
pub fn at(operation: Operation, path: &Path) -> io::Result<()> {
    fault().map_or(Ok(()), |fault| fault.meet(operation, path))
}

/// Says how many operations there were, where any is to fail.
pub fn tell() {
    if let Some(fault) = fault() {
        let kind = fault.operation.map_or("file", Operation::name);
        say(&format!("{} {kind} operations in all", fault.seen.load(Ordering::Relaxed)));
    }
}

fn say(text: &str) {
    let _ = writeln!(io::stderr(), "VGGKIT_FAULT: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_is_meant_fails_and_no_other() {
        let path = Path::new("file");
        let fault = Fault::parse("write:2").expect("a fault");
        let outcomes = [Operation::Write, Operation::Open, Operation::Write, Operation::Write];
        let outcomes = outcomes.map(|operation| fault.meet(operation, path).is_ok());
        assert_eq!((outcomes, fault.seen.load(Ordering::Relaxed)), ([true, true, false, true], 3));
        let any = Fault::parse("file:2").expect("a fault");
        assert!(any.meet(Operation::Open, path).is_ok() && any.meet(Operation::Map, path).is_err());
        for other in ["", "write", "write:", "write:x", "lost:6", "hang:1"] {
            assert!(Fault::parse(other).is_none(), "{other}");
        }
    }
}
