//! The one error type: what was wrong, in which file, what to do next, and the exit code that follows.
//!
//! It does not collect several findings; `dataset::verify` has its own list for that.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

/// What to do first where a disk is full.
const DISK_FULL: &str = "the disk is full: free some space";

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure it is; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A wrong flag, value or combination: exit code 2.
    Usage,
    /// A file or folder whose content is not what it should be: exit code 1.
    Data,
    /// The operating system refused: exit code 1.
    Io,
    /// Training produced a NaN or infinite loss: exit code 1.
    Diverged,
    /// Does not fit in memory or is beyond what an engine can do: exit code 1.
    Engine,
    /// A graphics device has no memory left for a buffer: exit code 1.
    OutOfMemory,
    /// A graphics device that went away in the middle of its work: exit code 1.
    DeviceLost,
    /// Another rank of a distributed training failed or is gone: exit code 1.
    PeerLost,
    /// Stopped by a signal after saving; holds the signal's number: exit code 128 + signal.
    Interrupted(i32),
}

/// An error with a message for people and, where there is one, advice.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    help: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), help: None, source: None }
    }

    /// Wrong usage: what is wrong and what is allowed.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Content of `path` that is not what it should be.
    pub fn data(path: impl AsRef<Path>, what: impl fmt::Display) -> Self {
        Self::new(Kind::Data, format!("{}: {what}", path.as_ref().display()))
    }

    /// The operating system refused something about `path`; `doing` is a verb phrase such as "cannot read".
    pub fn io(doing: &str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        let mut error = Self::new(Kind::Io, format!("{doing} {}", path.as_ref().display()));
        error.help = match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Some(format!("{DISK_FULL} and run the same command again"))
            }
            ErrorKind::FileTooLarge => Some(
                "files of this size are not allowed there, by a limit (ulimit -f) or by the file system (FAT has 4 GB)"
                    .into(),
            ),
            ErrorKind::PermissionDenied => Some("change its permissions, or choose another place".into()),
            ErrorKind::ReadOnlyFilesystem => Some("that file system is read-only: choose another place".into()),
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                Some("a file is where a folder is needed: choose another place, or move it away".into())
            }
            ErrorKind::IsADirectory => Some("it is a folder: name a file".into()),
            _ => None,
        };
        error.source = Some(Box::new(source));
        error
    }

    /// So many worker threads could not be started.
    pub fn threads(count: usize, reason: impl fmt::Display) -> Self {
        Self::new(Kind::Io, format!("cannot start {count} worker threads: {reason}"))
            .with_help("choose fewer with --threads, or raise the limit (ulimit -u, ulimit -v)")
    }

    /// Says whose error it is, where several work together.
    #[must_use]
    pub fn of(mut self, whom: impl fmt::Display) -> Self {
        self.message = format!("{whom}: {}", self.message);
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what to do next, where nothing is known yet.
    #[must_use]
    pub fn or_help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert_with(|| help.into());
        self
    }

    /// Adds the command that goes on with work that has begun, where the same command would begin it anew or be refused.
    #[must_use]
    pub fn go_on_with(self, command: &str) -> Self {
        let full = |e: &std::io::Error| matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        let source = self.source.as_ref().and_then(|source| source.downcast_ref());
        let help = match &self.help {
            _ if source.is_some_and(full) => format!("{DISK_FULL} and go on with `{command}`"),
            Some(help) => format!("{help}; then go on with `{command}`"),
            None => format!("go on with `{command}`"),
        };
        self.with_help(help)
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What to do next, where there is something.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The process's exit code. The whole table: 0 done, 1 failed or findings, 2 wrong usage,
    /// 130 stopped by SIGINT, 143 stopped by SIGTERM.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::Data
            | Kind::Io
            | Kind::Diverged
            | Kind::Engine
            | Kind::OutOfMemory
            | Kind::DeviceLost
            | Kind::PeerLost => 1,
            Kind::Interrupted(signal) => u8::try_from(128 + signal).unwrap_or(1),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.source.as_ref().map(|e| e.as_ref() as &dyn std::error::Error);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
