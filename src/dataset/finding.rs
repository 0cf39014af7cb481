//! What `verify` finds, and what of it stops `prepare`: how bad, a fixed name for programs, words for people, files.
//!
//! Collects and sorts; decides nothing about images.

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The data is not what it claims to be, or cannot be used.
    Error,
    /// Worth a look; training is not harmed.
    Warning,
    /// Good to know.
    Note,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A fixed name for programs, e.g. `pack-checksum`.
    pub code: String,
    /// For people.
    pub message: String,
    /// How many files or groups it is about; 0 where it is about neither.
    pub count: usize,
    /// The files, relative to the data folder or source, sorted.
    pub files: Vec<String>,
    /// Files that belong together: the same image, or nearly so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
}

/// Files that show the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Group {
    /// Bits in which the perceptual hashes of the two differ; absent where all pixels are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<u32>,
    /// Their bytes are the same too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub same_bytes: bool,
    /// Two or more, sorted.
    pub files: Vec<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A file or line of a source that does not fit the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// An error stops `prepare`.
    pub severity: Severity,
    /// Name of the finding it becomes.
    pub code: &'static str,
    /// Where, below the source's root.
    pub path: String,
    /// For people.
    pub reason: String,
    /// Of the data set as a whole: leaving a file out does not help.
    pub whole: bool,
}

impl Problem {
    /// An error about one file, that the rest can do without.
    pub fn error(code: &'static str, path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, path: path.into(), reason: reason.into(), whole: false }
    }

    /// An error that no leaving out can mend.
    pub fn of_the_whole(code: &'static str, path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { whole: true, ..Self::error(code, path, reason) }
    }

    /// Something that harms nothing.
    pub fn warning(code: &'static str, path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, path, reason) }
    }
}

/// Collects findings.
#[derive(Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// About no file in particular.
    pub fn add(&mut self, severity: Severity, code: &str, message: impl Into<String>) {
        self.add_files(severity, code, message, Vec::new());
    }

    /// About files; nothing is added where there are none. `message` is given "1 file", "2 files", ...
    pub fn about(&mut self, severity: Severity, code: &str, files: Vec<String>, message: impl FnOnce(&str) -> String) {
        match files.len() {
            0 => {}
            1 => self.add_files(severity, code, message("1 file"), files),
            n => self.add_files(severity, code, message(&format!("{n} files")), files),
        }
    }

    /// About files, with a message of its own.
    pub fn add_files(&mut self, severity: Severity, code: &str, message: impl Into<String>, mut files: Vec<String>) {
        let count = files.len();
        files.sort();
        let (code, message) = (code.into(), message.into());
        self.0.push(Finding { severity, code, message, count, files, groups: Vec::new() });
    }

    /// About groups of files; nothing is added where there are none.
    pub fn add_groups(&mut self, severity: Severity, code: &str, message: impl Into<String>, mut groups: Vec<Group>) {
        if groups.is_empty() {
            return;
        }
        groups.sort();
        let (code, message, count) = (code.into(), message.into(), groups.len());
        self.0.push(Finding { severity, code, message, count, files: Vec::new(), groups });
    }
}
