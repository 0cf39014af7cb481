//! Standard output and error for the commands. A reader that went away (`| head`) is not an error; text that cannot be
//! written elsewhere is one, told at once. Neither ends the work, which goes to files.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// Whether something could not be written to standard output, though there was a reader.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Writes to standard output.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    check(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Tells, once, that standard output cannot be written; that its reader left is no news.
pub fn check(written: io::Result<()>) {
    if let Err(e) = written
        && e.kind() != ErrorKind::BrokenPipe
        && !FAILED.swap(true, Ordering::Relaxed)
    {
        note(&format!("error: {}", Error::io("cannot write to", "standard output", e)));
    }
}

/// Whether results are missing from standard output, so that the process has to end with 1.
pub fn failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}

/// Writes a line to standard output.
pub fn line(text: &str) {
    print(&format!("{text}\n"));
}

/// Writes a line for people to standard error.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}"); // nobody is left to be told that standard error is gone
}

/// Says on standard error what went wrong, and what to do next.
pub fn error(error: &Error) {
    told("error", error);
}

/// Says on standard error that a run is left out, and why.
pub fn left_out(error: &Error) {
    told("left out", error);
}

fn told(what: &str, error: &Error) {
    note(&format!("{what}: {error}"));
    if let Some(help) = error.help() {
        note(&format!("  help: {help}"));
    }
}

/// Writes a value as one indented JSON object to standard output.
pub fn json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::data("standard output", e))?;
    line(&text);
    Ok(())
}

/// A number for people: 100000 is `100,000`.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let groups = digits.as_bytes()[first..].chunks(3).map(|g| String::from_utf8_lossy(g).into_owned());
    let head = (first > 0).then(|| digits[..first].to_owned());
    head.into_iter().chain(groups).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (12, "12"), (999, "999"), (1000, "1,000"), (100_000, "100,000")] {
            assert_eq!(super::count(number), text);
        }
    }
}
