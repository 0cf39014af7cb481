//! Standard output and error for the commands. A reader that went away (`| head`) is not an error.

use std::io::Write;

use crate::error::{Error, Result};

/// Writes to standard output; a broken pipe ends the process quietly, as other command-line tools do.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Writes a line to standard output.
pub fn line(text: &str) {
    print(&format!("{text}\n"));
}

/// Writes a line for people to standard error.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}"); // nobody is left to be told that standard error is gone
}

/// Writes a value as one indented JSON object to standard output.
pub fn json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::data("standard output", e))?;
    line(&text);
    Ok(())
}
